"""A hook of MkDocs: links out of docs/, which work on a Git host, work in the site too.

Every text file outside docs/ that a page links to becomes a page of the site, with line numbers;
a Markdown file becomes a page like those of docs/. A link to any other text file may carry a title:
it then leads to the one line of the file that contains the title, wherever that line moves to.

    [equation 2](../hifill/attention.py "tf.nn.softmax(")
"""

import logging
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File
from pygments.lexers import find_lexer_class_for_filename

_log = logging.getLogger("mkdocs.source_pages")  # below "mkdocs", warnings fail a strict build

_FOLDER = "source/"  # of these pages in the site
_COPIED = (".png", ".jpg", ".h5")
# Code comes first, lest something in it be taken for a link: fences, then spans of code.
_LINK = re.compile(
    r"^(?P<fence>```+|~~~+).*?^(?P=fence)"
    r"|(?P<tick>`+)(?:[^\n]|\n(?!\s*\n))+?(?P=tick)(?!`)"
    r"""|\]\((?P<target>[^\s()"'#:]+)(?P<anchor>#[^\s()]*)?(?:\s+(?P<title>"[^"]*"|'[^']*'))?\)""",
    re.MULTILINE | re.DOTALL,
)
_HEADER = """\
---
hide: [toc]
search: {{exclude: true}}
---

# {path}

<style>
.md-typeset .highlight a:target {{ scroll-margin-top: 40vh; }}
.highlight span:has(> a:target) {{ background: var(--md-code-hl-color--light); }}
</style>

"""


def on_files(files, config):
    """Adds the files that pages link to, and those that the added pages link to."""
    pages = list(files.documentation_pages())
    for page in pages:  # which grows
        for link in _LINK.finditer(page.content_string):
            path = _target(link, page.src_uri, config)
            if not path or path.startswith(_docs(config)) or not _is_file(path, config):
                continue
            if files.get_file_from_path(_uri(path, config)) is None:
                added = _generated(path, config)
                files.append(added)
                if path.endswith(".md"):
                    pages.append(added)
    return files


def on_page_markdown(markdown, page, config, files):
    """Makes the links lead to the pages in the site, and says which lead nowhere."""
    uri = page.file.src_uri

    def rewritten(link):
        path = _target(link, uri, config)
        inside = path and path.startswith(_docs(config))
        if not path or (inside and not uri.startswith(_FOLDER)):
            return link[0]  # code, or a link that MkDocs knows and checks
        if not inside and not _is_file(path, config):
            _log.warning("%s: links to %s, which is no file of the repository", uri, path)
            return link[0]
        target = posixpath.relpath(_uri(path, config), posixpath.dirname(uri))
        anchor, title = link["anchor"] or "", link["title"]
        if title and not inside and _is_listed(path):
            anchor = _line_anchor(path, title[1:-1], uri, config)
        return f"]({target}{anchor}{' ' + title if title else ''})"

    return _LINK.sub(rewritten, markdown)


def on_page_content(html, page, config, files):
    """Tells MkDocs, which does not look into code, of the anchors of the lines."""
    page.present_anchor_ids |= set(re.findall(r'id="(__codelineno-[\d-]+)"', html))


def _line_anchor(path, text, uri, config):
    lines = (_root(config) / path).read_text(encoding="utf-8").split("\n")
    found = [number for number, line in enumerate(lines, 1) if text in line]
    if len(found) == 1:
        return f"#__codelineno-0-{found[0]}"
    _log.warning("%s: links to %s, which has %d lines with %r", uri, path, len(found), text)
    return ""


def _generated(path, config):
    source, uri = _root(config) / path, _uri(path, config)
    if not _is_listed(path):
        return File.generated(config, uri, abs_src_path=str(source))
    text, lexer = source.read_text(encoding="utf-8"), find_lexer_class_for_filename(path)
    fence = "`" * (3 + max(map(len, re.findall("`+", text)), default=0))
    language = lexer.aliases[0] if lexer else "text"
    code = f'{fence}{{.{language} linenums="1"}}\n{text.rstrip()}\n{fence}\n'
    return File.generated(config, uri, content=_HEADER.format(path=path) + code)


def _is_listed(path):
    """Whether a file's page shows its lines."""
    return not path.endswith((".md", *_COPIED))


def _root(config):
    return Path(config.config_file_path).parent


def _docs(config):
    return Path(config.docs_dir).relative_to(_root(config)).as_posix() + "/"


def _is_file(path, config):
    return not path.startswith("../") and (_root(config) / path).is_file()


def _target(link, uri, config):
    """The path in the repository that a link of a page leads to; None for code."""
    page = uri.removeprefix(_FOLDER) if uri.startswith(_FOLDER) else _docs(config) + uri
    folder = posixpath.dirname(page)
    return link["target"] and posixpath.normpath(posixpath.join(folder, link["target"]))


def _uri(path, config):
    if path.startswith(_docs(config)):
        return path.removeprefix(_docs(config))
    return _FOLDER + path + (".md" if _is_listed(path) else "")
