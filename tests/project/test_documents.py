"""The documents: their paths exist, their links resolve, and old addresses still lead to the pages."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.project.source import ROOT

OLD_PAGES = (
    "alerts",
    "api",
    "architecture",
    "command-line",
    "configure",
    "glossary",
    "install",
    "metrics",
    "operate",
    "performance",
    "receivers",
    "reliability",
    "security",
    "simulator",
    "status-page",
    "upgrade",
    "webhook",
)
"""Pages of `docs/` from before they were grouped."""

GROUPS = {"tutorial", "how-to", "reference", "explanation"}

OUTSIDE = re.compile(r"[a-z]+:|[/$~{]|application/|account/user$")
"""How code spans with a slash begin that are no paths of the project: addresses, paths of an installed machine, variables, types."""

FILES = re.compile(r"[\w.-]+\.(py|md|toml|ini|cfg)")
"""Names without a folder that are files of the project."""

LINK = re.compile(r"\]\(([^)\s]+)\)")


def _documents() -> list[Path]:
    """Every Markdown file of the project."""
    folders = [ROOT / name for name in ("docs", "deploy", ".github")]
    return sorted([*ROOT.glob("*.md"), *(path for folder in folders for path in folder.rglob("*.md"))])


def _described() -> list[Path]:
    """The documents whose code spans are held against the tree."""
    return [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def _prose(path: Path) -> str:
    """The text of a document without its code blocks."""
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def _roots() -> set[str]:
    """The names at the top of the project, and of the packages that CONTRIBUTING.md names below `monitor/`."""
    packages = re.findall(r"`([a-z_]+)/", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    return {path.name for path in ROOT.iterdir()} | set(packages)


def _is_path(span: str) -> bool:
    """Whether a code span names a file or folder of the project."""
    if OUTSIDE.match(span) or not re.fullmatch(r"[\w./-]+", span):
        return False
    return span.partition("/")[0] in _roots() if "/" in span else FILES.fullmatch(span) is not None


def _exists(span: str, document: Path) -> bool:
    """Whether the path is there: from the project's root, from the document, or below `monitor/`, where `.py` may be left out."""
    names = (span, f"{span}.py")
    return any((folder / name).exists() for folder in (ROOT, document.parent, ROOT / "monitor") for name in names)


@cache
def _anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", _described(), ids=_name)
def test_paths_exist(document: Path) -> None:
    """Every path in a code span is a file or folder of the project."""
    spans = re.findall(r"`([^`\s]+)`", _prose(document))

    assert [span for span in spans if _is_path(span) and not _exists(span, document)] == []


def test_paths_are_recognised() -> None:
    """Paths of the project are told apart from addresses, types and paths of an installed machine."""
    paths = ["monitor/errors.py", "docs/how-to/alerts.md", "domain/", "text/reasons", "pyproject.toml", "tests/nowhere.py"]
    others = [
        "/etc/postpost-monitor",
        "application/json",
        "https://example.org/x",
        "$S/requests",
        "web.listen",
        "account/user",
        "make test",
    ]

    assert [span for span in paths if not _is_path(span)] == []
    assert [span for span in others if _is_path(span)] == []
    assert not _exists("tests/nowhere.py", ROOT / "CONTRIBUTING.md")


@pytest.mark.parametrize("document", _documents(), ids=_name)
def test_links_resolve(document: Path) -> None:
    """Every relative link leads to a file, and to a heading of it where it names one."""
    broken = []
    for link in LINK.findall(_prose(document)):
        target, _, anchor = link.partition("#")
        if ":" in target:
            continue
        path = (document.parent / target).resolve() if target else document
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in _anchors(path)):
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("page", OLD_PAGES)
def test_old_pages_lead_on(page: str) -> None:
    """Each page of before has a stub of one line that leads to a page of the same name."""
    lines = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8").splitlines()
    match = re.fullmatch(r"Moved to \[(.+)\]\((.+)\)\.", lines[0])

    assert match is not None
    assert len(lines) == 1
    assert match[1] == match[2]
    assert Path(match[2]).parts[0] in GROUPS
    assert Path(match[2]).name == f"{page}.md"


def test_every_page_is_in_a_group() -> None:
    """Beside the stubs, nothing lies in `docs/` itself but the groups, their pictures and the script that generates pages."""
    beside = {path.name for path in (ROOT / "docs").iterdir()} - {f"{page}.md" for page in OLD_PAGES}

    assert beside - {"generate.py", "__pycache__"} == GROUPS | {"images"}
