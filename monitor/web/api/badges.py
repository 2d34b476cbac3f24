"""SVG badges."""

import unicodedata
from dataclasses import dataclass
from html import escape

from monitor.domain.expiry import levels
from monitor.domain.snapshot import ConnectionView
from monitor.domain.status import DisplayStatus, Tone
from monitor.text.durations import brief
from monitor.text.format import count, one_line, platform_name
from monitor.web.answers import WebResponse
from monitor.web.api.context import ApiContext, not_found
from monitor.web.api.parameters import Given
from monitor.web.status.board import StatusBoard
from monitor.web.status.connection import ConnectionRow, row_of

SVG = "image/svg+xml"
_HEADERS = {
    "Cache-Control": "max-age=30",
    # A badge is made to be shown on other sites' pages; they can't read what it says.
    "Cross-Origin-Resource-Policy": "cross-origin",
}
_DOUBTFUL = "not known now"


async def overall(desk: ApiContext, given: Given) -> WebResponse:
    """How it all stands."""
    board = desk.board()
    said = board.overall
    label = given["label"] or "connections"
    return _answer(Badge(label, _gist(board), said.tone, f"{label}: {' '.join(filter(None, (said.words, said.more)))}"))


def _gist(board: StatusBoard) -> str:
    """The sentence of the status page in two or three words: the first of these that holds."""
    snapshot = board.snapshot
    broken, attention, working = (
        sum(board.counts[status] for status in DisplayStatus if status.broken),
        board.counts[DisplayStatus.ATTENTION],
        board.counts[DisplayStatus.OK],
    )
    refused = sum(1 for up in snapshot.accounts.values() if up is False)
    choices = (
        (not snapshot.storage_up, "database down"),
        (snapshot.api_up is False, "API down"),
        (refused, f"{count(refused, 'account')} refused"),
        (broken, f"{broken:,} broken"),
        (any(owed.disabled or owed.failing_since is not None for owed in snapshot.outbox.values()), "alerts not delivered"),
        (attention, f"{count(attention, 'needs', 'need')} attention"),
        (working, f"{working:,} working"),
    )
    return next((says for holds, says in choices if holds), "nothing known")


async def health(desk: ApiContext, given: Given) -> WebResponse:
    """How one connection is."""
    row = _row(desk, given)
    label = _label(row, given)
    if row.view.suppressed_by is not None:
        return _answer(Badge(label, _DOUBTFUL, Tone.IDLE, f"{label}: {_DOUBTFUL}; {row.label.lower()} when last seen"))
    return _answer(Badge(label, row.label.lower(), row.tone, f"{label}: {row.label.lower()}"))


async def token(desk: ApiContext, given: Given) -> WebResponse:
    """How long the token of one connection lives."""
    row, now = _row(desk, given), desk.now()
    label = f"{_label(row, given)} token"
    ends_at = row.countdown.ends_at
    if ends_at is None:
        says = row.countdown.words or "not known"
    elif ends_at <= now:
        says = "expired"
    elif levels.auto_renewing(row.view.state.token):
        says = "renews itself"
    else:
        days = (ends_at - now).days
        says = f"{count(days, 'day')} left" if days else f"{brief(ends_at - now)} left"
    tone = Tone.IDLE if ends_at is None else row.countdown.tone
    return _answer(Badge(label, says, tone, f"{label}: {says}"))


def _row(desk: ApiContext, given: Given) -> ConnectionRow:
    view: ConnectionView | None = desk.watched(given["platformId"], given["account"])
    if view is None:
        raise not_found(given["platformId"], given["account"])
    return row_of(view, desk.board().incidents_of(view), desk.now())


def _label(row: ConnectionRow, given: Given) -> str:
    return given["label"] or one_line(row.view.connection.name or "", MOST_LETTERS) or platform_name(row.view.connection.platform)


@dataclass(frozen=True, slots=True)
class Badge:
    """What a badge says: on its left what it is about, on its right how it is; *words* is the same for ears and pointers."""

    label: str
    says: str
    tone: Tone
    words: str


def _answer(badge: Badge) -> WebResponse:
    return WebResponse(200, SVG, (drawn(badge),), _HEADERS)


_COLOURS = {Tone.BAD: "#b42318", Tone.WARN: "#8a5a00", Tone.GOOD: "#1a7f37", Tone.IDLE: "#57606a"}
MOST_LETTERS = 60
_MARGIN = 7
_HEIGHT = 20
_SAYS_WIDTH = 128
_NARROW = frozenset("fijlrtI.,:;!|'()[] ")
_BROAD = frozenset("mwMW%@")


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
