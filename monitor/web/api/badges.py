"""SVG badges."""

import unicodedata
from dataclasses import dataclass
from html import escape

from aiohttp import web

from monitor.domain.expiry import levels
from monitor.domain.reasons import Health
from monitor.domain.views.snapshot import ConnectionView, Snapshot
from monitor.domain.views.status import DisplayStatus, OverallState, Tone
from monitor.redaction import JOINERS
from monitor.text.durations import brief
from monitor.text.format import count, one_line, platform_name
from monitor.web.api.context import ApiContext, not_found
from monitor.web.api.parameters import MOST_LABEL_LETTERS, BadgeQuery, OneBadgeQuery
from monitor.web.status.board import StatusBoard
from monitor.web.status.connection import ConnectionRow

SVG = "image/svg+xml"
_HEADERS = {
    "Content-Type": SVG,
    "Cache-Control": "max-age=30",
    # A badge is made to be shown on other sites' pages; they can't read what it says.
    "Cross-Origin-Resource-Policy": "cross-origin",
}


async def overall(context: ApiContext, query: BadgeQuery) -> web.Response:
    """The overall state."""
    board = context.board()
    label, summary = query.label or "connections", board.overall
    return _response(Badge(label, _gist(board), summary.tone, f"{label}: {' '.join(filter(None, (summary.text, summary.more)))}"))


def _gist(board: StatusBoard) -> str:
    """The overall state in two or three words."""
    counts, state = board.counts, board.overall.state
    attention, expiring = counts[DisplayStatus.ATTENTION], counts[DisplayStatus.EXPIRING]
    texts = {
        OverallState.BROKEN: f"{sum(counts[status] for status in DisplayStatus if status.broken):,} broken",
        OverallState.UNDELIVERED: "alerts not delivered",
        OverallState.SUSPECTED: "outage suspected",
        OverallState.ATTENTION: f"{count(attention, 'needs', 'need')} attention",
        OverallState.EXPIRING: count(expiring, "token expires", "tokens expire"),
        OverallState.OK: f"{counts[DisplayStatus.OK]:,} working",
    }
    return texts.get(state) or (_unavailable(board.snapshot) if state is OverallState.UNAVAILABLE else _checked(board.snapshot))


def _unavailable(snapshot: Snapshot) -> str:
    if not snapshot.storage_up:
        return "database down"
    rejected = sum(1 for up in snapshot.accounts.values() if up is False)
    return "API down" if snapshot.api_up is False else f"{count(rejected, 'account')} rejected" if rejected else "not known now"


def _checked(snapshot: Snapshot) -> str:
    total = len(snapshot.connections)
    checked = total - sum(view.state.health is Health.UNKNOWN for view in snapshot.connections)
    return f"{checked:,} of {total:,} checked" if 0 < checked < total else "nothing known"


async def health(context: ApiContext, query: OneBadgeQuery) -> web.Response:
    """The state of one connection."""
    row = _row(context, query)
    label = _label(row, query)
    seen = f" {row.seen}" if row.seen else ""
    return _response(Badge(label, row.label.lower(), row.tone, f"{label}: {row.label.lower()}{seen}"))


async def token(context: ApiContext, query: OneBadgeQuery) -> web.Response:
    """The remaining life of the token of one connection."""
    row, now = _row(context, query), context.now()
    label = f"{_label(row, query)} token"
    ends_at = row.countdown.ends_at
    if ends_at is None:
        status = row.countdown.text or "unknown"
    elif ends_at <= now:
        status = "expired"
    elif levels.auto_renewing(row.view.state.token):
        status = "renews itself"
    else:
        days = (ends_at - now).days
        status = f"{count(days, 'day')} left" if days else f"{brief(ends_at - now)} left"
    tone = Tone.IDLE if ends_at is None else row.countdown.tone
    return _response(Badge(label, status, tone, f"{label}: {status}"))


def _row(context: ApiContext, query: OneBadgeQuery) -> ConnectionRow:
    view: ConnectionView | None = context.watched(query.platform_id, query.account)
    if view is None:
        raise not_found(query.platform_id, query.account)
    return context.board().row(view, context.now())


def _label(row: ConnectionRow, query: OneBadgeQuery) -> str:
    return query.label or one_line(row.view.connection.name or "", MOST_LABEL_LETTERS) or platform_name(row.view.connection.platform)


@dataclass(frozen=True, slots=True)
class Badge:
    """A badge: on the left its label, on the right the status; *title* is both for screen readers and pointers."""

    label: str
    status: str
    tone: Tone
    title: str


def _response(badge: Badge) -> web.Response:
    return web.Response(body=drawn(badge), headers=_HEADERS)


_COLOURS = {Tone.BAD: "#b42318", Tone.WARN: "#8a5a00", Tone.GOOD: "#1a7f37", Tone.IDLE: "#57606a"}
_MARGIN = 7
_HEIGHT = 20
_STATUS_WIDTH = 128
_NARROW = frozenset("fijlrtI.,:;!|'()[] ")
_BROAD = frozenset("mwMW%@")


def drawn(badge: Badge) -> bytes:
    """The badge as SVG. Its width does not depend on the status: any page may show it, and measure it."""
    label, status, title = one_line(badge.label, MOST_LABEL_LETTERS), one_line(badge.status, MOST_LABEL_LETTERS), _safe(badge.title)
    left = _width(label) + 2 * _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + _STATUS_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{title}">'
        f"<title>{title}</title>"
        f'<rect width="{left}" height="{_HEIGHT}" fill="#30363d"/>'
        f'<rect x="{left}" width="{_STATUS_WIDTH}" height="{_HEIGHT}" fill="{_COLOURS[badge.tone]}"/>'
        '<g fill="#ffffff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
        f"{_text(label, 0, left)}{_text(status, left, _STATUS_WIDTH)}</g></svg>\n"
    ).encode(errors="replace")


def _text(text: str, start: int, room: int) -> str:
    """*text* in the middle of its *room*, drawn narrower where it would not fit."""
    width = min(_width(text), room - 2 * _MARGIN)
    return f'<text x="{start + room // 2}" y="14" textLength="{width}" lengthAdjust="spacingAndGlyphs">{_safe(text)}</text>' if text else ""


def _width(text: str) -> int:
    """About as wide as it is drawn, in pixels; `textLength` does the rest."""
    return round(sum(_width_of(letter) for letter in text))


def _width_of(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return 12.0
    if unicodedata.combining(letter):
        return 0.0
    return 4.2 if letter in _NARROW else 10.0 if letter in _BROAD else 7.8 if letter.isupper() else 6.9


def _safe(text: str) -> str:
    """*text* for XML: escaped, and without what XML cannot hold at all."""
    return escape("".join(letter for letter in one_line(text, 500) if letter.isprintable() or letter in JOINERS))
