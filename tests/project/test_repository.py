"""What is in the repository beside the source."""

import re
import subprocess
from functools import cache

import pytest

from tests.project.source import ROOT

# In two halves, since this file is searched too.
REGISTRY_HOSTS = tuple(
    f"{front}{back}"
    for front, back in (
        ("pypi", ".org"),
        ("pypi.python", ".org"),
        ("python", "hosted.org"),
        ("registry.npm", "js.org"),
        ("registry.yarn", "pkg.com"),
        ("crates", ".io"),
        ("proxy.go", "lang.org"),
        ("sum.go", "lang.org"),
        ("repo1.ma", "ven.org"),
        ("repo.ma", "ven.apache.org"),
        ("deb.de", "bian.org"),
        ("security.de", "bian.org"),
        ("ftp.de", "bian.org"),
        ("archive.ub", "untu.com"),
        ("/opt/", "wheels"),
    )
)


@cache
def _tracked() -> dict[str, str]:
    """Path -> text of every tracked text file."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    texts = {}
    for name in filter(None, listing.split("\0")):
        path = ROOT / name
        if path.is_file():
            texts[name] = path.read_bytes().decode("utf-8", errors="replace")
    return texts


def _recipes() -> dict[str, str]:
    """Recipe of the Makefile -> its sentence."""
    return dict(re.findall(r"^([a-z-]+):.*## (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_no_registry_is_named() -> None:
    """No file names a package registry: where packages come from is the business of whoever installs them."""
    found = [(path, host) for path, text in _tracked().items() for host in REGISTRY_HOSTS if host in text]

    assert found == []


def test_no_half_done_work() -> None:
    """Nothing that is tracked says that it is yet to be done."""
    marks = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
    found = [path for path, text in _tracked().items() if path.endswith((".py", ".md", ".yaml", "Makefile")) and marks.search(text)]

    assert found == []


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_commands_exist(document: str) -> None:
    """Every `make` command that a document names is a recipe."""
    named = set(re.findall(r"(?:`|^\s*\$? ?)make ([a-z-]+)", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE))

    assert named
    assert named - set(_recipes()) == set()


def test_every_recipe_says_what_it_does() -> None:
    """Each phony recipe has a sentence that `make` prints."""
    phony = re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)

    assert set(phony) == set(_recipes())
    assert all(sentence.rstrip().endswith(".") or "ARGS=" in sentence for sentence in _recipes().values())


def test_links_in_documents() -> None:
    """Every relative link in a document leads to a file."""
    broken = [
        f"{path}: {target}"
        for path, text in _tracked().items()
        if path.endswith(".md")
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)
        if not (ROOT / path).parent.joinpath(target).exists()
    ]

    assert broken == []


def test_secrets_of_tests_are_marked() -> None:
    """Tests that run the program take its secrets from `tests/marked.py`, so that a leak is found; the simulated API's own are its own."""
    written = re.compile(r"sk_[A-Za-z0-9]{4,}\.[A-Za-z0-9]{8,}|whsec_[A-Za-z0-9+/=]{24,}")
    running = re.compile(r"tests/((integration|e2e|deploy|crash)/.*|[a-z_]+)\.py")
    found = [path for path, text in _tracked().items() if running.fullmatch(path) and written.search(text)]

    assert [path for path in found if path not in ("tests/marked.py", "tests/integration/test_simulator_verb.py")] == []
