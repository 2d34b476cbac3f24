"""
The engine by a virtual clock: checks and the passing of time in, the exact list of notifications out.

It is the object that the daemon runs. Time is evaluated once per `beat`, as the evaluator does. A restart is a round trip of everything
through its JSON documents.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from monitor.db.codec import decode_scope, dump_state, encode_scope, load_state
from monitor.domain.connections import Connection
from monitor.domain.engine import Engine, EngineConfig
from monitor.domain.evaluation import Evaluation
from monitor.domain.events import Notification, Transition
from monitor.domain.policy import Policy
from monitor.domain.replies.checks import Observation, Reply, Verdict
from monitor.domain.replies.listings import ListedConnection
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.scopes.state import ScopeState, persistent
from monitor.domain.silencing.acceptance import Acceptance
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.silences import RecurringSilence, Silence
from monitor.domain.states import ConnectionState
from monitor.errors import Reason
from tests.builders import START, a_connection, a_reply

API_HOST = "api.example"


@dataclass
class Story:
    """One history. `told` collects (connection or scope, type, why) in order; `now` is the virtual wall clock."""

    policy: Policy = field(default_factory=Policy)
    connections: dict[int, Connection] = field(default_factory=lambda: {1: a_connection()})
    now: datetime = START
    beat: timedelta = timedelta(seconds=30)
    notifications: list[Notification] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    replies: dict[int, Reply] = field(default_factory=dict)
    recurring_silences: tuple[RecurringSilence, ...] = ()
    fast_path: bool = True
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        self._seen = (tuple(self.connections.values()), self.policy)
        self.engine = Engine(self._config(), self.now)
        self.engine.set_connections(self.connections.values())

    def _config(self) -> EngineConfig:
        interval = max((connection.interval for connection in self.connections.values()), default=timedelta(minutes=15))
        return EngineConfig(
            policy=replace(self.policy, interval=interval),
            api_host=API_HOST,
            recurring_silences=self.recurring_silences,
            fast_path=self.fast_path,
        )

    def take_up_changes(self) -> None:
        """Take up what the test changed of the connections or the policy."""
        seen = (tuple(self.connections.values()), self.policy)
        if seen != self._seen:
            self._seen = seen
            self.engine.config = self._config()
            self.engine.set_connections(self.connections.values())

    @property
    def told(self) -> list[tuple[str, str, str]]:
        """What was sent so far: subject, type, why."""
        return [(sent.incident.subject, sent.type.value, sent.why.value) for sent in self.notifications]

    @property
    def types(self) -> list[str]:
        """The types of what was sent so far."""
        return [sent.type.value for sent in self.notifications]

    @property
    def states(self) -> Mapping[int, ConnectionState]:
        """What is known of the connections of which anything is."""
        states = {number: self.engine.state(number) for number in self.connections}
        return {number: state for number, state in states.items() if state.last_check_at is not None}

    @property
    def scopes(self) -> Mapping[str, ScopeState]:
        """The scopes by the names that rows give them."""
        return {str(key): state for key, state in self.engine.scopes().items()}

    def scope(self, name: str) -> ScopeState:
        """What is known of one scope."""
        return self.engine.scope(ScopeKey.parse(name))

    def state(self, number: int = 1) -> ConnectionState:
        """What is known of one connection."""
        return self.engine.state(number)

    def put_state(self, state: ConnectionState, number: int = 1) -> None:
        """Make *state* what is known of one connection."""
        states = {connection_id: self.state(connection_id) for connection_id in self.connections}
        self.engine.restore({**states, number: state}, self.engine.scopes().values())

    def check(self, reason: Reason = Reason.OK, number: int = 1, **overrides: object) -> Evaluation:
        """One check of connection *number*, now; a passed or failed one carries a reply unless overridden."""
        self.take_up_changes()
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
        evaluation = self.engine.check(observation)
        assert evaluation is not None
        return self._take(evaluation)

    def learn(self, row: ListedConnection, number: int = 1) -> Evaluation:
        """The API's list tells of connection *number*, now."""
        self.take_up_changes()
        evaluation = self.engine.apply_listing(self.connections[number], row, self.now)
        assert evaluation is not None
        return self._take(evaluation)

    def checks(self, *reasons: Reason, every: timedelta = timedelta(minutes=1), number: int = 1) -> None:
        """One check after the other, *every* apart, the first one now."""
        for reason in reasons:
            self.check(reason, number)
            self.pass_time(every)

    def pass_time(self, duration: timedelta) -> None:
        """Let time go by, evaluating at every beat."""
        end = self.now + duration
        while self.now + self.beat <= end:
            self.now += self.beat
            self.review()
        self.now = end

    def review(self) -> None:
        """Evaluate the passing of time."""
        self.take_up_changes()
        for evaluation in self.engine.evaluate(self.now):
            self._take(evaluation)

    def ask(self, *silences: Silence, acks: tuple[Ack, ...] = (), accepted: tuple[Acceptance, ...] = ()) -> None:
        """Operators ask for exactly this from now on."""
        self.engine.set_requests(silences, acks, accepted)

    def jump(self, span: timedelta) -> None:
        """The wall clock is set by *span*, or the machine was suspended for it: the daemon notices, and watches afresh."""
        self.now += span
        self.engine.watching_since = self.now
        self.review()

    def restart(self) -> None:
        """Stop and start: only what the documents hold survives."""
        states = {number: load_state(dump_state(self.state(number)), "state") for number in self.connections}
        scopes = [decode_scope(name, encode_scope(persistent(scope))) for name, scope in self.scopes.items()]
        self.engine.restore(states, scopes)

    def retire(self, number: int) -> None:
        """Connection *number* is no longer monitored."""
        self._take(self.engine.retire(self.connections.pop(number), self.now))

    def _take(self, evaluation: Evaluation) -> Evaluation:
        self.transitions += evaluation.transitions
        self.notifications += evaluation.notifications
        return evaluation


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
