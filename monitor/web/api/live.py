"""Summary, connections, preflight, from memory: watched connections need no row."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from monitor.clock import iso_utc
from monitor.db import read_last_known
from monitor.domain.connections import matching
from monitor.domain.events import Severity
from monitor.domain.expiry.estimate import best_estimate
from monitor.domain.projections.preflight import PreflightCause, PreflightResult, Readiness, overall, remembered
from monitor.domain.reasons import Health
from monitor.domain.silencing.silences import SilenceState
from monitor.domain.views.snapshot import ConnectionView
from monitor.domain.views.status import ConnectionFilter, DisplayStatus
from monitor.schemas import api, facts
from monitor.schemas.explanation import as_document, notification_records, scope_deliveries
from monitor.schemas.shapes import Preflight, UptimeFacts
from monitor.text.explain import explain
from monitor.web.api import parameters
from monitor.web.api.context import ApiContext, only, page_of
from monitor.web.api.history import days_of, total
from monitor.web.api.parameters import (
    MOST_VALUES,
    ConnectionsQuery,
    ExpiriesQuery,
    ForecastQuery,
    OneQuery,
    Place,
    PreflightQuery,
    Query,
    SelectingQuery,
)
from monitor.web.api.problems import ApiProblem
from monitor.web.status.board import StatusBoard
from monitor.web.status.connection import past_row_of

Entry = tuple[DisplayStatus, ConnectionView]

_BY_ID = 0
_UPTIME_DAYS = 90
_NOTIFICATIONS = 5
MOST_RESULTS = 500
"""Connections that one preflight answers for."""
_NOT_WATCHED = PreflightResult(Readiness.UNKNOWN, PreflightCause.NOT_WATCHED)


async def summary(context: ApiContext, _: Query) -> api.Summary:
    """The overall state."""
    board = context.board()
    snapshot, state = board.snapshot, board.overall
    severities = Counter(incident.severity for incident in snapshot.incidents)
    health = Counter(view.state.health for view in snapshot.connections)
    return {
        **context.head(),
        "takenAt": iso_utc(snapshot.taken_at),
        "state": state.state,
        "summary": " ".join(filter(None, (state.text, state.more))),
        "total": len(snapshot.connections),
        "counts": {value.value: health[value] for value in Health},
        "displayStatuses": {status.value: board.counts[status] for status in DisplayStatus},
        "apiUp": facts.api_up(snapshot),
        "storageUp": snapshot.storage_up,
        "accounts": dict(snapshot.accounts),
        "openIncidents": {severity.value: severities[severity] for severity in Severity},
        "scopeIncidents": [facts.scope_incident(incident) for incident in board.scope_incidents()],
        "suspectedScopes": [facts.suspected_scope(scope) for scope in snapshot.suspected],
        "silences": [
            facts.silence(silence) for silence in snapshot.controls.silences if silence.state(context.now()) is not SilenceState.EXPIRED
        ],
        "receivers": {name: facts.receiver(outbox) for name, outbox in snapshot.outbox.items()},
        "heartbeat": facts.heartbeat(snapshot.heartbeat),
    }


def _filter_of(query: SelectingQuery) -> ConnectionFilter:
    return ConnectionFilter(
        health=frozenset(query.health),
        statuses=frozenset(query.display_status),
        platforms=frozenset(query.platform),
        accounts=frozenset(query.account),
        labels=frozenset(query.label),
        text=query.q or "",
    )


async def connections(context: ApiContext, query: ConnectionsQuery) -> api.Connections:
    """A page of connections, by account, platform and id, or the worst first."""
    board, now, worst_first, criteria = context.board(), context.now(), query.sort == "worst", _filter_of(query)

    def place(entry: Entry) -> Place:
        connection = entry[1].connection
        rank = _BY_ID + 1 + board.rank(entry) if worst_first else _BY_ID
        return rank, connection.account_label, connection.platform, connection.platform_id

    selected = criteria != ConnectionFilter()
    matching = [entry for entry in board.ordered if criteria.match(entry[1], entry[0])] if selected else list(board.ordered)
    if worst_first:
        # Not by the moment of the incident: a cursor stays where it is while incidents open and close.
        matching.sort(key=place)
    if query.cursor is not None and (query.cursor[0] != _BY_ID) is not worst_first:
        raise ApiProblem(400, "cursor is of a list that was sorted otherwise; begin again without it", field="cursor")
    rest = matching if query.cursor is None else [entry for entry in matching if place(entry) > query.cursor]
    page, following = page_of(rest[: query.limit + 1], query.limit, lambda entry: parameters.encode("connections", place(entry)))
    return {
        **context.head(),
        "takenAt": iso_utc(board.snapshot.taken_at),
        "total": len(matching),
        "connections": [_connection(board, view, now) for _, view in page],
        "nextCursor": following,
    }


def _connection(board: StatusBoard, view: ConnectionView, now: datetime, *, retired: bool = False) -> api.ApiConnection:
    handling, row = board.handling_of(view), past_row_of(view, now) if retired else board.row(view, now)
    return {
        **facts.connection(view.connection, view.state, suppressed_by=view.suppressed_by, next_check_at=view.next_check_at),
        "displayStatus": row.status,
        "statusText": f"{row.label} {row.seen}".rstrip(),
        "ackedBy": facts.acked_by(handling.ack),
        "silencedUntil": iso_utc(handling.silence.until) if handling.silence is not None else None,
        "escalatesAt": facts.iso(handling.escalates_at),
        "notes": [" ".join(filter(None, (note.text, note.advice))) for note in row.notes] + list(row.handled),
    }


async def expiries(context: ApiContext, query: ExpiriesQuery) -> api.Expiries:
    """The tokens that end, the first to end first; those that have ended and were not renewed lead."""
    snapshot, last = context.board().snapshot, context.now() + timedelta(days=query.days)
    criteria = ConnectionFilter(platforms=frozenset(query.platform), accounts=frozenset(query.account), labels=frozenset(query.label))
    ends = ((best_estimate(view.state.token), view) for view in snapshot.connections if criteria.match(view, DisplayStatus.OK))
    due = sorted(((at, view) for at, view in ends if at is not None and at <= last), key=lambda end: (end[0], end[1].connection.key))
    return {**context.head(), "expiries": [facts.expiry(view.connection, view.state, at) for at, view in due]}


async def connection(context: ApiContext, query: OneQuery) -> api.OneConnection:
    """One connection, watched or retired."""
    platform_id, account = query.platform_id, query.account
    view, retired = context.watched(platform_id, account), False
    if view is None:
        view, retired = await _retired(context, platform_id, account), True
    return {
        **context.head(),
        "connection": _connection(context.board(), view, context.now(), retired=retired),
        "retired": retired,
        "uptime": await _uptime(context, view),
        **facts.details(view.state),
    }


async def explanation(context: ApiContext, query: OneQuery) -> Mapping[str, object]:
    """Why a connection is believed to be what it is; the document of `explain --json`."""
    view, retired = context.watched(query.platform_id, query.account), False
    if view is None:
        view, retired = await _retired(context, query.platform_id, query.account), True
    number, present = view.connection.id, context.present
    records = await context.query(lambda reader: notification_records(reader, number, _NOTIFICATIONS))
    report = replace(present.report(view, context.board().snapshot, retired=retired), notifications=records)
    report = replace(report, scope_deliveries=await context.query(lambda reader: scope_deliveries(reader, report.above)))
    sections = explain(report, context.now(), context.policy())
    return {**context.head(), **as_document(report, sections, context.now())}


async def forecast(context: ApiContext, query: ForecastQuery) -> api.ForecastAnswer:
    """What is notified within the next 14 days if nobody does anything."""
    expected, board, criteria = await context.present.forecast(), context.board(), _filter_of(query)
    kept = {view.connection.id for status, view in board.ordered if criteria.match(view, status)}
    messages = enumerate(expected.about(lambda connection: connection.id in kept), start=1)
    found = [(number, event) for number, events in messages for event in events]
    return {
        **context.head(),
        "until": iso_utc(expected.until),
        "total": len(found),
        "notifications": [facts.forecast(event, number) for number, event in found[: query.limit]],
    }


async def _uptime(context: ApiContext, view: ConnectionView) -> UptimeFacts | None:
    """Of the last 90 days; None while the database can't be read."""
    try:
        return facts.uptime(total(await days_of(context, view.connection, _UPTIME_DAYS)))
    except ApiProblem:
        return None


async def _retired(context: ApiContext, platform_id: str, account: str | None) -> ConnectionView:
    known = await context.known(platform_id, account)
    return ConnectionView(known, await context.query(lambda reader: read_last_known(reader, known.id)))


async def preflight(context: ApiContext, query: PreflightQuery) -> api.Preflights:
    """Whether connections can be relied on for a post, by stored results; nothing is tested."""
    if not query.ids and not query.label:
        raise ApiProblem(400, "ids is required, or label", field="ids")
    if query.at is not None and query.at < context.now() - timedelta(minutes=1):
        raise ApiProblem(400, "at is past; leave it out to ask for now", field="at")
    views: dict[str, list[ConnectionView]] = defaultdict(list)
    for view in context.board().snapshot.connections:
        views[view.connection.platform_id].append(view)
    ids = list(dict.fromkeys(each for text in query.ids for each in ([text] if text in views else text.split(","))))
    if len(ids) > MOST_VALUES:
        raise ApiProblem(400, f"ids may be {MOST_VALUES} at most", field="ids")
    results = [_preflight(context, platform_id, views.get(platform_id, ()), query) for platform_id in ids]
    results += [_result(context, view, query) for view in _labelled(context, query) if view.connection.platform_id not in ids]
    answer = overall(Readiness(result["answer"]) for result in results)
    return {**context.head(), "answer": answer, "connections": results}


def _preflight(context: ApiContext, platform_id: str, views: Sequence[ConnectionView], query: PreflightQuery) -> Preflight:
    by_id = {view.connection.id: view for view in views}
    connection = only(matching((view.connection for view in views), platform_id, query.account), platform_id)
    if connection is None:
        return facts.preflight_unknown(platform_id, _NOT_WATCHED)
    return _result(context, by_id[connection.id], query)


def _labelled(context: ApiContext, query: PreflightQuery) -> Sequence[ConnectionView]:
    """The connections with the labels that the query names."""
    if not query.label:
        return ()
    accounts = frozenset(filter(None, [query.account]))
    criteria = ConnectionFilter(labels=frozenset(query.label), accounts=accounts)
    found = [view for status, view in context.board().ordered if criteria.match(view, status)]
    if not found:
        raise ApiProblem(404, f"label: no connection has {' and '.join(query.label)}", field="label")
    if len(found) > MOST_RESULTS:
        raise ApiProblem(400, f"label selects more than {MOST_RESULTS} connections; choose fewer", field="label")
    return found


def _result(context: ApiContext, view: ConnectionView, query: PreflightQuery) -> Preflight:
    now, connection = context.now(), view.connection
    result = remembered(
        view.state,
        connection.platform,
        view.suppressed_by,
        now,
        context.policy().expiry_for(connection.platform),
        max_age=query.max_age,
        min_ttl=max(query.min_ttl, query.at - now if query.at is not None else query.min_ttl),
        storage_up=context.board().snapshot.storage_up,
    )
    name = view.state.display_name or view.state.username
    return facts.preflight(connection, result, name=name, known_at=view.state.last_evidence_at, now=now, live=False)
