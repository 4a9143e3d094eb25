"""Every block of code in the documents is run as it stands there, made small by documents/shim.py.

The blocks of a document are run in turn in a folder with stand-ins for what they name; what they
write has to be there afterwards.
"""

import pathlib
import re
import shlex
import textwrap

import pytest

pytest_plugins = ["serving.stand_ins", "documents.sandbox"]

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCUMENTS = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
DOCUMENTS.append("hifill/weights/README.md")
RUN, NOT_RUN = ("bash", "python"), ("text", "yaml", "json", "bibtex")
# Documents whose Python is run by another test.
PYTHON_ELSEWHERE = {"docs/other_tf_code.md": "test_other_tf_code.py"}
# Blocks that take long even if they are made small; what the rest of a document needs of them, the
# stand-ins have.
SLOW = re.compile(
    r"train\.sh|(both_512|quick)\.cfg|TF_CONFIG|^gcc "
    r"|^python (-m benchmarks\.|benchmarks/(training|data)|docs/(examples|demo))"
    r"|--methods=.*(hifill-plain|cra-)|--warm_up=4096|--formats=(litert|onnx)|\.tflite|hifill\.onnx",
    re.MULTILINE,
)


def blocks(document):
    """List of (id, language, code) of the fenced blocks of a document."""
    found = re.finditer(
        r"^( *)```(\S*)[^\n]*\n(.*?)^ *```$",
        (ROOT / document).read_text(),
        re.DOTALL | re.MULTILINE,
    )
    return [
        (f"{document}-{number}", match[2], textwrap.dedent(match[3]))
        for number, match in enumerate(found, 1)
    ]


def commands(code):
    """The commands of a block for the shell, each a list; those that are part of more left out."""
    found = []
    for line in code.replace("\\\n", " ").split("\n"):
        try:
            found.append(shlex.split(line, comments=True))
        except ValueError:
            continue
    return [command for command in found if command]


def runnable(document):
    """Those of `blocks` that a test here runs."""
    languages = RUN[:1] if document in PYTHON_ELSEWHERE else RUN
    return [block for block in blocks(document) if block[1] in languages]


def blocks_before(document):
    before = DOCUMENTS[: DOCUMENTS.index(document)]
    return [block for name in before for block in runnable(name) if not SLOW.search(block[2])]


def run_all(sandbox, found):
    for name, language, code in found:
        if language == "bash":
            sandbox.shell(name, code)
    if python := [block for block in found if block[1] == "python"]:
        sandbox.python(python)


@pytest.mark.parametrize("document", [document for document in DOCUMENTS if runnable(document)])
def test_blocks(document, sandbox):
    found = [block for block in runnable(document) if not SLOW.search(block[2])]
    before = blocks_before(document)
    known = {code for _, language, code in before if language == "python"}
    if {code for _, language, code in found if language == "python"} <= known:
        found = [block for block in found if block[1] != "python"]
    elsewhere = [
        command for _, language, code in before if language == "bash" for command in commands(code)
    ]
    run_all(sandbox(document, elsewhere), found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "document",
    [name for name in DOCUMENTS if any(SLOW.search(code) for *_, code in runnable(name))],
)
def test_slow_blocks(document, sandbox):
    found = [block for block in runnable(document) if SLOW.search(block[2])]
    run_all(sandbox(document, ()), found)


def test_no_document_is_left_out():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "hifill").rglob("*.md")]
    with_blocks = {str(page.relative_to(ROOT)) for page in pages if "```" in page.read_text()}
    assert with_blocks <= set(DOCUMENTS)
    for document, test in PYTHON_ELSEWHERE.items():
        assert pathlib.Path(document).name in (ROOT / "tests" / test).read_text()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_blocks_are_fenced_with_a_language(document):
    text = (ROOT / document).read_text()
    assert text.count("```") == 2 * len(blocks(document))
    for name, language, code in blocks(document):
        assert language in (*RUN, *NOT_RUN), name
        assert code.strip(), name
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)
    above = ""  # a list, tab or directive may be indented below itself
    for before, line in zip(["", *prose.split("\n")], prose.split("\n"), strict=False):
        if re.match(r"\S", line):
            above = line
        if not before.strip() and re.match(r"(    |\t)\S", line):
            assert re.match(r"(:::|!!!|\?\?\?|===|[-*] |\d+\.)", above), f"not fenced: {line}"
