"""One write transaction over the registry, on the writer thread: committed values, overlaid by what it changed itself."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial

from monitor.db import CheckRow, Store
from monitor.db.codec import encode_rounding, encode_scope
from monitor.domain import events
from monitor.domain.connections import Connection
from monitor.domain.evaluation import Evaluation
from monitor.domain.events import (
    FINE,
    REMOVED,
    EventType,
    IncidentRef,
    Notification,
    NotificationFacts,
    NotificationReason,
    Severity,
    Topic,
)
from monitor.domain.notifications import build
from monitor.domain.notifications.timing import overtakes_reminders
from monitor.domain.reasons import Scope
from monitor.domain.replies.checks import Observation
from monitor.domain.replies.listings import ListedConnection
from monitor.domain.routing import rules as routing
from monitor.domain.scopes.key import LIST, ScopeKey
from monitor.domain.scopes.state import ScopeState, closed, persistent
from monitor.domain.states import ConnectionState, SuppressionReason
from monitor.logs import get_logger
from monitor.notify import payload
from monitor.state.registry import Registry

_BATCH = 200
_log = get_logger(__name__)


def record_check(registry: Registry, observation: Observation, store: Store) -> Evaluation | None:
    """Record one check: its row, the states, incidents, notifications and deliveries; None when it is no longer monitored."""
    return unit_of_work(registry, store).record_check(observation)


def evaluate_due(registry: Registry, now: datetime, store: Store) -> None:
    """Record what the passing of time changes, for the scopes and one batch of the connections that are due."""
    unit_of_work(registry, store).evaluate_due(now)


def record_account_result(registry: Registry, account: str, user_id: str, observation: Observation, store: Store) -> None:
    """Record the result of an account-level request (list, users)."""
    unit_of_work(registry, store).record_account_result(account, user_id, observation)


def apply_listing(
    registry: Registry, rows: Sequence[tuple[Connection, ListedConnection]], server_at: datetime | None, store: Store
) -> None:
    """Record what the API's list says of these connections; *server_at* is the list's `Date`."""
    unit = unit_of_work(registry, store)
    now = unit.now()
    for connection, row in rows:
        unit.apply_listing(connection, row, now, server_at)


def notify_inventory(
    registry: Registry, account: str, user_id: str, text: str, store: Store, *, affected: int, severity: Severity = Severity.INFO
) -> None:
    """Notify that the API's lists of connections or users changed in a way that a person should know; *text* says how."""
    unit_of_work(registry, store).notify_inventory(account, user_id, text, affected=affected, severity=severity)


def close_scope(registry: Registry, key: ScopeKey, store: Store) -> None:
    """Close the incident of a scope that is no longer watched, as removed."""
    unit = unit_of_work(registry, store)
    now = unit.now()
    unit.change_scope(key, partial(closed, now=now, why=REMOVED), now)


def record_outage(registry: Registry, outage: ScopeState, notified: Collection[str], store: Store) -> None:
    """Record the storage incident that could not be recorded while it was open, as closed now."""
    unit_of_work(registry, store).record_outage(outage, notified)


def unit_of_work(registry: Registry, store: Store) -> "UnitOfWork":
    """The unit of work of this transaction: one per transaction, kept in its scratch space."""
    known = store.scratch.get(registry)
    if isinstance(known, UnitOfWork):
        return known
    registry.notice_clock_jump()
    unit: UnitOfWork = registry.make_unit(store) if registry.make_unit is not None else UnitOfWork(registry, store)
    store.scratch[registry] = unit
    store.after_commit(unit.publish)
    return unit


class UnitOfWork:
    """The registry as one write transaction sees it."""

    def __init__(self, registry: Registry, store: Store) -> None:
        self._registry = registry
        self._store = store
        self._changes = registry.begin()
        self._versions: dict[int, int] = {}
        self._scope_versions: dict[ScopeKey, int] = {}
        self._unrouted: list[tuple[Notification, Connection | None]] = []
        self._decided: list[tuple[Notification, Connection | None]] = []

    def publish(self) -> None:
        """Hand the committed changes to the registry."""
        self._registry.versions |= self._versions
        self._registry.scope_versions |= self._scope_versions
        self._registry.commit(self._changes)
        for notification, connection in self._decided:
            named = _named(notification, connection)
            _log.info("notification.decided", type=notification.type, why=notification.why, reason=notification.reason, **named)
            self._registry.add_notice(notification)
        for notification, connection in self._unrouted:
            self._registry.count_unrouted()
            advice = "No receiver gets it: end the routes with one without match."
            what = {"type": notification.type.value, "severity": notification.severity.value, **_named(notification, connection)}
            _log.warning("notification.unrouted", **what, advice=advice)

    def now(self) -> datetime:
        """The wall clock."""
        return self._registry.clock.now()

    def record_check(self, observation: Observation) -> Evaluation | None:
        """Record one check and all that follows; None when its connection is no longer monitored."""
        evaluation = self._changes.check(observation)
        if evaluation is not None:
            self._store.record_checks([check_row(observation)])
            self._save(evaluation)
        return evaluation

    def evaluate_due(self, now: datetime) -> None:
        """Record what the passing of time changes, for the scopes and one batch of the connections that are due."""
        for key in self._registry.due_scopes(now):
            self._save(self._changes.evaluate_scope(key, now))
            self._changes.scopes_evaluated_at = now
        for connection in self._registry.due_connections(now, _BATCH):
            self._save(self._changes.evaluate(connection, now))

    def apply_listing(self, connection: Connection, row: ListedConnection, now: datetime, server_at: datetime | None) -> None:
        """Record what the API's list, which came at *now*, says of one connection; *server_at* is the list's `Date`."""
        if self._changes.learn_rounding(row, now, server_at):
            self._store.put_meta(self._registry.rounding_key(), encode_rounding(self._changes.rounding))
        self._save(self._changes.apply_listing(connection, row, now, server_at))

    def record_account_result(self, account: str, user_id: str, observation: Observation) -> None:
        """Record the result of an account-level request (list, users)."""
        self._save(self._changes.account_result(account, user_id, observation))

    def notify_inventory(self, account: str, user_id: str, text: str, *, affected: int, severity: Severity) -> None:
        """Notify that the API's lists changed; *text* says how, *affected* counts the connections or users."""
        now = self.now()
        notice = Notification(
            type=EventType.INVENTORY_CHANGED,
            why=NotificationReason.NOTICE,
            severity=severity,
            at=now,
            incident=IncidentRef(Topic.SCOPE, str(ScopeKey(LIST, account, user_id)), int(now.timestamp()), now),
            scope=Scope.ACCOUNT,
            connection_id=None,
            level_from=FINE,
            level_to=FINE,
            reason=None,
            detail=text,
            seq=1,
            facts=NotificationFacts(affected=affected),
        )
        suppression = self._registry.controls.suppression(notice, None, now)
        # It is sent once or never, so it can't wait for the end of quiet hours.
        if suppression is None or suppression.reason is SuppressionReason.QUIET_HOURS:
            self._add_notification(notice, None)

    def retire(self, connection: Connection, now: datetime) -> None:
        """Close what is open about a connection that is no longer monitored."""
        self._save(self._changes.retire(connection, now))

    def change_scope(self, key: ScopeKey, change: Callable[[ScopeState], ScopeState], now: datetime) -> None:
        """Apply *change* to one scope, and record what follows."""
        self._save(self._changes.change_scope(key, change, now))

    def note_relisted(self, account: str) -> None:
        """Other connections of *account* are watched once this is committed."""

    def record_outage(self, outage: ScopeState, notified: Collection[str]) -> None:
        """Record an incident that could not be recorded while it was open, as closed now; the receivers *notified* get its end."""
        now = self.now()
        self._store.apply_transitions([build.transition(outage, outage.topic.since or now)])
        self._save(self._changes.close_outage(outage, now), notified=notified)

    def _save(self, evaluation: Evaluation | None, *, notified: Collection[str] = ()) -> None:
        if evaluation is None:
            return
        if evaluation.usual:
            self._changes.apply(evaluation)
            return
        connection, state = evaluation.connection, evaluation.state
        if connection is not None and state is not None:
            version = self._versions.get(connection.id) or self._registry.versions.get(connection.id, 0)
            if state != self._changes.state(connection.id) or version == 0:
                self._save_state(connection.id, version, state)
        self._save_scopes(evaluation.scopes)
        if evaluation.transitions:
            self._store.apply_transitions(evaluation.transitions)
        informed: set[str] = set()
        for notification in evaluation.notifications:
            subject = connection if notification.connection_id is not None else None
            said = (informed or self._informed_together(connection)) if notification.facts.included else ()
            informed.update(self._add_notification(notification, subject, notified=notified, informed=said))
        self._changes.apply(evaluation)

    def _informed_together(self, connection: Connection | None) -> Collection[str]:
        """The receivers of the open incident of several connections that *connection* is repaired with."""
        above = self._registry.scopes_above(connection) if connection is not None else None
        for key in (above.platform, above.group) if above is not None else ():
            scope = self._changes.scope(key)
            if connection is not None and scope.open and connection.id in scope.members:
                incident = IncidentRef(Topic.SCOPE, str(key), scope.topic.number, scope.topic.opened_at or self.now())
                return self._store.outbox.receivers_notified(self._store.outbox.key_of(incident) or "")
        return ()

    def _save_scopes(self, changed: Mapping[ScopeKey, ScopeState]) -> None:
        for key, state in changed.items():
            # Counting checks is not worth a row: only what decides is kept over a restart.
            if not self._registry.decides(key) or persistent(state) == persistent(self._changes.scope(key)):
                continue
            self._save_scope(key, persistent(state))

    def _save_state(self, connection_id: int, version: int, state: ConnectionState) -> None:
        self._store.save_states({connection_id: (version, state)})
        self._versions[connection_id] = version + 1

    def _save_scope(self, key: ScopeKey, state: ScopeState) -> None:
        version = self._scope_versions.get(key) or self._registry.scope_versions.get(key, 0)
        self._store.save_scopes({str(key): (version, encode_scope(state))})
        self._scope_versions[key] = version + 1

    def _add_notification(
        self, notification: Notification, connection: Connection | None, *, notified: Collection[str] = (), informed: Collection[str] = ()
    ) -> Sequence[str]:
        """Store *notification* for its receivers, and return them; *informed* are those that another one has told the same."""
        self._decided.append((notification, connection))
        config = self._registry.config
        key = events.incident_key(notification.incident, config.identity.instance)
        known_key = None if notification.why is NotificationReason.OPENED else self._store.outbox.key_of(notification.incident)
        if known_key is not None:
            key, notified = known_key, notified or self._store.outbox.receivers_notified(known_key)
        members = [member for number in notification.facts.members if (member := self._registry.connection(number)) is not None]
        receivers = routing.receivers_for(
            notification,
            connection,
            config.routes,
            config.receivers,
            notified=notified if notified or known_key is not None else None,
            members=members,
            user_labels=config.user_labels,
            informed=informed,
        )
        ends_unknown = notification.why is NotificationReason.CLOSED and known_key is not None and not notified
        if not receivers and not ends_unknown and routing.is_unrouted(notification, connection, config.routes, members, config.user_labels):
            self._unrouted.append((notification, connection))
        webhook_id = self._store.outbox.new_webhook_id()
        body = payload.render(webhook_id, notification, connection, config.identity, members, key)
        self._store.outbox.add_notification(webhook_id, notification, key, body, receivers)
        if overtakes_reminders(notification.why):
            self._store.outbox.overtake_reminders(webhook_id, notification.at)
        return receivers


def _named(notification: Notification, connection: Connection | None) -> dict[str, str]:
    """What *notification* is about, for the log."""
    if connection is None:
        return {"subject": notification.incident.subject}
    return {"account": connection.account_label, "connection": connection.platform_id}


def check_row(observation: Observation) -> CheckRow:
    """The row of history that one check leaves."""
    return CheckRow(
        connection_id=observation.connection_id,
        at=observation.at,
        reason=observation.verdict.reason,
        duration_ms=round(observation.duration_seconds * 1000),
        http_status=observation.http_status,
        token=observation.reply.token.raw or None if observation.reply is not None else None,
        detail=observation.verdict.detail,
    )
