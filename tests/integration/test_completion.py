"""Completion, tried in real shells, and the manual page, read by mandoc."""

import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from monitor.cli.completion import SHELLS, script
from monitor.cli.main import build_parser, verbs_of
from monitor.clock import SystemClock
from monitor.db import ControlsWriter, Store
from tests.databases import migrated_sqlite
from tests.tools import require_tool
from tests.watched import tell_a_story, watched, write_config

PAGE = Path(__file__).parent.parent.parent / "deploy" / "man" / "postpost-monitor.1"

# What bash does when Tab is pressed.
_PRESS_TAB = """\
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
completed=$(complete -p postpost-monitor); completed=${completed#*-F }
${completed%% *} postpost-monitor "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The completion for bash, in a file."""
    path = tmp_path_factory.mktemp("completion") / "postpost-monitor"
    path.write_text(script("bash"))
    return path


def offered(bash_script: Path, *words: str, folder: Path | None = None, environ: Mapping[str, str] | None = None) -> set[str]:
    """What bash offers for the last of *words*."""
    options = ("--norc", "--noprofile", "-c", _PRESS_TAB, "bash")
    command: list[str | Path] = [require_tool("bash"), *options, bash_script, "postpost-monitor", *words]
    result = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=folder, env={"PATH": "/usr/bin:/bin", **(environ or {})}
    )
    assert result.stderr == ""
    return {line.strip() for line in result.stdout.splitlines()} - {""}


def test_verbs(bash_script: Path) -> None:
    """Verbs are offered, those that begin with what is typed."""
    top = {name for name, _ in verbs_of(build_parser()) if " " not in name}
    assert offered(bash_script, "") >= top
    assert offered(bash_script, "de") == {"demo", "deliveries"}
    assert offered(bash_script, "silence", "") >= {"add", "list", "expire"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("status", "--heal"), {"--health"}),
        (("deliveries", "list", "--state", ""), {"pending", "delivered", "dead", "cancelled"}),
        (("export", "in"), {"incidents"}),
        (("replay", "--policy", "stri"), {"stricter.yaml"}),
    ],
)
def test_options(bash_script: Path, tmp_path: Path, words: tuple[str, ...], expected: set[str]) -> None:
    """Options, their choices, and files are offered."""
    (tmp_path / "stricter.yaml").touch()
    assert {word for word in offered(bash_script, *words, folder=tmp_path) if not word.startswith("-") or word in expected} == expected


@pytest.mark.slow
async def test_candidates(bash_script: Path, tmp_path: Path) -> None:
    """Connections, incidents, receivers and silences are offered; when they cannot be read nothing is, in silence."""
    url = f"sqlite:///{migrated_sqlite(tmp_path / 'monitor.db')}"
    path = write_config(tmp_path, url)
    async with watched(path) as world:
        await tell_a_story(world)
        number = await world.database.write(lambda store: _silenced(store, world.now))
    program = tmp_path / "bin" / "postpost-monitor"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m monitor "$@"\n')
    program.chmod(0o755)
    environ = {"PATH": f"{program.parent}:/usr/bin:/bin", "PYTHONPATH": str(PAGE.parents[2]), "POSTPOST_MONITOR_CONFIG": str(path)}

    def candidates(*words: str) -> set[str]:
        return offered(bash_script, *words, environ=environ)

    assert candidates("explain", "linke") == {"linkedin-page1"}
    assert candidates("receivers", "test", "on") == {"on-call"}
    assert candidates("silence", "expire", str(number)[:1]) == {str(number)}
    assert candidates("ack", "pp-") == {"pp-here-1-connection-1"}
    path.write_text("accounts: {")
    assert candidates("explain", "linke") == set()


def _silenced(store: Store, now: datetime) -> int:
    """The number of a new silence."""
    ends_at = SystemClock().now() + timedelta(hours=1)
    silence = ControlsWriter(store).add_silence({"platform": "x"}, starts_at=now, ends_at=ends_at, author="anna", reason="test", now=now)
    return silence.id


@pytest.mark.parametrize("shell", SHELLS)
def test_syntax(shell: str, tmp_path: Path) -> None:
    """Each script is valid in its shell and names every verb."""
    path = tmp_path / "script"
    path.write_text(script(shell))
    result = subprocess.run([require_tool(shell), "-n", path], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert [name for name, _ in verbs_of(build_parser()) if name.rpartition(" ")[2] not in path.read_text()] == []


def test_manual() -> None:
    """The manual page passes a strict reader, and shows every verb, every option and the examples literally."""
    lint = subprocess.run([require_tool("mandoc"), "-T", "lint", PAGE], capture_output=True, text=True, check=False)
    assert (lint.stdout, lint.returncode) == ("", 0)
    page = subprocess.run([require_tool("mandoc"), "-T", "utf8", "-O", "width=200", PAGE], capture_output=True, text=True, check=True)
    # Bold is a character, a backspace, and the character again.
    plain = " ".join(re.sub(".\x08", "", page.stdout).split())
    for name, verb in verbs_of(build_parser()):
        assert f" {name} " in plain
        options = [option for action in verb._actions for option in action.option_strings]
        assert [option for option in options if option not in plain and option not in ("-h", "--help")] == []
    assert "postpost-monitor status --json | jq '.connections[] | select(.health == \"error\") | .platformId'" in plain
