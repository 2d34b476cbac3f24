"""Tables as terminals show them."""

import pytest

from monitor.cli.output import columns, cut, fitted, stacked, wrapped

FAMILY = "👩‍👩‍👧‍👦"


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
        ("한글 mixed", 10),
    ],
)
def test_columns(text: str, expected: int) -> None:
    """Letters take the columns that a terminal gives them: wide ones two, combining marks and colour none, an emoji family one place."""
    assert columns(text) == expected


@pytest.mark.parametrize("text", ["日本語日本語", f"{FAMILY * 5}", "ab日本e\u0301e\u0301語", "שלום שלום", "🇩🇪🇫🇷🇯🇵", "plain text here"])
@pytest.mark.parametrize("room", [1, 2, 3, 4, 5, 7, 50])
def test_cut(text: str, room: int) -> None:
    """What is cut takes no more room than there is, ends in a sign, and cuts no letter in two."""
    found = cut(text, room)
    assert columns(found) <= room
    assert found == text or (found.endswith("…") and text.startswith(found[:-1]))
    assert not found.removesuffix("…").endswith("\u200d")


def test_columns_line_up() -> None:
    """Whatever is in the cells, what stands beside it begins in the same column."""
    lines = fitted(("NAME", "NEXT"), [("日本語", "a"), (FAMILY, "b"), ("e\u0301", "c"), ("\033[31mred\033[0m", "d")], 80, least={})
    assert {columns(line[: line.rindex(last)]) for line, last in zip(lines[1:], "abcd", strict=True)} == {columns("日本語") + 2}


def test_right() -> None:
    """Numbers end in the same column."""
    assert fitted(("N", "X"), [("1", "a"), ("1,000", "b")], 80, least={}, right={0}) == ["    N  X", "    1  a", "1,000  b"]


def test_stacked() -> None:
    """The words of a row stand below it, cut where the line ends; a row without any has no line for them."""
    lines = stacked(["HEAD", "one", "two"], ["long words that do not fit", ""], 24)
    assert lines == ["HEAD", "one", "  long words that do no…", "two"]


@pytest.mark.parametrize("width", [10, 24, 60])
def test_wrapped(width: int) -> None:
    """Text flows between the margins, colour not counted; a word that is too long stands alone."""
    text = "\033[31mred\033[0m words 日本語 and so on, andonewordthatistoolongforit at the end"
    lines = wrapped(text, width, "* ", "  ").split("\n")
    assert lines[0].startswith("* ")
    assert all(line.startswith("  ") for line in lines[1:])
    assert all(columns(line) <= width or len(line.split()) == 1 for line in lines)
    assert " ".join(" ".join(lines).removeprefix("* ").split()) == text
