"""
A world through the monitor, on a virtual clock.

What decides is the daemon's: the registry (the engine, with the notice of clock jumps), the check queue, the request budget, the
comparison of lists, the configuration's defaults. What the workers do around it is done here without sockets, database and event
loop. A restart is a round trip of everything through its stored documents.
"""

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from random import Random

from monitor.clock import SystemClock
from monitor.config import AccountSettings, Config, Secret
from monitor.db.codec import decode_rounding, decode_scope, dump_state, encode_rounding, encode_scope, load_state
from monitor.domain.check_queue import CheckQueue
from monitor.domain.connections import Connection, ConnectionSpec
from monitor.domain.evaluation import Evaluation
from monitor.domain.events import Notification
from monitor.domain.reasons import Scope, meaning
from monitor.domain.replies.checks import Observation, Reply, Verdict
from monitor.domain.replies.listings import Inventory, Listing, diff_listing
from monitor.domain.replies.verdicts import judge
from monitor.domain.scopes.state import persistent
from monitor.errors import ApiError, Reason
from monitor.postpost.rate_limit import TOO_MANY_REQUESTS, RequestPacing
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
from monitor.text.sentences import sentence
from tests.world.api import Answer, TrueClock, WorldApi, moment
from tests.world.deliver import Receiver
from tests.world.truth import DOWN, Kind, Occurrence, World

# How often a worker looks whether the scopes let it read lists again.
_LIST_PAUSE_SECONDS = 15.0


class MonitorClock(SystemClock):
    """The monitor's clocks: the wall clock may be set, `monotonic` stands still while the machine sleeps."""

    def __init__(self, true: TrueClock) -> None:
        self._true = true
        self.ahead = timedelta()
        self.slept = 0.0

    def now(self) -> datetime:
        """The wall clock."""
        return self._true.now() + self.ahead

    def monotonic(self) -> float:
        """Seconds awake."""
        return self._true.elapsed - self.slept

    def boottime(self) -> float:
        """Seconds, asleep ones too."""
        return self._true.elapsed


@dataclass(frozen=True, slots=True)
class Message:
    """What was decided to tell: truly when, the notification, about which connection, in what words."""

    at: float
    notification: Notification
    number: int | None
    text: str


@dataclass(slots=True)
class Run:
    """
    What came of a world.

    Attributes:
        messages: in order.
        short_lists: when which account's list was told to have lost most of its connections.
        checks: how many there were.
        requests: what the receiver accepted, in order: when, and which of the messages.
        dropped: messages that a newer one replaced before they could be sent.
    """

    world: World
    messages: list[Message] = field(default_factory=list)
    short_lists: list[tuple[float, str]] = field(default_factory=list)
    checks: int = 0
    requests: list[tuple[float, tuple[int, ...]]] = field(default_factory=list)
    dropped: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Account:
    """The workers of one account."""

    name: str
    queue: CheckQueue
    pacing: RequestPacing
    in_flight: int = 0
    not_before: float = 0.0
    list_due: float = 0.0
    list_failures: int = 0
    inventories: dict[str, Inventory] = field(default_factory=dict)


def run(world: World, config: Config | None = None) -> Run:
    """Run *world* to its end."""
    return _Runner(world, config or config_of(world)).run()


def config_of(world: World) -> Config:
    """The default configuration with the accounts of *world*, which discover their connections."""
    return Config(
        accounts=tuple(AccountSettings(name=name, api_key=Secret(f"sk_{name}"), discover="connections") for name in world.accounts)
    )


class _Runner:
    def __init__(self, world: World, config: Config) -> None:
        self.world = world
        self.config = config
        self.true = TrueClock()
        self.clock = MonitorClock(self.true)
        self.api = WorldApi(world, self.true)
        self.result = Run(world)
        self._random = Random(f"run/{world.seed}")
        self._order = itertools.count()
        self._wakes: list[tuple[float, int, int | None, Callable[[], None]]] = []
        self._starts = 0
        self._running = True
        self._standing_until = 0.0
        self._sent_at = 0.0
        self._evaluated_at = -1.0
        self.receiver = Receiver(config.policy(), self.clock, self._random, self.result.requests, self.result.dropped)
        self.registry = self._registry()
        self.registry.set_connections(self._connection(number) for number in world.members)
        self._open()
        for each in world.occurrences:
            if each.kind in DOWN or each.kind is Kind.CLOCK:
                self._at(each.begins, partial(self._disturb, each), always=True)

    def _registry(self) -> Registry:
        return Registry(EvaluationConfig.from_config(self.config, "world"), self.clock)

    def _connection(self, number: int) -> Connection:
        member = self.world.members[number]
        spec = ConnectionSpec(
            account=member.account,
            user_id=member.user_id,
            platform_id=member.platform_id,
            platform=member.platform,
            interval=self.config.schedule.interval,
            listed=True,
        )
        return Connection(number, spec)

    def _open(self) -> None:
        """Start the workers."""
        now = self.true.elapsed
        self._running = True
        self.accounts: dict[str, _Account] = {}
        for name in self.world.accounts:
            queue = CheckQueue(name, self.registry)
            pacing = RequestPacing(rate=self.config.api.requests_per_second)
            self.accounts[name] = _Account(name, queue, pacing, not_before=now, list_due=now)
            queue.refresh(self.clock.now(), self.clock.monotonic())

    # ---- time

    def run(self) -> Run:
        """Go from moment to moment at which anything happens."""
        while True:
            at, action = self._next()
            if at >= self.world.ends:
                return self.result
            self.true.elapsed = max(self.true.elapsed, at)
            action()

    def _at(self, elapsed: float, action: Callable[[], None], *, always: bool = False) -> None:
        """Do something at a moment; unless *always*, only if the process that asked for it still lives then."""
        heapq.heappush(self._wakes, (elapsed, next(self._order), None if always else self._starts, action))

    def _next(self) -> tuple[float, Callable[[], None]]:
        at, action = float("inf"), self._wake
        if self._wakes:
            at = self._wakes[0][0]
        slept, standing_until = self.clock.slept, self._standing_until
        for account in self.accounts.values():
            due = account.queue.next_due() if account.in_flight < self.config.api.concurrency else None
            if due is not None and (moment_ := max(due + slept, account.not_before, standing_until)) < at:
                at, action = moment_, partial(self._step, account)
            if (moment_ := max(account.list_due + slept, standing_until)) < at:
                at, action = moment_, partial(self._list, account)
        if (moment_ := self._evaluation_at()) <= at:
            at, action = moment_, self._evaluate
        if self._running and (moment_ := max(self._sent_at + 1.0, self.true.elapsed + self.receiver.due_in(), self._standing_until)) < at:
            at, action = moment_, self._deliver
        return at, action

    def _wake(self) -> None:
        _, _, start, action = heapq.heappop(self._wakes)
        if start is None:
            action()
        elif start == self._starts:
            if self.true.elapsed < self._standing_until:
                self._at(self._standing_until, action)
            else:
                action()

    def _evaluation_at(self) -> float:
        due = self.registry.next_evaluation_at()
        if due is None or not self._running:
            return float("inf")
        elapsed = (due - self.clock.ahead - moment(0)).total_seconds()
        return max(math.ceil(elapsed), self._evaluated_at + 1.0, self._standing_until)

    # ---- what disturbs the monitor

    def _disturb(self, each: Occurrence) -> None:
        if each.kind is Kind.CLOCK:
            self.clock.ahead += timedelta(seconds=each.amount)
        elif each.kind in (Kind.RESTART, Kind.KILL):
            self._stop(each)
        else:
            self.registry.beat()
            self._standing_until = max(self._standing_until, each.ends)
            if each.kind is Kind.SUSPEND:
                # Its monotonic clock goes on where it stood.
                self.clock.slept += each.ends - self.true.elapsed

    def _stop(self, each: Occurrence) -> None:
        self._starts += 1
        self._running = False
        for account in self.accounts.values():
            account.list_due, account.not_before, account.in_flight = float("inf"), float("inf"), 0
        self._standing_until = each.ends
        self._at(each.ends, self._start, always=True)

    def _start(self) -> None:
        """A new process finds what the old one had stored."""
        old = self.registry
        states = {number: load_state(dump_state(old.state(number)), "state") for number in old.ids()}
        scopes = [decode_scope(str(key), encode_scope(persistent(scope))) for key, scope in old.scopes().items()]
        self.registry = self._registry()
        self.registry.rounding_evidence = decode_rounding(encode_rounding(old.rounding_evidence))
        self.registry.restore(states, scopes)
        self.registry.set_connections(old.connections())
        self._open()

    # ---- the workers

    def _step(self, account: _Account) -> None:
        now, monotonic = self.true.elapsed, self.clock.monotonic()
        account.not_before = now
        if account.pacing.paused(monotonic):
            account.not_before = account.pacing.paused_until + self.clock.slept
            return
        pacing, wait = account.pacing.reserve(monotonic)
        if wait > 0:
            account.not_before = now + max(wait, 0.001)
            return
        taken = account.queue.take(monotonic)
        if taken is None:
            account.not_before = now + 0.001
        elif taken[0] is not None:
            account.in_flight += 1
            account.pacing = pacing
            self._send(account, taken[0])

    def _send(self, account: _Account, connection: Connection) -> None:
        answer, sent_at = self.api.test(connection.id), self.clock.now()
        self._at(self.true.elapsed + answer.seconds, partial(self._record, account, connection, answer, sent_at))

    def _record(self, account: _Account, connection: Connection, answer: Answer, sent_at: datetime) -> None:
        now, monotonic = self.clock.now(), self.clock.monotonic()
        if now - sent_at > self.config.api.timeout + timedelta(seconds=5):
            # The process stood still meanwhile: its deadline is over before it can read the answer.
            answer = Answer(ApiError(Reason.API_TIMEOUT, "no answer in time"), answer.seconds, None)
        self._hear(account, answer)
        account.queue.checked(connection, monotonic)
        says, config = answer.says, self.registry.config
        assert not isinstance(says, Listing)
        observation = Observation(
            connection_id=connection.id,
            sent_at=sent_at,
            at=now,
            verdict=judge(says, connection, config.false_negatives, config.platform_texts),
            reply=says if isinstance(says, Reply) else None,
            server_at=self.true.now().replace(microsecond=0) if answer.status is not None else None,
            http_status=answer.status,
        )
        self.result.checks += 1
        self.registry.notice_clock_jump()
        evaluation = self.registry.check(observation)
        account.queue.finished(connection)
        account.in_flight -= 1
        if evaluation is not None:
            self._take(evaluation)
            account.queue.recorded(connection, evaluation, self.clock.monotonic())

    def _hear(self, account: _Account, answer: Answer) -> None:
        monotonic = self.clock.monotonic()
        if answer.status == TOO_MANY_REQUESTS:
            account.pacing = account.pacing.throttle(monotonic, answer.wait_seconds)
            return
        if answer.status is not None:
            account.pacing = account.pacing.answered(monotonic)
        if answer.wait_seconds is not None:
            account.pacing = account.pacing.pause(monotonic + answer.wait_seconds, throttled=False)

    def _evaluate(self) -> None:
        self._evaluated_at = self.true.elapsed
        self.registry.notice_clock_jump()
        for evaluation in self.registry.evaluate(self.clock.now()):
            self._take(evaluation)
        for account in self.accounts.values():
            # As the daemon does every second: what a scope brings forward is due at once.
            account.queue.is_due(self.clock.monotonic())

    def _deliver(self) -> None:
        self._sent_at = self.true.elapsed
        notice = self.receiver.step(self._sent_at, works=self.world.holding(self._sent_at, Kind.RECEIVER) is None)
        if notice is not None:
            # It goes to the other receivers.
            place = len(self.result.messages)
            self.result.messages.append(Message(self._sent_at, notice, None, sentence(notice, None)))
            self.result.requests.append((self._sent_at, (place,)))

    def _take(self, evaluation: Evaluation) -> None:
        for notification in evaluation.notifications:
            if notification.facts.included:
                continue  # The receiver is a chat: another notification tells it the same.
            number = notification.connection_id
            connection = self._connection(number) if number is not None else None
            self.receiver.add(len(self.result.messages), notification)
            self.result.messages.append(Message(self.true.elapsed, notification, number, sentence(notification, connection)))

    # ---- lists

    def _list(self, account: _Account) -> None:
        monotonic = self.clock.monotonic()
        if account.pacing.paused(monotonic) or self.registry.list_pause(account.name) is not None:
            account.list_due = monotonic + _LIST_PAUSE_SECONDS
            return
        account.list_due = float("inf")
        users = dict.fromkeys(["", *(each.user_id for each in self.world.members.values() if each.account == account.name)])
        self._next_list(account, list(users), complete=True)

    def _next_list(self, account: _Account, users: list[str], *, complete: bool) -> None:
        """Read the list of the first of *users*; without any, rest until the lists are due again."""
        if not users:
            account.list_failures = 0 if complete else account.list_failures + 1
            account.list_due = self.clock.monotonic() + self._list_pause(account)
            if not complete and self.registry.list_pause(account.name) is not None:
                account.queue.refresh(self.clock.now(), self.clock.monotonic())
            return
        account.pacing, wait = account.pacing.reserve(self.clock.monotonic())
        self._at(self.true.elapsed + max(0.0, wait), partial(self._send_list, account, users, complete))

    def _send_list(self, account: _Account, users: list[str], complete: bool) -> None:
        answer = self.api.listing(account.name, users[0])
        self._at(self.true.elapsed + answer.seconds, partial(self._record_list, account, users, complete, answer, self.clock.now()))

    def _record_list(self, account: _Account, users: list[str], complete: bool, answer: Answer, sent_at: datetime) -> None:
        self._hear(account, answer)
        self.registry.notice_clock_jump()
        error = answer.says if isinstance(answer.says, ApiError) else None
        verdict = Verdict(error.reason, error.detail) if error is not None else Verdict(Reason.OK)
        observation = Observation(0, sent_at, self.clock.now(), verdict, http_status=answer.status)
        changes = self.registry.begin()
        evaluation = changes.account_result(account.name, users[0], observation)
        changes.apply(evaluation)
        self.registry.commit(changes)
        self._take(evaluation)
        if isinstance(answer.says, Listing):
            self._apply(account, users[0], answer.says)
        wide = error is not None and meaning(error.reason).scope in (Scope.ACCOUNT, Scope.API)
        self._next_list(account, [] if wide else users[1:], complete=complete and error is None)

    def _list_pause(self, account: _Account) -> float:
        schedule = self.config.schedule
        usual = schedule.discovery
        if account.list_failures:
            usual = min(usual, schedule.recheck * (1 << min(account.list_failures - 1, 10)))
        return usual.total_seconds()

    def _apply(self, account: _Account, user_id: str, listing: Listing) -> None:
        rows = {row.platform_id: row for row in listing.rows}
        own = {each.platform_id: each for each in self.registry.connections_of(account.name) if each.user_id == user_id}
        inventory = account.inventories.setdefault(user_id, Inventory(frozenset(own)))
        gap = self.config.schedule.discovery.total_seconds() * 0.9
        comparison = diff_listing(inventory, rows, at=self.clock.monotonic(), min_gap=gap)
        account.inventories[user_id] = comparison.inventory
        now, server_at = self.clock.now(), self.true.now().replace(microsecond=0)
        if comparison.short:
            self.result.short_lists.append((self.true.elapsed, account.name))
        for platform_id in sorted(comparison.vanished):
            self._take(self.registry.retire(own.pop(platform_id), now))
        known = {each.platform_id: each.number for each in self.world.members.values() if each.account == account.name}
        appeared = [self._connection(known[platform_id]) for platform_id in sorted(comparison.appeared - own.keys())]
        if appeared:
            self.registry.set_connections([*self.registry.connections(), *appeared])
        if appeared or comparison.vanished:
            account.queue.refresh(now, self.clock.monotonic())
        for platform_id, connection in own.items():
            evaluation = self.registry.apply_listing(connection, rows[platform_id], now, server_at) if platform_id in rows else None
            if evaluation is not None:
                self._take(evaluation)
