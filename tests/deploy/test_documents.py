"""The pages for operators: their commands exist, their links lead somewhere."""

import re
import shlex
import subprocess

import pytest

from monitor.cli.main import build_parser
from tests.boot.pasting import blocks_below
from tests.deploy.daemon import ROOT

PAGES = ("tutorial/install", "explanation/security", *(f"how-to/{path.stem}" for path in sorted((ROOT / "docs/how-to").glob("*.md"))))
TEXTS = {name: (ROOT / f"docs/{name}.md").read_text(encoding="utf-8") for name in PAGES}


def _commands(program: str) -> set[tuple[str, ...]]:
    """Arguments of every use of *program*, in code blocks and in code spans that give it any."""
    # One word after the program only names a verb.
    spans = [span for text in TEXTS.values() for span in re.findall(r"`([^`\n]+)`", text) if span.removeprefix("sudo ").count(" ") > 1]
    blocks = [line for text in TEXTS.values() for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    found = set()
    for command in spans + blocks:
        match = re.match(rf"(?:sudo )?{re.escape(program)} (.+?)(?: #.*| &&.*| >.*)?$", command)
        if match is not None:
            found.add(tuple(shlex.split(match[1].split("   ")[0])))
    return found


def _anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / page).resolve().read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_commands_of_the_program() -> None:
    """Every `postpost-monitor ...` on these pages is one that the program understands."""
    commands = _commands("postpost-monitor")

    assert len(commands) >= 8
    for command in commands:
        build_parser().parse_args(["linkedin-1" if word == "ID" else word for word in command])


def test_options_of_the_installer() -> None:
    """Every option of deploy/install on these pages is one that it has."""
    known = subprocess.run([ROOT / "deploy/install", "--help"], capture_output=True, text=True, check=True).stdout
    used = {word for command in _commands("deploy/install") for word in command if word.startswith("--")}

    assert used >= {"--uninstall", "--purge"}
    assert all(option in known for option in used)


@pytest.mark.parametrize("page", PAGES)
def test_anchors(page: str) -> None:
    """Every link into a page leads to a heading of it."""
    links = re.findall(r"\]\(([\w./-]*\.md)?#([\w-]+)\)", TEXTS[page])
    folder = page.rpartition("/")[0]

    assert [
        f"{target}#{anchor}" for target, anchor in links if anchor not in _anchors(f"{folder}/{target}" if target else f"{page}.md")
    ] == []


def test_exit_codes() -> None:
    """The page on installing explains the ends that the unit does not repair by a restart."""
    unit = (ROOT / "deploy/systemd/postpost-monitor.service").read_text(encoding="utf-8")
    final = re.findall(r"^RestartPreventExitStatus=(.*)$", unit, re.MULTILINE)[0].split()

    assert all(f"| {code} |" in TEXTS["tutorial/install"] for code in final)


def test_what_is_pasted() -> None:
    """Everything that `make boot`, which takes long, pastes from a page is there, under that heading."""
    steps = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests/boot").glob("*.py")).replace(
        "_follow_start(", 'follow("docs/tutorial/install.md", '
    )
    pasted = re.findall(r'(?:follow|blocks_below)\("([^"]+)", "([^"]+)"(?:, "(\w+)")?', steps)
    assert len(pasted) >= 18
    for page, heading, language in pasted:
        assert blocks_below(page, heading, language or "sh"), f"{page}: {heading}"


def test_first_page() -> None:
    """The commands that the README gives to install the service are those of the page on installing, which `make boot` types."""
    (block,) = blocks_below("README.md", "Install as a service")
    full = blocks_below("docs/tutorial/install.md", "As a systemd service, from a checkout")[0].splitlines()

    assert [line for line in full if line in block.splitlines()] == block.splitlines()
