"""
Badges: one word about one thing as a small picture, to put into a page or a wiki.

Self-made SVG without style, script or font: what is written there is escaped, and read out by a screen reader.
"""

import unicodedata
from dataclasses import dataclass
from html import escape

from monitor.domain.sentences import one_line
from monitor.web.standing import Tone

_COLOURS = {Tone.BAD: "#b42318", Tone.WARN: "#8a5a00", Tone.GOOD: "#1a7f37", Tone.IDLE: "#57606a"}
MOST_LETTERS = 60
_MARGIN = 7
_HEIGHT = 20
_SAYS_WIDTH = 128
_NARROW = frozenset("fijlrtI.,:;!|'()[] ")
_BROAD = frozenset("mwMW%@")


@dataclass(frozen=True, slots=True)
class Badge:
    """What a badge says: on its left what it is about, on its right how it is; *words* is the same for ears and pointers."""

    label: str
    says: str
    tone: Tone
    words: str


def drawn(badge: Badge) -> bytes:
    """The badge as SVG. How wide it is tells nothing of what it says: any page may show it, and measure it."""
    label, says, words = one_line(badge.label, MOST_LETTERS), one_line(badge.says, MOST_LETTERS), _safe(badge.words)
    left = _width(label) + 2 * _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + _SAYS_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{words}">'
        f"<title>{words}</title>"
        f'<rect width="{left}" height="{_HEIGHT}" fill="#30363d"/>'
        f'<rect x="{left}" width="{_SAYS_WIDTH}" height="{_HEIGHT}" fill="{_COLOURS[badge.tone]}"/>'
        '<g fill="#ffffff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
        f"{_text(label, 0, left)}{_text(says, left, _SAYS_WIDTH)}</g></svg>\n"
    ).encode(errors="replace")


def _text(words: str, start: int, room: int) -> str:
    """*words* in the middle of their *room*, drawn narrower where they would not fit."""
    width = min(_width(words), room - 2 * _MARGIN)
    return (
        f'<text x="{start + room // 2}" y="14" textLength="{width}" lengthAdjust="spacingAndGlyphs">{_safe(words)}</text>' if words else ""
    )


def _width(words: str) -> int:
    """About as wide as it is drawn, in pixels; `textLength` does the rest."""
    return round(sum(_width_of(letter) for letter in words))


def _width_of(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return 12.0
    if unicodedata.combining(letter):
        return 0.0
    return 4.2 if letter in _NARROW else 10.0 if letter in _BROAD else 7.8 if letter.isupper() else 6.9


def _safe(words: str) -> str:
    """*words* for XML: escaped, and without what XML cannot hold at all."""
    return escape("".join(letter for letter in one_line(words, 500) if letter.isprintable()))
