"""The registry's snapshot: only what changed is looked at again, and the result is the same as of everything."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.domain.check_queue import CheckQueue
from monitor.domain.policy import Policy
from monitor.domain.routes import Route
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.scopes.state import closed, fail
from monitor.domain.states import ConnectionState
from monitor.domain.views.snapshot import Snapshot
from monitor.errors import Reason
from monitor.notify.identity import MonitorIdentity
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
from tests.builders import HOUR, MINUTE, SECOND, START, a_connection, an_observation
from tests.clock import FakeClock

ACCOUNTS = ("main", "main-2", "other")
CONFIG = EvaluationConfig(policy=Policy(), api_host="api", accounts=ACCOUNTS, identity=MonitorIdentity("here", "1", ""))


class CountingRegistry(Registry):
    """Counts the states that are read."""

    read = 0

    def state(self, connection_id: int) -> ConnectionState:
        """What is known of one connection."""
        self.read += 1
        return super().state(connection_id)

    @contextmanager
    def counting(self, most: int) -> Iterator[None]:
        """Within the block at most *most* states are read."""
        before = self.read
        yield
        assert self.read - before <= most


def fleet(count: int, accounts: Sequence[str] = ACCOUNTS) -> CountingRegistry:
    registry = CountingRegistry(CONFIG, FakeClock(START))
    registry.set_connections(
        a_connection(number, account=accounts[number % len(accounts)], platform_id=f"x-{number:03}", platform="x")
        for number in range(count)
    )
    return registry


def anew(registry: Registry) -> Snapshot:
    """The snapshot that a registry takes which has seen none before."""
    other = Registry(registry.config, registry.clock)
    other.restore({number: registry.state(number) for number in registry.ids()}, registry.scopes().values())
    other.set_connections(registry.connections())
    other.set_requests(registry.controls.silences, registry.controls.acks.values())
    return other.snapshot(START)


def test_only_what_changed() -> None:
    """A snapshot after a check looks at that connection alone, however many there are; without a change at none."""
    registry = fleet(600)
    registry.check(an_observation(Reason.OK, START, connection_id=7))
    first = registry.snapshot(START)
    with registry.counting(most=0):
        again = registry.snapshot(START + SECOND)
        registry.open_incidents()
    registry.check(an_observation(Reason.OK, START + MINUTE, connection_id=7))
    registry.set_next_check(8, registry.clock.monotonic() + 60)
    with registry.counting(most=2):
        later = registry.snapshot(START + MINUTE)

    assert again.connections is first.connections
    differing = [after.connection.id for before, after in zip(first.connections, later.connections, strict=True) if before is not after]
    assert sorted(differing) == [7, 8]


def test_an_account_is_replaced_alone() -> None:
    """New and removed connections of one account leave the views of all others as they are, and are in their places."""
    registry = fleet(300)
    before = {view.connection.id: view for view in registry.snapshot(START).connections}
    own = [connection for connection in registry.connections_of("main") if connection.id != 3]
    new = a_connection(1000, account="main", user_id="a" * 24, platform_id="x-000", platform="x")
    with registry.counting(most=3):
        registry.set_connections([*own, new], account="main")
    after = registry.snapshot(START).connections

    assert [view.connection.id for view in after] == [
        connection.id
        for connection in sorted(
            (view.connection for view in after), key=lambda known: (known.account_label, known.platform, known.platform_id)
        )
    ]
    assert {view.connection.id for view in after} == (before.keys() - {3}) | {1000}
    assert all(view is before[view.connection.id] for view in after if view.connection.id != 1000)
    assert registry.member_count(ScopeKey("account", "main")) == 100
    assert registry.member_count(ScopeKey("user", "main", "a" * 24)) == 1
    assert registry.member_count(ScopeKey("api", "api")) == 300


def test_a_changed_spec_moves() -> None:
    """A connection with another name is shown with it; an equal one stays the same object."""
    registry = fleet(9)
    renamed = [
        replace(known, spec=replace(known.spec, name="new")) if known.id == 3 else replace(known) for known in registry.connections()
    ]
    before = registry.snapshot(START).connections
    registry.set_connections(renamed)
    after = registry.snapshot(START).connections

    assert [view.connection.name for view in after if view.connection.id == 3] == ["new"]
    assert [new is old for new, old in zip(after, before, strict=True)].count(False) == 1


STEPS = st.one_of(
    st.tuples(st.just("check"), st.integers(0, 11), st.sampled_from([Reason.OK, Reason.CREDENTIAL_REJECTED, Reason.API_UNAUTHORIZED])),
    st.tuples(st.just("fail"), st.sampled_from(["account:main", "account:other", "api:api", "platform:x", "storage"]), st.none()),
    st.tuples(st.just("close"), st.sampled_from(["account:main", "account:other", "api:api", "platform:x", "storage"]), st.none()),
    st.tuples(st.just("remove"), st.integers(0, 11), st.none()),
    st.tuples(st.just("add"), st.integers(0, 30), st.none()),
    st.tuples(st.just("snapshot"), st.just(0), st.none()),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_the_same_as_anew(steps: list[tuple[str, int | str, Reason | None]]) -> None:
    """After any changes, with snapshots between them, a snapshot is what a registry without a past shows."""
    registry, now = fleet(12), START
    for what, value, reason in steps:
        now += MINUTE
        if what == "check" and reason is not None:
            registry.check(an_observation(reason, now, connection_id=int(value)))
        elif what in ("fail", "close"):
            changes, key = registry.begin(), ScopeKey.parse(str(value))
            change = fail(registry.scope(key), Reason.API_TIMEOUT, "", now) if what == "fail" else closed(registry.scope(key), now)
            changes.scopes[key] = change
            registry.commit(changes)
        elif what == "remove":
            registry.drop([int(value)])
        elif what == "add":
            own = registry.connections_of("main")
            added = a_connection(100 + int(value), account="main", platform_id=f"x-{100 + int(value)}", platform="x")
            if added.id not in registry.ids():
                registry.set_connections([*own, added], account="main")
        else:
            registry.snapshot(now)
    picture, expected = registry.snapshot(START), anew(registry)

    assert picture == expected
    assert registry.open_incidents() == len(expected.incidents)
    assert {account: registry.connections_of(account) for account in ACCOUNTS} == {
        account: [known for known in registry.connections() if known.account == account] for account in ACCOUNTS
    }


def test_a_suspected_scope_is_probed_once() -> None:
    """To take up an account below a suspected scope looks at each of its connections a few times, not at all of them for each."""
    registry = fleet(900)
    changes, key = registry.begin(), ScopeKey("api", "api")
    changes.scopes[key] = replace(registry.scope(key), suspect_at=START)
    registry.commit(changes)
    scheduled: list[int] = []
    queue = CheckQueue("main", registry, lambda connection_id, _due: scheduled.append(connection_id))

    with registry.counting(most=3 * 300):
        queue.refresh(START, 0.0)
    with registry.counting(most=2 * 300):
        taken = queue.take(1.0)

    assert taken is not None
    assert set(scheduled) == {connection.id for connection in registry.connections_of("main")}


def test_unmatched_matchers_beside_accounts_without_connections() -> None:
    """An empty list is a list; an account that was never listed is waited for, but not for long."""
    for listed in (True, False):
        clock = FakeClock(START)
        policy = Policy(routes=(Route({"connection": "x-nothing"}, ("desk",)),))
        registry = Registry(replace(CONFIG, policy=policy, discovering=frozenset({"main", "other"})), clock)
        registry.set_connections([a_connection(1, account="main", platform_id="x-001", platform="x")])
        registry.find_unmatched()
        registry.note_listed("other", complete=False)
        assert not registry.unmatched
        if not listed:
            asyncio.run(clock.advance(HOUR))
        for account in ("main", "other"):
            registry.note_listed(account, complete=listed)
        assert [matcher.pattern for matcher in registry.unmatched] == ["x-nothing"]


def test_what_an_unmatched_matcher_means() -> None:
    """Each alternative that matches nothing is corrected by itself: a user by its name or id, an id by its platform."""
    wrong = {"connection": "linkdin-Q9|threads-1", "user": "Akme GmbH", "platform": "linkdin", "team": "qqq"}
    policy = Policy(routes=tuple(Route({name: pattern}, ("desk",)) for name, pattern in wrong.items()))
    registry = Registry(replace(CONFIG, policy=policy, users={"65f2a0c4d8e9b1a2c3d4e5f6": "Acme GmbH"}), FakeClock(START))
    registry.set_connections([a_connection(1, platform_id="linkedin-page1234567", labels={"team": "social"})])
    registry.find_unmatched()
    meant = [matcher.meant for matcher in registry.unmatched]
    assert meant == ["linkedin-Q9|threads-1", "Acme GmbH", "linkedin", ""]
