"""
One write transaction's view of the fleet: committed values, overlaid by what the transaction itself changed.

Checks are concluded here, on the writer thread. Each conclusion is one unit of work: the check's row, the states,
the incidents, and what is owed to whom, all or nothing. After the commit the fleet is handed the new values.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from monitor.db import CheckRow, Store
from monitor.db.codec import encode_rounding, encode_scope
from monitor.domain import evaluation as core
from monitor.domain import events, routing
from monitor.domain.checks import Observation
from monitor.domain.connections import Connection
from monitor.domain.evaluation import Evaluation, EvaluationInput
from monitor.domain.events import FINE, EventType, IncidentRef, Notification, NotificationFacts, NotificationReason, Severity, Topic
from monitor.domain.expiry import interval
from monitor.domain.listings import ListedConnection
from monitor.domain.notifications import build, decide
from monitor.domain.notifications.timing import overtakes_reminders
from monitor.domain.reasons import Health, Scope
from monitor.domain.scopes.api import served_elsewhere_at
from monitor.domain.scopes.state import ScopeState, closed, persistent
from monitor.domain.states import SuppressionReason
from monitor.notify import payload
from monitor.state.registry import Registry, ScopeRow, State


def unit_of_work(registry: Registry, store: Store) -> "UnitOfWork":
    """The view of this transaction: one per transaction, kept in its scratch space."""
    staging = store.scratch.get(UnitOfWork)
    if not isinstance(staging, UnitOfWork):
        staging = UnitOfWork(registry, store)
        store.scratch[UnitOfWork] = staging
        store.after_commit(staging.publish)
    return staging


class UnitOfWork:
    """The fleet as one write transaction sees it: committed values, overlaid by its own changes."""

    def __init__(self, registry: Registry, store: Store) -> None:
        self._registry = registry
        self._store = store
        self._states: dict[int, State] = {}
        self._scopes: dict[str, ScopeRow] = {}
        self._failing: Counter[str] = Counter()
        self._retired: set[int] = set()
        self._rounding = registry.rounding_evidence

    def publish(self) -> None:
        """Hand the committed changes to the fleet."""
        self._registry.apply_committed(self._states, self._scopes)
        self._registry.rounding_evidence = self._rounding
        if self._retired:
            self._registry.drop(self._retired)

    def is_watched(self, connection: Connection) -> bool:
        """Whether *connection* is still watched: it may have been removed while its check was under way."""
        return connection.id not in self._retired and self._registry.connection(connection.id) is not None

    def state(self, connection_id: int) -> State:
        """Version and state of one connection, as changed so far."""
        return self._states.get(connection_id) or self._registry.state(connection_id)

    def scope(self, name: str) -> ScopeRow:
        """Version and state of one scope, as changed so far."""
        return self._scopes.get(name) or self._registry.scope(name)

    def evaluation_input(self, connection: Connection) -> EvaluationInput:
        """All that must be known to conclude a check of *connection*."""
        names = self._registry.scopes_of(connection)
        return EvaluationInput(
            connection=connection,
            state=self.state(connection.id)[1],
            scope_names=names,
            scopes={name: self.scope(name)[1] for name in names.all()},
            member_counts={name: self._registry.member_count(name) for name in names.all()},
            failing=self._registry.failing(connection.platform) + self._failing[connection.platform],
            watching_since=self._registry.watching_since(),
            window=self._registry.api_window(),
            rounding=self._rounding.mode,
            controls=self._registry.controls,
            elsewhere_at=self._elsewhere_at(connection.account),
        )

    def _elsewhere_at(self, account: str) -> datetime | None:
        """When an account other than this one was last answered."""
        return served_elsewhere_at(lambda name: self.scope(name)[1], self._registry.config.accounts, account)

    def record_check(self, connection: Connection, observation: Observation) -> Evaluation | None:
        """
        Conclude one check, all in this transaction: 1. its row, 2. the states, 3. incidents, 4. notifications and deliveries.

        Nothing leaves the process before the transaction has committed. None when the connection is no longer watched.
        """
        if not self.is_watched(connection):
            return None
        conclusion = core.evaluate_check(self.evaluation_input(connection), observation, self._registry.config.policy)
        self._store.record_checks([check_row(observation)])
        self._save(connection, conclusion)
        return conclusion

    def reevaluate(self, connection: Connection, now: datetime) -> None:
        """Conclude the passing of time for one connection."""
        if not self.is_watched(connection):
            return
        conclusion = core.evaluate_at(self.evaluation_input(connection), now, self._registry.config.policy)
        self._save(connection, conclusion)

    def apply_listing(self, connection: Connection, row: ListedConnection, now: datetime, server_at: datetime | None) -> None:
        """Take in what the API's list, which came at *now*, says of one connection; *server_at* is the list's `Date`."""
        self._learn_rounding(row, now, server_at)
        if not self.is_watched(connection):
            return
        conclusion = core.evaluate_listing(self.evaluation_input(connection), row, now, self._registry.config.policy, server_at=server_at)
        self._save(connection, conclusion)

    def _learn_rounding(self, row: ListedConnection, now: datetime, server_at: datetime | None) -> None:
        learned = interval.learn_rounding(self._rounding, row, at=now, server_at=server_at)
        if learned != self._rounding:
            self._rounding = learned
            self._store.put_meta(self._registry.rounding_key(), encode_rounding(learned))

    def now(self) -> datetime:
        """The wall clock."""
        return self._registry.clock.now()

    def record_account_result(self, account: str, user_id: str, observation: Observation) -> None:
        """Take in how a request of the account went that was about no single connection."""
        names = (
            f"account:{account}",
            f"api:{self._registry.config.api_host}",
            f"service:{account}",
            f"rate:{account}",
            f"user:{account}/{user_id}" if user_id else "",
        )
        before = {name: self.scope(name)[1] for name in names if name}
        members = {name: self._registry.member_count(name) for name in before}
        policy = self._registry.config.policy
        after = core.update_scopes(
            before,
            observation,
            policy,
            window=self._registry.api_window(),
            members=members,
            elsewhere_at=self._elsewhere_at(account),
        )
        for name, state in after.items():
            if state is not before[name]:
                self._decide_scope(state, before[name], observation.at)

    def notify_short_listing(self, account: str, user_id: str, listed: int, known: int) -> None:
        """Tell that the API's list lost more than half of its connections, and is not believed yet."""
        now = self.now()
        subject = f"list:{account}/{user_id}" if user_id else f"list:{account}"
        notice = Notification(
            type=EventType.INVENTORY_CHANGED,
            why=NotificationReason.NOTICE,
            severity=Severity.INFO,
            at=now,
            incident=IncidentRef(Topic.SCOPE, subject, int(now.timestamp()), now),
            scope=Scope.ACCOUNT,
            connection_id=None,
            level_from=FINE,
            level_to=FINE,
            reason=None,
            detail=f"the API listed {listed} of {known} known connections; they are kept until the lists agree",
            seq=1,
            facts=NotificationFacts(affected=known - listed),
        )
        held = self._registry.controls.suppression(notice, None, now)
        # It is told once or never, so it can't wait for the end of quiet hours.
        if held is None or held.reason is SuppressionReason.QUIET_HOURS:
            self._add_notification(notice, None)

    def retire(self, connection: Connection, now: datetime) -> None:
        """Close what is open about a connection that is no longer watched."""
        settled = decide.close_removed(connection, self.state(connection.id)[1], now, self._registry.config.policy)
        self._save(connection, Evaluation(settled.state, {}, settled.transitions, settled.notifications))
        self._retired.add(connection.id)

    def change_scope(self, name: str, change: Callable[[ScopeState], ScopeState], now: datetime) -> None:
        """Apply *change* to one scope, and record and tell what follows."""
        before = self.scope(name)[1]
        self._decide_scope(change(before), before, now)

    def record_outage(self, outage: ScopeState, heard: Collection[str]) -> None:
        """Record an incident that could not be recorded while it was open, as closed now; who *heard* of it hears of its end."""
        now = self.now()
        self._store.apply_transitions([build.transition(outage, outage.topic.since or now)])
        self._decide_scope(closed(outage, now), outage, now, heard=heard)

    def _decide_scope(self, changed: ScopeState, before: ScopeState, now: datetime, *, heard: Collection[str] = ()) -> None:
        state, transitions, notifications = decide.decide_scope(changed, before, now, self._registry.config.policy, self._registry.controls)
        self._save_scopes({state.name: state})
        self._store.apply_transitions(transitions)
        for notification in notifications:
            self._add_notification(notification, None, heard=heard)

    def _save(self, connection: Connection, conclusion: Evaluation) -> None:
        version, before = self.state(connection.id)
        if conclusion.state != before or version == 0:
            self._store.save_states({connection.id: (version, conclusion.state)})
            self._states[connection.id] = (version + 1, conclusion.state)
            self._failing[connection.platform] += int(conclusion.state.health is Health.ERROR) - int(before.health is Health.ERROR)
        self._save_scopes(conclusion.scopes)
        if conclusion.transitions:
            self._store.apply_transitions(conclusion.transitions)
        for notification in conclusion.notifications:
            self._add_notification(notification, connection if notification.connection_id is not None else None)

    def _save_scopes(self, changed: Mapping[str, ScopeState]) -> None:
        for name, state in changed.items():
            version, before = self.scope(name)
            # Counting checks is not worth a row: only what decides is kept over a restart.
            if persistent(state) == persistent(before):
                self._scopes[name] = (version, state)
                continue
            self._store.save_scopes({name: (version, encode_scope(persistent(state)))})
            self._scopes[name] = (version + 1, state)

    def _add_notification(self, notification: Notification, connection: Connection | None, *, heard: Collection[str] = ()) -> None:
        plan = self._registry.config
        key = events.incident_key(notification.incident, plan.identity.instance)
        told = heard if heard or notification.why is NotificationReason.OPENED else self._store.outbox.receivers_notified(key)
        receivers = routing.receivers_for(notification, connection, plan.routes, plan.receivers, told=told)
        webhook_id = self._store.outbox.new_webhook_id()
        body = payload.render(webhook_id, notification, connection, plan.identity)
        self._store.outbox.add_notification(webhook_id, notification, key, body, receivers)
        if overtakes_reminders(notification.why):
            self._store.outbox.overtake_reminders(webhook_id, notification.at)


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
