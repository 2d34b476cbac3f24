"""Every curl line that users are given works."""

import json
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.simulator.actions import Body, sequence
from monitor.simulator.control import Control
from monitor.simulator.presets import DEMO_USERS, demo_world
from monitor.simulator.request_log import RequestLog
from tests.clock import FakeClock

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "simulator.md"


def _control() -> Control:
    return Control(demo_world(FakeClock(datetime(2030, 1, 1, tzinfo=UTC))), RequestLog())


def _help_page() -> str:
    page = _control().answer("GET", "/", "", b"")[1]
    assert isinstance(page, str)
    return page


def _lines(text: str) -> list[str]:
    return [line for line in re.findall(r"^ *(curl [^`\n]+)$", text, re.MULTILINE) if "$S" in line]


def _answer(line: str) -> int:
    line = line.replace("$C", "linkedin-Tz9W5i6ZYG").replace("/ID/", f"/{DEMO_USERS[0]}/")
    words = shlex.split(line, comments=True)
    url = next(word for word in words if word.startswith("$S")).removeprefix("$S")
    path, _, query = url.partition("?")
    body = words[words.index("-d") + 1].encode() if "-d" in words else b""
    status, told = _control().answer("POST" if "POST" in words else "GET", path, query, body)
    assert status == 200, told
    return status


@pytest.mark.parametrize("line", _lines(_help_page()))
def test_help_page(line: str) -> None:
    """Every line of the help page is understood."""
    _answer(line)


@pytest.mark.parametrize("line", _lines(PAGE.read_text()))
def test_page(line: str) -> None:
    """Every line of the page about the simulator is understood."""
    _answer(line)


def test_receiver_lines() -> None:
    """Every script the page gives for the receiver is understood."""
    bodies = re.findall(r"\$R/_behave -d '(.*)'", PAGE.read_text())
    assert bodies
    for body in bodies:
        assert sequence(Body(json.loads(body)).take("steps"))
