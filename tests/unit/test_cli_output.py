"""Tables as terminals show them, and the progress of long commands."""

from datetime import timedelta

import pytest
import wcwidth

from monitor.cli.output import Progress, columns, cut, fitted, table, wrapped
from tests.clock import FakeClock
from tests.terminal import Stream

FAMILY = "👩‍👩‍👧‍👦"
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("plain", 5),
        ("日本語", 6),
        ("e\u0301", 1),
        (FAMILY, 2),
        ("🇩🇪", 2),
        ("❤️", 2),
        ("👍🏽", 2),
        ("שלום", 4),
        ("\033[31merror\033[0m", 5),
    ],
)
def test_columns(text: str, expected: int) -> None:
    """Characters are as wide as on a terminal: wide ones 2, combining marks and colours 0, an emoji family 2."""
    assert columns(text) == expected


def test_narrow_characters() -> None:
    """The characters that are counted without a table of widths are as wide as the table says."""
    assert [hex(code) for code in range(0xA0, 0x2200) if columns(chr(code)) != max(0, wcwidth.wcwidth(chr(code)))] == []


@pytest.mark.parametrize("text", ["日本語日本語", FAMILY * 5, "ab日本e\u0301e\u0301語", "🇩🇪🇫🇷🇯🇵", "plain text here"])
@pytest.mark.parametrize("room", [1, 2, 3, 4, 7, 50])
def test_cut(text: str, room: int) -> None:
    """A cut text fits, ends in an ellipsis, and has whole characters only."""
    shown = cut(text, room)
    assert columns(shown) <= room
    assert shown == text or (shown.endswith("…") and text.startswith(shown[:-1].rstrip()))
    assert not shown.removesuffix("…").endswith("\u200d")


def test_columns_line_up() -> None:
    """The second column begins at the same place in every line, whatever is in the first; numbers are aligned right."""
    lines = fitted(("NAME", "NEXT"), [("日本語", "a"), (FAMILY, "b"), ("e\u0301", "c"), ("\033[31mred\033[0m", "d")], 80, least={})
    assert {columns(line[: line.rindex(last)]) for line, last in zip(lines[1:], "abcd", strict=True)} == {columns("日本語") + 2}
    assert fitted(("N", "X"), [("1", "a"), ("1,000", "b")], 80, least={}, right={0}) == ["    N  X", "    1  a", "1,000  b"]


def test_table() -> None:
    """
    Texts stand beside the other cells of a wide terminal, else below them, unless the row is not notable; they are wrapped, not cut.

    A column that may not be cut keeps its width: then all texts go below.
    """
    header, rows = ("A", "B", "WHY"), [("one", "x", "a long text that does not fit"), ("two", "日本語日本語", ""), ("three", "", "hidden")]
    assert table(header, rows, 120, least={})[1] == "one    x             a long text that does not fit"
    assert table(header, rows, 24, least={1: 2}, notable=[True, True, False]) == [
        "A      B",
        "one    x",
        "  a long text that does",
        "  not fit",
        "two    日本語日本語",
        "three",
    ]
    assert table(header, rows, 16, least={1: 2})[5] == "two    日本語日…"
    wide = table(header, [("one", "x" * 60, "word " * 12)], 120, least={})
    assert wide[1:] == [f"one  {'x' * 60}  {' '.join(['word'] * 10)}", f"{' ' * 67}word word"]
    assert table(header, [("one", "x" * 110, "word")], 120, least={})[1:] == [f"one  {'x' * 110}", "  word"]


@pytest.mark.parametrize("width", [10, 24, 60])
def test_wrapped(width: int) -> None:
    """Text is wrapped within its indents; colours take no room, and a word that is too long has its own line."""
    text = "\033[31mred\033[0m words 日本語 and so on, andonewordthatistoolongforit at the end"
    lines = wrapped(text, width, "* ", "  ").split("\n")
    assert lines[0].startswith("* ")
    assert all(line.startswith("  ") for line in lines[1:])
    assert all(columns(line) <= width or len(line.split()) == 1 for line in lines)
    assert " ".join(" ".join(lines).removeprefix("* ").split()) == text


@pytest.mark.parametrize("terminal", [True, False])
async def test_progress(terminal: bool) -> None:
    """Progress is shown after a second, then a few times a second, on a terminal only; its line is removed at the end."""
    clock, stream = FakeClock(), Stream(terminal=terminal)
    with Progress(clock, stream) as progress:
        for number in range(12):
            progress.show(f"{number} rows")
            await clock.advance(SECOND / 10)
        progress.show("12 rows")
        await clock.advance(SECOND / 20)
        progress.show("too soon")
    shown = [part for part in ("9 rows", "10 rows", "11 rows", "12 rows", "too soon") if part in stream.getvalue()]
    assert shown == (["10 rows", "12 rows"] if terminal else [])
    assert stream.getvalue().endswith("\033[2K") or not terminal
