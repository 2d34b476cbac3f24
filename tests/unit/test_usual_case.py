"""
The usual case: whatever the short way comes to, the full evaluation comes to; what it declines costs time, never a notification.

Random histories run through the engine, the short way on. Before every check both ways are gone from the same values.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from monitor.db.codec import dump_state, load_state
from monitor.domain.connections import Connection
from monitor.domain.engine import ChangeSet, Engine, EngineConfig
from monitor.domain.evaluation import Evaluation, evaluate_check, evaluate_listing
from monitor.domain.events import Topic
from monitor.domain.expiry.model import Rounding
from monitor.domain.policy import Policy
from monitor.domain.reasons import Health
from monitor.domain.replies.checks import LastError, Observation, Reply, Verdict
from monitor.domain.replies.listings import ListedConnection
from monitor.domain.replies.token_life import parse_token_life
from monitor.domain.scopes.key import STORAGE, ScopeKey
from monitor.domain.scopes.rules import canary_interval, probe_interval
from monitor.domain.scopes.state import Bucket, RecoveryWindow, ScopeState, closed, fail
from monitor.domain.states import TOLERANCE, ConnectionState, LastNotified, PendingLevel, TopicState
from monitor.domain.usual_case import count_passed, last_incident_at, resumed, steady, with_next_evaluation
from monitor.errors import Reason
from tests.builders import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    START,
    a_connection,
    a_listed_connection,
    a_policy,
    a_reply,
    a_state,
    a_token_belief,
    a_token_life,
    an_observation,
    at,
)
from tests.lives import Life
from tests.story import API_HOST

HISTORIES = 5_000
CHUNK = 500
STEPS = 4

POLICY = Policy()
PLATFORMS = ("linkedin-a", "instagram-b", "tiktok-c", "telegram-1234", "youtube-d", "linkedin-e")
FAILURES = (Reason.CREDENTIAL_REJECTED, Reason.API_TIMEOUT, Reason.PLATFORM_UNKNOWN, Reason.API_UNAUTHORIZED, Reason.CONNECTION_MISSING)
SHORT, FULL, LISTED = "short", "full", "listed"


def both_ways(engine: Engine, observation: Observation) -> str:
    """Which way a check goes, which is then recorded; asserts that the short one comes to what the full one comes to."""
    connection = engine.connection(observation.connection_id)
    assert connection is not None
    changes = engine.begin()
    short = changes.check(observation)
    assert short is not None
    if not short.usual:
        engine._accept(changes, short)
        return FULL
    full = evaluate_check(engine.begin().evaluation_input(connection), observation, engine.config.policy)
    assert differences(full, short) == []
    assert full.scopes == short.scopes
    assert (full.transitions, full.notifications, short.canary, short.probe) == ((), (), None, None)
    for key in engine.scopes_above(connection).all:
        state = full.scopes.get(key) or engine.scope(key)
        assert canary_interval(state, engine.config.policy.scopes) is None
        assert probe_interval(state, engine.config.policy.scopes) is None
    engine._accept(changes, short)
    return SHORT


def listed_both_ways(engine: Engine, connection: Connection, row: ListedConnection, now: datetime, server_at: datetime | None) -> str:
    """The same for a row of a list."""
    full = evaluate_listing(engine.begin().evaluation_input(connection), row, now, engine.config.policy, server_at=server_at)
    short = engine.apply_listing(connection, row, now, server_at)
    assert short is not None
    assert differences(full, short) == []
    assert (full.transitions, full.notifications) == (short.transitions, short.notifications)
    return LISTED if short.usual else FULL


def differences(full: Evaluation, short: Evaluation) -> list[tuple[str, object, object]]:
    """The fields in which two states differ."""
    return [
        (one.name, getattr(full.state, one.name), getattr(short.state, one.name))
        for one in fields(ConnectionState)
        if getattr(full.state, one.name) != getattr(short.state, one.name)
    ]


@dataclass
class History:
    """One random history: accounts, connections, checks, listings, the passing of time, jumps of the clock, restarts."""

    seed: int

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        accounts = self.rng.choice(((("main",)), ("main", "other")))
        interval = self.rng.choice((MINUTE, 15 * MINUTE, 6 * HOUR))
        connections = [
            a_connection(
                number,
                platform_id=platform_id,
                account=self.rng.choice(accounts),
                interval=interval,
                require_permissions=self.rng.choice(((), ("w_member_social",), ("r_other",))),
            )
            for number, platform_id in enumerate(self.rng.sample(PLATFORMS, self.rng.choice((1, 1, 1, 2))), 1)
        ]
        config = EngineConfig(policy=replace(POLICY, interval=interval), api_host=API_HOST, accounts=self.rng.choice(((), accounts)))
        self.now = START + self.rng.random() * DAY
        self.ends = {connection.id: self.now + self.rng.choice((2 * HOUR, 8 * DAY, 40 * DAY, 60 * DAY)) for connection in connections}
        self.engine = Engine(config, self.now)
        self.engine.set_connections(connections)
        self.interval = interval
        self.ways: list[str] = []

    def run(self) -> list[str]:
        """Go through it; returns which way each check went."""
        for connection in self.engine.connections():
            self.list(connection)
            self.check(connection)
            self.now += self.interval / 2
            self.check(connection)
            self.list(connection)
        for _ in range(STEPS):
            self.step()
        return self.ways

    def step(self) -> None:
        """Something happens."""
        rng, engine = self.rng, self.engine
        self.now += rng.choice((self.interval, self.interval, rng.random() * self.interval, 3 * self.interval, SECOND))
        connection = rng.choice(engine.connections())
        kind = rng.random()
        if kind < 0.55:
            self.check(connection)
        elif kind < 0.75:
            self.check(connection, strange=True)
        elif kind < 0.82:
            engine.check(self.observation(connection, rng.choice(FAILURES)))
        elif kind < 0.87:
            self.list(connection)
        elif kind < 0.92:
            engine.evaluate(self.now)
        elif kind < 0.95:
            self.now += rng.choice((-2 * HOUR, -30 * SECOND, 5 * HOUR, 2 * DAY))
        elif kind < 0.98:
            self.scope(rng.choice([*engine.scopes_above(connection).all, STORAGE]))
        else:
            engine.restore(
                {one.id: load_state(dump_state(engine.state(one.id)), "") for one in engine.connections()}, engine.scopes().values()
            )
            engine.watching_since = self.now

    def scope(self, key: ScopeKey) -> None:
        """An incident of a scope opens, or closes."""
        changes = self.engine.begin()
        change = (lambda state: closed(state, self.now)) if self.engine.scope(key).open else self.failed
        changes.apply(changes.change_scope(key, change, self.now))
        self.engine.commit(changes)

    def failed(self, state: ScopeState) -> ScopeState:
        """*state* with an open incident."""
        return fail(state, Reason.API_TIMEOUT, "", self.now)

    def check(self, connection: Connection, *, strange: bool = False) -> None:
        """A passed check, both ways; a *strange* one has a reply of any kind."""
        observation = self.observation(connection, Reason.OK, strange=strange)
        self.ways.append(both_ways(self.engine, observation))

    def list(self, connection: Connection) -> None:
        """A row of a list, both ways; most like the last one."""
        rng, end = self.rng, self.ends[connection.id]
        strange = rng.random() < 0.2
        row = a_listed_connection(
            platform_id=connection.platform_id,
            username=rng.choice(("page1", "other", None)) if strange else "page1",
            token_expires_at=rng.choice((end, end, None)) if strange else end,
            token_status=rng.choice(("valid", "expiring_soon", None)) if strange else "valid",
            token=a_token_life(rng.choice((HOUR, end - self.now))) if rng.random() < 0.1 and end > self.now else parse_token_life(None),
            last_error=rng.choice((None, LastError("x"), LastError("y", self.now - HOUR))) if strange else None,
        )
        server_at = rng.choice((None, self.now, self.now + 3 * HOUR)) if strange else self.now.replace(microsecond=0)
        self.ways.append(listed_both_ways(self.engine, connection, row, self.now, server_at))

    def observation(self, connection: Connection, reason: Reason, *, strange: bool = False) -> Observation:
        """What a check finds now."""
        rng, left = self.rng, self.ends[connection.id] - self.now
        raw: str | None = f"{left // DAY}d {left % DAY // HOUR}h" if left > HOUR else "< 1h" if left > timedelta(0) else "expired"
        reply = a_reply(passed=reason is Reason.OK, platform=connection.platform, platform_id=connection.platform_id)
        server_at: datetime | None = self.now.replace(microsecond=0)
        if strange:
            raw = rng.choice((raw, raw, None, "expired", "soon", "59 days", "12d 3h", "40d"))
            server_at = rng.choice((server_at, None, self.now + 3 * HOUR, self.now + 10 * SECOND))
            reply = replace(
                reply,
                username=rng.choice(("page1", "other", None)),
                message=rng.choice(("", "Connection is working", "fine")),
                permissions=rng.choice((reply.permissions, (), ("r_liteprofile",))),
                last_successful_post_at=rng.choice((None, self.now - HOUR, self.now, self.now + HOUR)),
                last_error=rng.choice((None, LastError("x"), LastError("y", self.now - HOUR), LastError("z", self.now - 30 * DAY))),
            )
        reply = replace(reply, token=parse_token_life(raw))
        core = reason in (Reason.OK, Reason.CREDENTIAL_REJECTED, Reason.PLATFORM_UNKNOWN)
        sent_at = self.now - rng.choice((60, 200, 2000)) * timedelta(milliseconds=1)
        return Observation(connection.id, sent_at, self.now, Verdict(reason, reply.message), reply if core else None, server_at, 200)


def ways(seeds: Iterable[int]) -> list[str]:
    return [way for seed in seeds for way in History(seed).run()]


@pytest.mark.parametrize("chunk", range(HISTORIES // CHUNK))
def test_histories(chunk: int) -> None:
    """5,000 random histories: the short way is gone often, and comes to the very state, scopes and next check of the full one."""
    gone = ways(range(chunk * CHUNK, (chunk + 1) * CHUNK))
    assert gone.count(SHORT) > len(gone) / 20
    assert gone.count(LISTED) > len(gone) / 40
    assert gone.count(FULL) > len(gone) / 4


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("chunk", range(8))
def test_many_histories(chunk: int) -> None:
    """The same for 100,000 histories."""
    first = HISTORIES + chunk * 12_000
    assert {SHORT, LISTED} <= set(ways(range(first, first + 12_000)))


@pytest.mark.parametrize("seed", [4, 7])
def test_same_notifications(seed: int) -> None:
    """A random life is told the same, notification by notification, whether the short way is on or not."""
    lives = [Life(seed), Life(seed)]
    lives[1].story.fast_path = False
    lives[1].story.engine.config = replace(lives[1].story.engine.config, fast_path=False)
    for life in lives:
        life.live(DAY / 2, calm=4 * HOUR)
    short, full = (life.story for life in lives)
    assert short.notifications == full.notifications
    assert short.transitions == full.transitions
    assert {number: short.state(number) for number in short.connections} == {number: full.state(number) for number in full.connections}


EXACT = a_token_belief(START + 60 * DAY, observed_at=START)
NARROW = a_token_belief(
    None, says=a_token_life(DAY).says, earliest_at=at(60 * DAY - HOUR), latest_at=at(60 * DAY), unit=HOUR, observed_at=START
)
LATER = at(15 * MINUTE)


def a_calm_state(**overrides: Any) -> ConnectionState:
    values: dict[str, Any] = {
        "username": "page1",
        "permissions": ("r_liteprofile", "w_member_social"),
        "token": a_token_belief(None, nulls=2, observed_at=START),
        "detail": "Connection is working",
    }
    return a_state(**(values | overrides))


def way(state: ConnectionState, reply: Reply | None = None, moment: datetime = LATER, connection: Connection | None = None) -> str:
    """Which way a passed check goes that finds a connection in *state*."""
    observation = an_observation(moment=moment, reply=reply or a_reply())
    found = steady(connection or a_connection(), state, observation, a_policy(), rounding=Rounding.UNKNOWN)
    return FULL if found is None else SHORT


def test_calm() -> None:
    """What tells nothing new goes the short way."""
    assert way(a_calm_state()) == SHORT
    assert way(a_calm_state(), a_reply(message="another text")) == SHORT
    assert way(a_calm_state(topics={Topic.CONNECTION: TopicState("fine", START, 1, START, LastNotified("fine", at=START))})) == SHORT


@pytest.mark.parametrize(
    "state",
    [
        a_calm_state(health=Health.ERROR),
        a_calm_state(last_reason=Reason.API_TIMEOUT),
        a_calm_state(failures=1),
        a_calm_state(notice_pending=True),
        a_calm_state(changes=(START,)),
        a_calm_state(permissions_missing=("x",)),
        a_calm_state(topics={Topic.EXPIRY: TopicState("14d", START, 1, START)}),
        a_calm_state(topics={Topic.EXPIRY: TopicState("fine", START, 1, START, LastNotified("14d", at=START))}),
        a_calm_state(last_error=LastError("x", START)),
        a_calm_state(token=a_token_belief(None, nulls=1)),
        a_calm_state(last_check_at=START - HOUR),
        a_calm_state(last_check_at=None),
        a_calm_state(since=None),
        a_calm_state(last_evidence_at=at(HOUR)),
    ],
)
def test_something_pending(state: ConnectionState) -> None:
    """Whatever is pending, or might be, takes the full evaluation; so does the first check of a day."""
    assert way(state) == FULL


@pytest.mark.parametrize(
    "reply",
    [
        a_reply(username="other"),
        a_reply(permissions=("r_liteprofile",)),
        a_reply(last_successful_post_at=START),
        a_reply(last_error=LastError("x")),
        a_reply(token=a_token_life(60 * DAY)),
        a_reply(token=parse_token_life("expired")),
    ],
)
def test_something_new(reply: Reply) -> None:
    """So does every reply that tells something new."""
    assert way(a_calm_state(), reply) == FULL


def test_token() -> None:
    """A print that agrees with what is believed narrows it; one that halves it, contradicts it or comes near a threshold is news."""
    state = a_calm_state(token=NARROW)
    assert way(state, a_reply(token=a_token_life(60 * DAY - HOUR))) == SHORT
    assert way(state, a_reply(token=a_token_life(60 * DAY - 2 * HOUR))) == FULL
    assert way(state, a_reply(token=a_token_life(50 * DAY))) == FULL
    near = replace(NARROW, earliest_at=at(14 * DAY - HOUR), latest_at=at(14 * DAY + 10 * MINUTE))
    assert way(a_calm_state(token=near), a_reply(token=a_token_life(14 * DAY - HOUR))) == FULL


@pytest.mark.parametrize(
    "changes",
    [
        {"unit": DAY},
        {"nulls": 1},
        {"rounding": Rounding.FLOOR},
        {"server_ahead": 10 * SECOND},
        {"expired_at": START},
        {"exact_at": START - 30 * DAY},
    ],
)
def test_belief_that_a_print_may_change(changes: dict[str, Any]) -> None:
    """A print means something new to a belief of another unit, rounding or clock, and to one that holds the token for expired."""
    assert way(a_calm_state(token=replace(NARROW, **changes)), a_reply(token=a_token_life(60 * DAY - HOUR))) == FULL


@pytest.mark.parametrize(("ahead", "believed", "expected"), [(3, 3, SHORT), (3, -3, FULL), (3, 0, FULL), (10_000, 10_000, FULL)])
def test_server_clock(ahead: int, believed: int, expected: str) -> None:
    """A print by a server whose clock runs as it did is the usual case; not by one that runs otherwise, or far off."""
    end = at(60 * DAY + ahead * SECOND)
    state = a_calm_state(token=replace(NARROW, server_ahead=believed * SECOND, earliest_at=end - HOUR, latest_at=end))
    observation = an_observation(moment=LATER, reply=a_reply(token=a_token_life(60 * DAY - HOUR)))
    observation = replace(observation, server_at=LATER + ahead * SECOND)
    found = steady(a_connection(), state, observation, a_policy(), rounding=Rounding.UNKNOWN)
    assert (FULL if found is None else SHORT) == expected


@pytest.mark.parametrize(("disagrees", "expected"), [(True, SHORT), (False, FULL)])
def test_date_that_disagrees(disagrees: bool, expected: str) -> None:
    """That the date and the texts disagree is news once."""
    state = a_calm_state(token=replace(NARROW, exact_at=at(90 * DAY), disagrees=disagrees))
    assert way(state, a_reply(token=a_token_life(60 * DAY - HOUR))) == expected


def test_last_incident() -> None:
    """One change of a scope is remembered as much as the last of several."""
    scope = ScopeState(ScopeKey("api", API_HOST))
    assert last_incident_at(scope) is None
    assert last_incident_at(replace(scope, changes=(START,))) == START
    assert last_incident_at(replace(scope, changes=(START, LATER))) == LATER


@pytest.mark.parametrize(
    "counts",
    [{"buckets": (Bucket(at(HOUR), 1),)}, {"recovery": RecoveryWindow(at(HOUR), 1, 0, 1, answered=True)}, {"last_good_at": at(HOUR)}],
    ids=lambda counts: next(iter(counts)),
)
def test_each_count_in_the_future(counts: dict[str, Any]) -> None:
    """Each of the moments that a scope counts from may be in the future; a little ahead is not."""
    scope = replace(ScopeState(ScopeKey("api", API_HOST)), **counts)
    assert count_passed(scope, an_observation(moment=START), POLICY.scopes, window=30 * MINUTE) is None
    assert count_passed(scope, an_observation(moment=at(HOUR) - TOLERANCE), POLICY.scopes, window=30 * MINUTE) is not None


def test_counts_in_the_future() -> None:
    """Counts from before the wall clock was set back are not added to."""
    counted = count_passed(ScopeState(ScopeKey("api", API_HOST)), an_observation(moment=at(HOUR)), POLICY.scopes, window=30 * MINUTE)
    assert counted is not None
    assert count_passed(counted, an_observation(moment=START), POLICY.scopes, window=30 * MINUTE) is None
    later = count_passed(counted, an_observation(moment=at(2 * HOUR)), POLICY.scopes, window=30 * MINUTE)
    assert later is not None
    assert [(bucket.at, bucket.attempts) for bucket in later.buckets] == [(at(2 * HOUR), 1)]


def test_resumed() -> None:
    """A state read from its document is as new as the newest passed check, and is evaluated when that one becomes stale."""
    stored = a_calm_state(token=NARROW, next_evaluation_at=at(45 * MINUTE))
    fresh = resumed(stored, at(5 * HOUR), "fine")
    assert (fresh.last_check_at, fresh.last_evidence_at, fresh.last_passed_at, fresh.token.observed_at) == (at(5 * HOUR),) * 4
    assert (fresh.detail, fresh.last_detail, fresh.token_sightings) == ("fine", "fine", 1)
    assert with_next_evaluation(a_connection(), fresh, POLICY, START).next_evaluation_at == at(5 * HOUR + 45 * MINUTE)
    changes: dict[str, Any]
    assert with_next_evaluation(a_connection(), fresh, POLICY, at(9 * HOUR)).next_evaluation_at == at(9 * HOUR + 45 * MINUTE)
    assert resumed(stored, START, "fine") is stored
    for changes in (
        {"health": Health.ERROR},
        {"last_reason": Reason.API_TIMEOUT},
        {"pending_levels": {Topic.EXPIRY: PendingLevel("14d", START)}},
    ):
        broken = a_calm_state(**changes)
        assert resumed(broken, at(5 * HOUR), "fine") is broken
    for changes in ({"next_evaluation_at": None}, {"last_check_at": None}, {"last_check_at": at(0 * HOUR)}):
        state = replace(stored, **changes)
        assert with_next_evaluation(a_connection(), state, POLICY, START) is state


def test_switched_off() -> None:
    """With `schedule.fast_path: false` no check goes the short way."""
    for fast_path, usual in ((True, True), (False, False)):
        config = EngineConfig(policy=POLICY, api_host=API_HOST, fast_path=fast_path)
        engine = Engine(config, START)
        engine.set_connections([a_connection()])
        evaluations = [engine.check(an_observation(moment=at(number * 15 * MINUTE))) for number in range(4)]
        last = evaluations[-1]
        assert last is not None
        assert last.usual is usual


def test_change_set_sees_its_own_trouble() -> None:
    """Within one transaction a check after one that made a scope suspected takes the full evaluation."""
    config = EngineConfig(policy=POLICY, api_host=API_HOST)
    engine = Engine(config, START)
    engine.set_connections([a_connection()])
    for number in range(4):
        engine.check(an_observation(moment=at(number * 15 * MINUTE)))
    changes: ChangeSet = engine.begin()
    refused = changes.check(an_observation(Reason.API_UNAUTHORIZED, at(60 * MINUTE)))
    assert refused is not None
    changes.apply(refused)
    passed = changes.check(an_observation(moment=at(61 * MINUTE)))
    assert passed is not None
    assert not passed.usual
