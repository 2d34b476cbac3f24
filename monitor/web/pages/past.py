"""The status page as it was: a snapshot made again of the rows of history."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from monitor.db import (
    IncidentRow,
    Reader,
    acks_since,
    connections_at,
    incidents_at,
    last_checks_at,
    lifetimes,
    read_state,
    silences_since,
)
from monitor.db.rows import CheckRow
from monitor.domain.connections import Connection
from monitor.domain.policy import Policy
from monitor.domain.reasons import Outcome, outcome_of
from monitor.domain.replies.checks import Observation, Verdict
from monitor.domain.replies.token_life import TokenLife, parse_token_life
from monitor.domain.scopes.key import ACCOUNT, API, STORAGE, ScopeKey
from monitor.domain.silencing.controls import Controls
from monitor.domain.views.past import views_at
from monitor.domain.views.snapshot import IncidentView, Snapshot


def snapshot_at(reader: Reader, at: datetime, policy: Policy, present: Snapshot) -> Snapshot:
    """What was known at *at*, as far as rows tell: last levels, no suspicions. *present* has the names."""
    checks = last_checks_at(reader, at)
    conclusive = {number: check for number, check in checks.items() if outcome_of(check.reason) is not Outcome.INCONCLUSIVE}
    if len(conclusive) < len(checks):
        conclusive = last_checks_at(reader, at, conclusive=True)
    # Ids are given in order: what came before a connection that was checked then was known then.
    newest = max(checks, default=0)
    connections = [connection for connection in connections_at(reader, at) if connection.id <= newest]
    connections.sort(key=lambda each: (each.account_label, each.platform, each.platform_id))
    known = {connection.id: connection for connection in connections}
    incidents = tuple(_incident(row, known) for row in incidents_at(reader, at) if row.connection_id is None or row.connection_id in known)
    seen = [(one, _observation(checks.get(one.id)), *_evidence(conclusive.get(one.id))) for one in connections]
    scopes = {ScopeKey.parse(one.incident.subject) for one in incidents if one.connection_id is None}
    states = {view.connection.id: view.state for view in present.connections}
    for number in known.keys() - states.keys():
        if (state := read_state(reader, number)) is not None:
            states[number] = state
    return Snapshot(
        at,
        views_at(seen, incidents, at, policy, states),
        incidents,
        {key.name: False for key in scopes if key.kind == ACCOUNT},
        api_up=not any(key.kind == API for key in scopes),
        storage_up=STORAGE not in scopes,
        controls=_controls_at(reader, incidents, at),
        users=present.users,
    )


def history_begins_at(reader: Reader) -> datetime | None:
    """The time of the oldest check that is kept."""
    return min((life.first_at for life in lifetimes(reader).values() if life.first_at is not None), default=None)


def _controls_at(reader: Reader, incidents: Iterable[IncidentView], at: datetime) -> Controls:
    """The silences of a moment, and the acknowledgements of the incidents that were open."""
    # That a silence was ended early was not known before.
    silences = [
        replace(one, expired_at=one.expired_at if one.expired_at is not None and one.expired_at <= at else None)
        for one in silences_since(reader, at)
        if one.created_at <= at
    ]
    opened = {(one.incident.topic, one.incident.subject, one.incident.number): one.incident.opened_at for one in incidents}
    acks = acks_since(reader, min(opened.values())) if opened else []
    return Controls().with_requests(silences, [one for one in acks if one.at <= at and (one.topic, one.subject, one.number) in opened])


def _evidence(check: CheckRow | None) -> tuple[Observation | None, TokenLife]:
    return _observation(check), parse_token_life(check.token) if check is not None else TokenLife()


def _observation(check: CheckRow | None) -> Observation | None:
    return Observation(check.connection_id, check.at, check.at, Verdict(check.reason, check.detail)) if check is not None else None


def _incident(row: IncidentRow, connections: Mapping[int, Connection]) -> IncidentView:
    connection = connections.get(row.connection_id or 0)
    return IncidentView(row.incident, row.scope, row.connection_id, row.level, row.severity, row.reason, row.detail, connection)
