"""Badges: how a connection is, how long its token lives, how it all stands."""

from monitor.domain import expiry
from monitor.domain.sentences import one_line, platform_name
from monitor.domain.snapshot import ConnectionView
from monitor.web.answers import Answer
from monitor.web.api.desk import Desk, nobody
from monitor.web.api.parameters import Given
from monitor.web.badge import MOST_LETTERS, Badge, drawn
from monitor.web.rows import Row, row_of
from monitor.web.standing import BROKEN, Standing, Tone
from monitor.web.views import Board
from monitor.web.words import count, short

SVG = "image/svg+xml"
_HEADERS = {
    "Cache-Control": "max-age=30",
    # A badge is made to be shown on other sites' pages; they can't read what it says.
    "Cross-Origin-Resource-Policy": "cross-origin",
}
_DOUBTFUL = "not known now"


async def overall(desk: Desk, given: Given) -> Answer:
    """How it all stands."""
    board = desk.board()
    said = board.overall
    label = given["label"] or "connections"
    return _answer(Badge(label, _gist(board), said.tone, f"{label}: {' '.join(filter(None, (said.words, said.more)))}"))


def _gist(board: Board) -> str:
    """The sentence of the status page in two or three words: the first of these that holds."""
    snapshot = board.snapshot
    broken, attention, working = sum(board.counts[one] for one in BROKEN), board.counts[Standing.ATTENTION], board.counts[Standing.OK]
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


async def health(desk: Desk, given: Given) -> Answer:
    """How one connection is."""
    row = _row(desk, given)
    label = _label(row, given)
    if row.view.covered_by is not None:
        return _answer(Badge(label, _DOUBTFUL, Tone.IDLE, f"{label}: {_DOUBTFUL}; {row.label.lower()} when last seen"))
    return _answer(Badge(label, row.label.lower(), row.tone, f"{label}: {row.label.lower()}"))


async def token(desk: Desk, given: Given) -> Answer:
    """How long the token of one connection lives."""
    row, now = _row(desk, given), desk.now()
    label = f"{_label(row, given)} token"
    ends_at = row.countdown.ends_at
    if ends_at is None:
        says = row.countdown.words or "not known"
    elif ends_at <= now:
        says = "expired"
    elif expiry.auto_renewing(row.view.state.token):
        says = "renews itself"
    else:
        days = (ends_at - now).days
        says = f"{count(days, 'day')} left" if days else f"{short(ends_at - now)} left"
    tone = Tone.IDLE if ends_at is None else row.countdown.tone
    return _answer(Badge(label, says, tone, f"{label}: {says}"))


def _row(desk: Desk, given: Given) -> Row:
    view: ConnectionView | None = desk.watched(given["platformId"], given["account"])
    if view is None:
        raise nobody(given["platformId"], given["account"])
    return row_of(view, desk.board().incidents_of(view), desk.now())


def _label(row: Row, given: Given) -> str:
    return given["label"] or one_line(row.view.connection.name or "", MOST_LETTERS) or platform_name(row.view.connection.platform)


def _answer(badge: Badge) -> Answer:
    return Answer(200, SVG, (drawn(badge),), _HEADERS)
