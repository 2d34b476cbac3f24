"""What shells complete, asked of real shells; and the manual page, read by a real reader."""

import subprocess
from pathlib import Path

import pytest

from monitor import __version__
from monitor.cli.completion import SHELLS, script
from monitor.cli.main import build_parser, verbs_of
from monitor.cli.manual import manual
from tests.tools import require_tool

PAGE = Path(__file__).parent.parent.parent / "deploy" / "man" / "postpost-monitor.1"

# As bash itself does when Tab is pressed: the words of the line, the one that is completed last.
_PRESS_TAB = """\
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
completed=$(complete -p postpost-monitor); completed=${completed#*-F }
${completed%% *} postpost-monitor "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The completion for bash in a file."""
    path = tmp_path_factory.mktemp("completion") / "postpost-monitor"
    path.write_text(script("bash"))
    return path


def offered(bash_script: Path, *words: str, folder: Path | None = None) -> set[str]:
    """What a real bash offers in place of the last of *words*."""
    command: list[str | Path] = [
        require_tool("bash"),
        "--norc",
        "--noprofile",
        "-c",
        _PRESS_TAB,
        "bash",
        bash_script,
        "postpost-monitor",
        *words,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env={"PATH": "/usr/bin:/bin"})
    assert done.stderr == ""
    return {line.strip() for line in done.stdout.splitlines()} - {""}


def test_verbs(bash_script: Path) -> None:
    """Every verb is offered, and of a begun word those that begin so."""
    top = {name for name, _ in verbs_of(build_parser()) if " " not in name}
    assert offered(bash_script, "") >= top
    assert offered(bash_script, "de") == {"demo", "deliveries"}
    assert offered(bash_script, "silence", "") >= {"add", "list", "expire"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("status", "--heal"), {"--health"}),
        (("status", "--health", "un"), {"unknown", "unsupported"}),
        (("deliveries", "list", "--state", ""), {"pending", "delivered", "dead", "cancelled"}),
        (("export", "--format", ""), {"csv", "jsonl"}),
        (("export", "in"), {"incidents"}),
        (("completion", ""), {"bash", "zsh", "fish"}),
    ],
)
def test_options(bash_script: Path, words: tuple[str, ...], expected: set[str]) -> None:
    """Options and the values that they may have are offered."""
    found = offered(bash_script, *words)
    assert found >= expected
    assert {one for one in found - expected if not one.startswith("-")} == set()


def test_files(bash_script: Path, tmp_path: Path) -> None:
    """Where a file is wanted, files are offered."""
    (tmp_path / "stricter.yaml").touch()
    assert offered(bash_script, "replay", "--policy", "stri", folder=tmp_path) == {"stricter.yaml"}
    assert offered(bash_script, "status", "--config", "stri", folder=tmp_path) == {"stricter.yaml"}


@pytest.mark.parametrize("shell", SHELLS)
def test_syntax(shell: str, tmp_path: Path) -> None:
    """Each script is one that its shell can read, and names every verb."""
    path = tmp_path / "script"
    path.write_text(script(shell))
    done = subprocess.run([require_tool(shell), "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [name for name, _ in verbs_of(build_parser()) if name.rpartition(" ")[2] not in path.read_text()] == []


def test_page_is_current() -> None:
    """The manual page is what the parsers say; `python -m monitor.cli.manual deploy/man/postpost-monitor.1` makes it anew."""
    assert PAGE.read_text(encoding="utf-8") == manual()
    assert f"postpost-monitor {__version__}" in manual()


def test_page_is_sound() -> None:
    """A strict reader of manual pages has nothing to complain about."""
    done = subprocess.run([require_tool("mandoc"), "-T", "lint", PAGE], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_page_is_readable() -> None:
    """Shown on a terminal, the page has every verb, every option, and examples to the letter."""
    done = subprocess.run([require_tool("mandoc"), "-T", "utf8", "-O", "width=200", PAGE], capture_output=True, text=True, check=True)
    shown = " ".join("".join(part[:1] for part in _struck(line)) for line in done.stdout.splitlines())
    plain = " ".join(shown.split())
    for name, verb in verbs_of(build_parser()):
        assert f" {name} " in plain
        assert [
            option for action in verb._actions for option in action.option_strings if option not in plain and option not in ("-h", "--help")
        ] == []
    assert "postpost-monitor status --json | jq '.connections[] | select(.health == \"error\") | .platformId'" in plain


def _struck(line: str) -> list[str]:
    """The letters of a line, each with what is struck over it for bold and underlined text; the last of them counts."""
    letters: list[str] = []
    for part in line.replace("\b", "\0\b").split("\0"):
        if part.startswith("\b"):
            letters[-1:] = [part[1:2]]
            letters += list(part[2:])
        else:
            letters += list(part)
    return letters
