"""
A story told to the pure core: checks and the passing of time in, the exact list of notifications out.

It keeps what the program keeps (states and scopes), and reviews once per `beat` what is due for it, as the reviewer does.
A restart is a round trip of everything through its JSON documents.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.db.codec import decode_scope, dump_state, encode_scope, load_state
from monitor.domain import evaluation as core
from monitor.domain.checks import Observation, Reply, Verdict
from monitor.domain.connections import Connection
from monitor.domain.evaluation import Evaluation, EvaluationInput
from monitor.domain.events import Notification, Transition
from monitor.domain.listings import ListedConnection
from monitor.domain.notifications import decide
from monitor.domain.notifications.timing import needs_evaluation
from monitor.domain.policy import Policy
from monitor.domain.reasons import Health
from monitor.domain.scopes import rules
from monitor.domain.scopes.api import served_elsewhere_at
from monitor.domain.scopes.key import scopes_of
from monitor.domain.scopes.state import ScopeState, persistent
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.controls import NO_CONTROLS, Controls
from monitor.domain.silencing.silences import Silence
from monitor.domain.states import ConnectionState
from monitor.errors import Reason
from tests.builders import START, a_connection, a_reply

API_HOST = "api.example"
_UNKNOWN = ConnectionState()


@dataclass
class Story:
    """One monitor's life. `told` collects (connection or scope, type, why) in order; `now` is the virtual wall clock."""

    policy: Policy = field(default_factory=Policy)
    connections: dict[int, Connection] = field(default_factory=lambda: {1: a_connection()})
    now: datetime = START
    started_at: datetime = START
    beat: timedelta = timedelta(seconds=30)
    states: dict[int, ConnectionState] = field(default_factory=dict)
    scopes: dict[str, ScopeState] = field(default_factory=dict)
    notifications: list[Notification] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    replies: dict[int, Reply] = field(default_factory=dict)
    controls: Controls = NO_CONTROLS
    _failing: Counter[str] = field(default_factory=Counter)
    _census: tuple[tuple[Connection, ...], Counter[str], timedelta] = ((), Counter(), timedelta())
    _reconcile: bool = True

    @property
    def told(self) -> list[tuple[str, str, str]]:
        """What was told so far: subject, type, why."""
        return [(one.incident.subject, one.type.value, one.why.value) for one in self.notifications]

    @property
    def types(self) -> list[str]:
        """The types of what was told so far."""
        return [one.type.value for one in self.notifications]

    def state(self, number: int = 1) -> ConnectionState:
        """What is known of one connection."""
        return self.states.get(number, _UNKNOWN)

    def check(self, reason: Reason = Reason.OK, number: int = 1, **overrides: object) -> Evaluation:
        """One check of connection *number*, now; a passed or failed one carries a reply unless overridden."""
        connection = self.connections[number]
        reply = overrides.pop("reply", self.replies.get(number))
        if reply is None and core_reply(reason):
            passed = reason is Reason.OK
            reply = a_reply(passed=passed, platform_id=connection.platform_id, permissions=("p",) if passed else ())
        observation = Observation(
            connection_id=number,
            sent_at=self.now,
            at=self.now,
            verdict=Verdict(reason),
            reply=reply,  # type: ignore[arg-type]
            **overrides,  # type: ignore[arg-type]
        )
        conclusion = core.evaluate_check(self._situation(connection), observation, self.policy)
        self._take(number, conclusion)
        return conclusion

    def learn(self, row: ListedConnection, number: int = 1) -> Evaluation:
        """The API's list tells of connection *number*, now."""
        conclusion = core.evaluate_listing(self._situation(self.connections[number]), row, self.now, self.policy)
        self._take(number, conclusion)
        return conclusion

    def checks(self, *reasons: Reason, every: timedelta = timedelta(minutes=1), number: int = 1) -> None:
        """One check after the other, *every* apart, the first one now."""
        for reason in reasons:
            self.check(reason, number)
            self.pass_time(every)

    def pass_time(self, duration: timedelta) -> None:
        """Let time go by, reviewing at every beat."""
        end = self.now + duration
        while self.now + self.beat <= end:
            self.now += self.beat
            self.review()
        self.now = end

    def review(self) -> None:
        """Look at every scope, and at every connection for which it is time or about which somebody is owed a word."""
        for name, before in list(self.scopes.items()):
            state, transitions, notifications = decide.decide_scope(self._ticked(before), before, self.now, self.policy, self.controls)
            self._reconcile = self._reconcile or (before.open and not state.open)
            self.scopes[name] = state
            self.transitions += transitions
            self.notifications += notifications
        reconcile, self._reconcile = self._reconcile, False
        for number, known in list(self.states.items()):
            owed = reconcile and needs_evaluation(known)
            if owed or (known.next_evaluation_at is not None and known.next_evaluation_at <= self.now):
                self._take(number, core.evaluate_at(self._situation(self.connections[number]), self.now, self.policy))

    def _ticked(self, state: ScopeState) -> ScopeState:
        return rules.tick(
            state,
            self.now,
            self.policy.scopes,
            window=self._window(),
            members=self._below()[state.name],
            failing=self._failing[state.name.partition(":")[2]],
        )

    def ask(self, *silences: Silence, acks: tuple[Ack, ...] = ()) -> None:
        """Operators ask for exactly this from now on: the daemon notices, and looks at whoever may be owed a word."""
        self.controls = self.controls.with_requests(silences, acks)
        self._reconcile = True

    def jump(self, span: timedelta) -> None:
        """The wall clock is set by *span*, or the machine slept for it: the daemon notices, and watches afresh."""
        self.now += span
        self.started_at = self.now
        self.review()

    def restart(self) -> None:
        """Stop and start: only what the documents hold survives."""
        self.states = {number: load_state(dump_state(state), "state") for number, state in self.states.items()}
        self.scopes = {name: decode_scope(encode_scope(persistent(state))) for name, state in self.scopes.items()}
        self._reconcile = True

    def _situation(self, connection: Connection) -> EvaluationInput:
        return EvaluationInput(
            connection=connection,
            state=self.state(connection.id),
            scope_names=scopes_of(connection, API_HOST),
            scopes=self.scopes,
            member_counts=self._below(),
            failing=self._failing[connection.platform],
            watching_since=self.started_at,
            window=self._window(),
            controls=self.controls,
            elsewhere_at=self._elsewhere_at(connection.account),
        )

    def _elsewhere_at(self, account: str) -> datetime | None:
        accounts = {one.account for one in self.connections.values()}
        return served_elsewhere_at(self._scope, accounts, account)

    def _scope(self, name: str) -> ScopeState:
        return self.scopes.get(name, ScopeState(name))

    def _window(self) -> timedelta:
        return max(self.policy.scopes.window, 2 * self._counted()[2])

    def _below(self) -> Counter[str]:
        return self._counted()[1]

    def _counted(self) -> tuple[tuple[Connection, ...], Counter[str], timedelta]:
        """The connections, how many are below each scope, and their longest interval; counted again when they are others."""
        connections = tuple(self.connections.values())
        if connections != self._census[0]:
            counts: Counter[str] = Counter()
            for connection in connections:
                counts.update(scopes_of(connection, API_HOST).all())
            self._census = (connections, counts, max(one.interval for one in connections))
        return self._census

    def _take(self, number: int, conclusion: Evaluation) -> None:
        platform = self.connections[number].platform
        self._failing[platform] += (conclusion.state.health is Health.ERROR) - (self.state(number).health is Health.ERROR)
        self._reconcile = self._reconcile or any(
            self.scopes[name].open and not one.open for name, one in conclusion.scopes.items() if name in self.scopes
        )
        self.states[number] = conclusion.state
        self.scopes.update(conclusion.scopes)
        self.transitions += conclusion.transitions
        self.notifications += conclusion.notifications


def core_reply(reason: Reason) -> bool:
    """Whether a check with this reason comes with a parsed answer."""
    return reason in {
        Reason.OK,
        Reason.CREDENTIAL_REJECTED,
        Reason.TOKEN_EXPIRED,
        Reason.RIGHTS_LOST,
        Reason.TARGET_GONE,
        Reason.PLATFORM_TROUBLE,
        Reason.VALIDATION_FAILED,
        Reason.PLATFORM_UNKNOWN,
        Reason.VALIDATOR_LACKS_MTPROTO,
    }
