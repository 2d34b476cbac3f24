"""What is known now, from memory: the summary, the connections, the preflight. What is watched is told without a row."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from monitor.domain.connections import matching
from monitor.domain.events import Severity
from monitor.domain.preflight import PreflightResult, Readiness, from_state, overall, reason_for_doubt
from monitor.domain.reasons import Health
from monitor.domain.snapshot import ConnectionView
from monitor.domain.states import ConnectionState
from monitor.domain.status import IN_TROUBLE, ORDER, TROUBLE, DisplayStatus, Tone, has_label, mentions, tone_of
from monitor.schemas import api, facts
from monitor.schemas.facts import stamp
from monitor.schemas.shapes import Preflight, UptimeFacts
from monitor.web.answers import WebResponse
from monitor.web.api import parameters
from monitor.web.api.context import ApiContext, json_answer, one_of, page_of
from monitor.web.api.history import days_of, total
from monitor.web.api.parameters import MOST_VALUES, Given
from monitor.web.api.problems import ApiProblem
from monitor.web.status.board import StatusBoard
from monitor.web.status.connection import row_of

Entry = tuple[DisplayStatus, ConnectionView]

_BY_ID = 0
_UPTIME_DAYS = 90
_UNWRITTEN = "the database takes no writes, so the last checks may not be known"
_NOT_WATCHED = PreflightResult(Readiness.UNKNOWN, "the monitor does not watch it")


async def summary(desk: ApiContext, _: Given) -> WebResponse:
    """How it all stands."""
    board = desk.board()
    snapshot, said, severities = board.snapshot, board.overall, board.incident_counts()
    health = Counter(view.state.health for view in snapshot.connections)
    document: api.Summary = {
        **desk.head(),
        "takenAt": stamp(snapshot.taken_at),
        "summary": " ".join(filter(None, (said.words, said.more))),
        "total": len(snapshot.connections),
        "counts": {one.value: health[one] for one in Health},
        "displayStatuses": {standing.value: board.counts[standing] for standing in DisplayStatus},
        "apiUp": snapshot.api_up,
        "storageUp": snapshot.storage_up,
        "accounts": dict(snapshot.accounts),
        "openIncidents": {severity.value: severities.get(severity, 0) for severity in Severity},
        "scopeIncidents": [facts.scope_incident(trouble.view) for trouble in board.troubles(desk.now())],
        "receivers": {name: facts.receiver(owed) for name, owed in snapshot.outbox.items()},
    }
    return json_answer(document)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which connections are asked for; what is empty asks for all."""

    health: frozenset[str]
    standing: frozenset[str]
    platform: frozenset[str]
    account: frozenset[str]
    labels: frozenset[str]
    q: str

    @classmethod
    def of(cls, given: Given) -> "Wanted":
        """What the parameters say."""
        standing = set(given["display_status"])
        if TROUBLE in standing:
            standing |= {one.value for one in IN_TROUBLE}
        return cls(
            health=frozenset(given["health"]),
            standing=frozenset(standing),
            platform=frozenset(given["platform"]),
            account=frozenset(given["account"]),
            labels=frozenset(given["label"]),
            q=given["q"] or "",
        )

    def match(self, entry: Entry) -> bool:
        """Whether a connection is among them."""
        standing, view = entry
        connection = view.connection
        return (
            (not self.health or view.state.health in self.health)
            and (not self.standing or standing in self.standing)
            and (not self.platform or connection.platform in self.platform)
            and (not self.account or not self.account.isdisjoint((connection.account, connection.account_label)))
            and all(has_label(connection.labels, pair) for pair in self.labels)
            and (not self.q or mentions(view, self.q))
        )


async def connections(desk: ApiContext, given: Given) -> WebResponse:
    """A page of connections, by account, platform and id, or the worst first."""
    board, now, limit, worst_first = desk.board(), desk.now(), given["limit"], given["sort"] == "worst"
    found = list(filter(Wanted.of(given).match, board.ranked if worst_first else board.ordered))

    def place(entry: Entry) -> tuple[parameters.Part, ...]:
        connection = entry[1].connection
        urgency = _urgency(board, entry) if worst_first else _BY_ID
        return urgency, connection.account_label, connection.platform, connection.platform_id

    behind = found if given["cursor"] is None else [entry for entry in found if place(entry) > _begun(given["cursor"], worst_first)]
    page, following = page_of(behind[: limit + 1], limit, lambda entry: parameters.encode("connections", place(entry)))
    document: api.Connections = {
        **desk.head(),
        "takenAt": stamp(board.snapshot.taken_at),
        "total": len(found),
        "connections": [_connection(board, view, now) for _, view in page],
        "nextCursor": following,
    }
    return json_answer(document)


def _begun(cursor: tuple[parameters.Part, ...], worst_first: bool) -> tuple[parameters.Part, ...]:
    if (cursor[0] != _BY_ID) is not worst_first:
        raise ApiProblem(400, "cursor is from a list that was sorted otherwise; begin again without it")
    return cursor


def _urgency(board: StatusBoard, entry: Entry) -> int:
    """The order of the status page: by standing, and within it the urgent first."""
    standing, view = entry
    return _BY_ID + 1 + 2 * ORDER[standing] + (tone_of(standing, board.incidents_of(view)) is not Tone.BAD)


def _connection(board: StatusBoard, view: ConnectionView, now: datetime) -> api.ApiConnection:
    row = row_of(view, board.incidents_of(view), now)
    return {
        **facts.connection(view.connection, view.state, covered_by=view.suppressed_by, next_check_at=view.next_check_at),
        "displayStatus": row.standing,
        "notes": [" ".join(filter(None, (note.words, note.advice))) for note in row.notes],
    }


async def connection(desk: ApiContext, given: Given) -> WebResponse:
    """One connection, watched now or once."""
    platform_id, account = given["platformId"], given["account"]
    view, retired = desk.watched(platform_id, account), False
    if view is None:
        view, retired = await _retired(desk, platform_id, account), True
    document: api.OneConnection = {
        **desk.head(),
        "connection": _connection(desk.board(), view, desk.now()),
        "retired": retired,
        "uptime": await _uptime(desk, view),
        **facts.details(view.state),
    }
    return json_answer(document)


async def _uptime(desk: ApiContext, view: ConnectionView) -> UptimeFacts | None:
    """Of the last 90 days; what is known now is told even when the past can't be read."""
    try:
        return facts.uptime(total(await days_of(desk, view.connection, _UPTIME_DAYS)))
    except ApiProblem:
        return None


async def _retired(desk: ApiContext, platform_id: str, account: str | None) -> ConnectionView:
    known = await desk.known(platform_id, account)
    stored = await desk.ask(lambda reader: reader.state(known.id))
    return ConnectionView(known, stored[1] if stored is not None else ConnectionState())


async def preflight(desk: ApiContext, given: Given) -> WebResponse:
    """Whether connections can be relied on for a post, by what is known; nothing is tested."""
    views: dict[str, list[ConnectionView]] = defaultdict(list)
    for view in desk.board().snapshot.connections:
        views[view.connection.platform_id].append(view)
    ids = list(dict.fromkeys(one for text in given["ids"] for one in ([text] if text in views else text.split(","))))
    if len(ids) > MOST_VALUES:
        raise ApiProblem(400, f"ids may be {MOST_VALUES} at most")
    found = [_preflight(desk, one, views.get(one, ()), given) for one in ids]
    document: api.Preflights = {**desk.head(), "answer": overall(Readiness(one["answer"]) for one in found), "connections": found}
    return json_answer(document)


def _preflight(desk: ApiContext, platform_id: str, views: Sequence[ConnectionView], given: Given) -> Preflight:
    known = {view.connection.id: view for view in views}
    one = one_of(matching((view.connection for view in views), platform_id, given["account"]), platform_id)
    if one is None:
        return facts.preflight_unknown(platform_id, _NOT_WATCHED)
    now, view = desk.now(), known[one.id]
    policy = desk.policy().expiry_for(one.platform)
    doubts = reason_for_doubt(view.state, view.suppressed_by, now, given["max_age"]) if desk.board().snapshot.storage_up else _UNWRITTEN
    finding = from_state(view.state, one.platform, doubts, now, given["min_ttl"], policy)
    return facts.preflight(one, finding, known_at=view.state.last_evidence_at, now=now, live=False)
