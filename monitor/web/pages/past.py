"""The status page as it was: a snapshot made again of the rows of history."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from monitor.db import IncidentRow, Reader, connections_at, incidents_at, last_checks_at
from monitor.db.rows import CheckRow
from monitor.domain.connections import Connection
from monitor.domain.events import Topic
from monitor.domain.expiry import estimate
from monitor.domain.expiry.model import TokenBelief
from monitor.domain.policy import Policy
from monitor.domain.reasons import Health, Outcome, Scope, outcome_of
from monitor.domain.scopes.key import API, PLATFORM, ScopeKey, scopes_above
from monitor.domain.snapshot import ConnectionView, IncidentView, Snapshot
from monitor.domain.states import ConnectionState
from monitor.domain.token_life import parse_token_life

# The interval may have been another one then.
_LEAST_STALE = timedelta(hours=1)
_HEALTH = {Outcome.PASSED: Health.OK, Outcome.UNSUPPORTED: Health.UNSUPPORTED}


def snapshot_at(reader: Reader, at: datetime, policy: Policy) -> Snapshot:
    """
    What was known at *at*, as far as rows tell.

    Of an incident that changed its level later only the last level is known. Health is that of the incident, else of the last check; a
    connection that was not checked for longer than `stale_after` is unknown.
    """
    rows, checks = incidents_at(reader, at), last_checks_at(reader, at)
    connections = [connection for connection in connections_at(reader, at) if connection.id in checks]
    scopes = {row.incident.subject for row in rows if row.scope is not Scope.CONNECTION}
    own = {row.connection_id: row for row in rows if row.connection_id is not None and row.incident.topic is Topic.CONNECTION}
    known = {connection.id: connection for connection in connections}
    views = tuple(
        ConnectionView(
            connection,
            _state(connection, checks[connection.id], own.get(connection.id), at, policy),
            _scope_above(connection, scopes),
        )
        for connection in sorted(connections, key=lambda each: (each.account_label, each.platform, each.platform_id))
    )
    incidents = tuple(_view(row, known) for row in rows if row.connection_id is None or row.connection_id in known)
    storage_up = "storage" not in scopes
    return Snapshot(at, views, incidents, api_up=not any(ScopeKey.parse(name).kind == API for name in scopes), storage_up=storage_up)


def _state(connection: Connection, check: CheckRow, incident: IncidentRow | None, at: datetime, policy: Policy) -> ConnectionState:
    broken = incident is not None and incident.level in {Health.ERROR, Health.MISSING, Health.MISCONFIGURED}
    outcome = outcome_of(check.reason)
    if incident is not None and broken:
        health, reason, detail, since = Health(incident.level), incident.reason, incident.detail, incident.incident.opened_at
    else:
        stale = at - check.at > max(policy.stale_for(connection.interval), _LEAST_STALE)
        # One failed or inconclusive check without an incident is not confirmed.
        health = Health.UNKNOWN if stale else _HEALTH.get(outcome, Health.OK)
        reason, detail, since = check.reason, check.detail, None
    token, _ = estimate.apply(
        TokenBelief(),
        parse_token_life(check.token),
        passed=outcome is Outcome.PASSED,
        sent_at=check.at,
        at=check.at,
        server_at=None,
        policy=policy.expiry_for(connection.platform),
    )
    evidence_at = None if outcome is Outcome.INCONCLUSIVE else check.at
    return ConnectionState(
        health=health,
        since=since,
        reason=reason,
        detail=detail,
        last_check_at=check.at,
        last_evidence_at=evidence_at,
        last_passed_at=check.at if outcome is Outcome.PASSED else None,
        last_reason=check.reason,
        last_detail=check.detail,
        token=token,
    )


def _scope_above(connection: Connection, subjects: set[str]) -> str | None:
    """The scope with an open incident above *connection*; that of a platform hides no state."""
    keys = {ScopeKey.parse(subject) for subject in subjects}
    api = next((key.name for key in keys if key.kind == API), "")
    above = [key for key in scopes_above(connection, api).all if key in keys and key.kind not in (PLATFORM, "group", "rate", "limit")]
    return str(above[0]) if above else None


def _view(row: IncidentRow, connections: Mapping[int, Connection]) -> IncidentView:
    connection = connections.get(row.connection_id) if row.connection_id is not None else None
    return IncidentView(row.incident, row.scope, row.connection_id, row.level, row.severity, row.reason, row.detail, connection)
