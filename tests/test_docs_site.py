"""The site that MkDocs builds from docs/: complete, without a network, links that lead to lines."""

import html
import html.parser
import os
import pathlib
import re
import subprocess
import sys
import urllib.parse

import pytest

ROOT = pathlib.Path(__file__).parent.parent
LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
CONFIG = f"""
site_name: Small
theme: {{name: mkdocs, highlightjs: false}}
plugins: []
hooks: [{ROOT / "docs" / "source_pages.py"}]
not_in_nav: /source/
nav: [index.md]
markdown_extensions:
  - pymdownx.highlight: {{anchor_linenums: true, line_spans: __span, stripnl: false}}
  - pymdownx.superfences
validation: {{links: {{not_found: warn, anchors: warn, unrecognized_links: warn}}}}
"""
CODE = "\nfirst = 1\nsecond = 2  # <and> `more`\nthird = first\n"


class Tags(html.parser.HTMLParser):
    """The start tags of a page: a list of (tag, attributes)."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def build(folder, site):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def line_at(page, anchor):
    """The line of code in a built page that has an id, as plain text."""
    text = page.read_text(encoding="utf-8")
    _, found, rest = text.partition(f'<a id="{anchor}"')
    assert found, f"{page} has no {anchor}"
    rest = re.split(r'</code>|<span id="__span-', rest.partition("</a>")[2])[0]
    return html.unescape(re.sub("<[^>]*>", "", rest))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs") / "site"
    built = build(ROOT, folder)
    assert built.returncode == 0, built.stderr
    return folder


def test_links_of_the_paper_lead_to_the_lines(site):
    written = re.findall(
        r"""\]\(\.\./(\S+) ("|')(.+?)\2\)""", (ROOT / "docs/paper_and_code.md").read_text()
    )
    page = site / "paper_and_code" / "index.html"
    links = [
        attributes
        for tag, attributes in Tags(page).found
        if tag == "a" and "__codelineno" in attributes.get("href", "")
    ]
    titles = [(path, title) for path, _, title in written]
    assert len(titles) > 80 and [link["title"] for link in links] == [title for _, title in titles]
    for (path, title), link in zip(titles, links, strict=True):
        target, _, anchor = link["href"].partition("#")
        line = line_at(page.parent / target / "index.html", anchor)
        number = int(anchor.rpartition("-")[2])
        source = (ROOT / path).read_text().split("\n")[number - 1]
        assert title in line and line.strip() == source.strip()


def test_nothing_is_loaded_from_the_network(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        for tag, attributes in Tags(page).found:
            address = attributes.get(LOADING.get(tag)) or ""
            assert not urllib.parse.urlsplit(address).netloc, f"{page}: {tag} {address}"
            assert "//" not in attributes.get("srcset", "")
    for sheet in site.rglob("*.css"):
        assert not re.search(r"""(url\(|@import\s+)["']?(https?:)?//""", sheet.read_text())


def test_everything_referred_to_is_in_the_site(site):
    for page in site.rglob("index.html"):
        for tag, attributes in Tags(page).found:
            address = attributes.get("href") or attributes.get("src") or ""
            parts = urllib.parse.urlsplit(address)
            if parts.scheme or not parts.path:
                continue
            target = page.parent / urllib.parse.unquote(parts.path)
            target = target / "index.html" if parts.path.endswith(("/", "..", ".")) else target
            assert target.is_file(), f"{page}: {tag} {address}"


def small_site(tmp_path, text):
    (tmp_path / "docs").mkdir()
    (tmp_path / "code" / "more").mkdir(parents=True)
    (tmp_path / "mkdocs.yml").write_text(CONFIG)
    (tmp_path / "docs" / "index.md").write_text(text)
    (tmp_path / "code" / "module.py").write_text(CODE)
    (tmp_path / "code" / "card.md").write_text(
        "# Card\n\n[back](../docs/index.md#there), ![p](p.png)"
    )
    (tmp_path / "code" / "p.png").write_bytes(b"\x89PNG")
    return build(tmp_path, tmp_path / "site")


def test_small_site(tmp_path):
    text = (
        '# There\n\n[`a`](../code/module.py "<and> `more`"), [b](../code/module.py), '
        '[c](../code/card.md#card "no line"), `[code](../nothing.py)`\n\n'
        "```\n[d](../nothing.py)\n```\n"
    )
    built = small_site(tmp_path, text)
    assert built.returncode == 0, built.stderr
    links = [a for tag, a in Tags(tmp_path / "site" / "index.html").found if tag == "a"]
    hrefs = [link["href"] for link in links if "source" in link.get("href", "")]
    module = "source/code/module.py/"
    assert hrefs == [f"{module}#__codelineno-0-3", module, "source/code/card/#card"]
    line = line_at(tmp_path / "site" / module / "index.html", "__codelineno-0-3")
    assert line.strip() == CODE.split("\n")[2]
    assert (tmp_path / "site" / "source" / "code" / "p.png").read_bytes() == b"\x89PNG"


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("../code/nothing.py", "index.md: links to code/nothing.py, which is no file"),
        ("../../code/module.py", "index.md: links to ../code/module.py, which is no file"),
        ("../code/more", "index.md: links to code/more, which is no file"),
        ('../code/module.py "fourth"', "code/module.py, which has 0 lines with 'fourth'"),
        ('../code/module.py "first"', "code/module.py, which has 2 lines with 'first'"),
    ],
)
def test_broken_links_fail(tmp_path, link, message):
    built = small_site(tmp_path, f"# There\n\n[broken]({link})\n")
    assert built.returncode != 0 and message in built.stderr
