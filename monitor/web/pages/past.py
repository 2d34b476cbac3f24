"""The status page as it was: a snapshot made again of the rows of history."""

from collections.abc import Mapping
from datetime import datetime

from monitor.db import IncidentRow, Reader, connections_at, incidents_at, last_checks_at
from monitor.db.rows import CheckRow
from monitor.domain.connections import Connection
from monitor.domain.policy import Policy
from monitor.domain.reasons import Outcome, outcome_of
from monitor.domain.replies.checks import Observation, Verdict
from monitor.domain.replies.token_life import TokenLife, parse_token_life
from monitor.domain.scopes.key import API, STORAGE, ScopeKey
from monitor.domain.views.past import views_at
from monitor.domain.views.snapshot import IncidentView, Snapshot


def snapshot_at(reader: Reader, at: datetime, policy: Policy) -> Snapshot:
    """What was known at *at*, as far as rows tell; of an incident that changed its level later only the last level is known."""
    checks = last_checks_at(reader, at)
    conclusive = {number: check for number, check in checks.items() if outcome_of(check.reason) is not Outcome.INCONCLUSIVE}
    if len(conclusive) < len(checks):
        conclusive = last_checks_at(reader, at, conclusive=True)
    connections = [connection for connection in connections_at(reader, at) if connection.id in checks]
    connections.sort(key=lambda each: (each.account_label, each.platform, each.platform_id))
    known = {connection.id: connection for connection in connections}
    incidents = tuple(_incident(row, known) for row in incidents_at(reader, at) if row.connection_id is None or row.connection_id in known)
    seen = [(one, _observation(checks[one.id]), *_evidence(conclusive.get(one.id))) for one in connections]
    scopes = {ScopeKey.parse(one.incident.subject) for one in incidents if one.connection_id is None}
    return Snapshot(
        at,
        views_at(seen, incidents, at, policy),
        incidents,
        api_up=not any(key.kind == API for key in scopes),
        storage_up=STORAGE not in scopes,
    )


def _evidence(check: CheckRow | None) -> tuple[Observation | None, TokenLife]:
    return (_observation(check), parse_token_life(check.token)) if check is not None else (None, TokenLife())


def _observation(check: CheckRow) -> Observation:
    return Observation(check.connection_id, check.at, check.at, Verdict(check.reason, check.detail))


def _incident(row: IncidentRow, connections: Mapping[int, Connection]) -> IncidentView:
    connection = connections.get(row.connection_id) if row.connection_id is not None else None
    return IncidentView(row.incident, row.scope, row.connection_id, row.level, row.severity, row.reason, row.detail, connection)
