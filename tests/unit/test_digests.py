"""Digests: what goes out singly, what is merged, and in which order."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.domain.delivery.digests import PendingDelivery, build_digest, plan
from monitor.domain.events import EventType, Severity
from monitor.domain.policy import DigestPolicy
from tests.builders import HOUR, SECOND, START, a_notification, at

POLICY = DigestPolicy()
WAIT = POLICY.wait


def burst(count: int, first: int = 1, decided_at: datetime = START) -> list[PendingDelivery]:
    return [PendingDelivery(first + index, f"s{first + index}", decided_at) for index in range(count)]


def sizes(groups: Sequence[Sequence[PendingDelivery]]) -> list[int]:
    return [len(group) for group in groups]


def test_quiet_times() -> None:
    """A single notification goes out at once and counts towards the burst."""
    planned = plan(burst(1), 0, START, POLICY)
    assert (planned.now, planned.counted, planned.groups) == ((burst(1)[0],), frozenset({1}), ())


def test_nothing_pending() -> None:
    """Without anything to tell there is nothing to do and nothing to wait for."""
    planned = plan([], 0, START, POLICY)
    assert (planned.now, planned.groups, planned.wait) == ((), (), None)


def test_burst() -> None:
    """After the first few of a burst the rest is collected for a while, then becomes digests of fifty."""
    pending = burst(120)
    assert plan(pending, 3, START, POLICY).now == (pending[0],)
    waiting = plan(pending[:30], 4, at(5 * SECOND), POLICY)
    assert (waiting.now, waiting.groups, waiting.wait) == ((), (), WAIT - 5 * SECOND)
    ripe = plan(pending, 4, at(WAIT), POLICY)
    assert (ripe.now, sizes(ripe.groups), ripe.wait) == ((), [50, 50, 20], None)


def test_collected_stays_together() -> None:
    """What is being collected does not go out singly when the burst's allowance comes back."""
    planned = plan(burst(10), 0, at(5 * SECOND), POLICY, collecting=True)
    assert (planned.now, planned.groups, planned.wait) == ((), (), WAIT - 5 * SECOND)


def test_full_digest() -> None:
    """Fifty subjects make a digest at once; the remainder goes on waiting."""
    planned = plan(burst(70), 4, at(SECOND), POLICY)
    assert (sizes(planned.groups), planned.wait) == ([50], WAIT - SECOND)


def test_subject_appears_once() -> None:
    """All that is owed about one subject goes into the same digest, in order."""
    pending = [*burst(5), PendingDelivery(6, "s1", at(SECOND)), PendingDelivery(7, "s3", at(2 * SECOND))]
    (group,) = plan(pending, 4, at(WAIT), POLICY).groups
    assert [one.id for one in group] == [1, 2, 3, 4, 5, 6, 7]


def test_lonely_subject() -> None:
    """What would be a digest about one subject goes out as it is, in order."""
    pending = [PendingDelivery(1, "a", START), PendingDelivery(2, "a", START)]
    planned = plan(pending, 4, at(WAIT), POLICY)
    assert (planned.now, planned.counted, planned.groups) == ((pending[0],), frozenset(), ())


def test_attempted_is_never_merged() -> None:
    """What was attempted keeps its id: it is sent again by itself, and its successors wait for it."""
    pending = [PendingDelivery(1, "a", START, attempts=1), PendingDelivery(2, "a", START), *burst(3, 3)]
    planned = plan(pending, 4, at(HOUR), POLICY)
    assert [one.id for group in planned.groups for one in group] == [3, 4, 5]
    assert plan(pending[:2], 0, at(HOUR), POLICY).now == (pending[0],)
    later = replace(pending[0], due=False)
    assert plan([later, pending[1]], 0, at(HOUR), POLICY).now == ()


def test_poison_blocks_nobody() -> None:
    """A delivery that waits for its next attempt lets the others pass."""
    pending = [PendingDelivery(1, "a", START, attempts=1, due=False), PendingDelivery(2, "b", START)]
    assert plan(pending, 0, at(SECOND), POLICY).now == (pending[1],)


def test_scopes_go_first() -> None:
    """What is about more than one connection is never merged and does not wait for a burst to end."""
    pending = [*burst(10), PendingDelivery(11, "api:x", START, mergeable=False)]
    planned = plan(pending, 4, at(SECOND), POLICY)
    assert (planned.now, planned.counted) == ((pending[-1],), frozenset())


def test_digest_is_a_barrier() -> None:
    """While a digest is pending nothing new goes out singly, no digest overtakes another, and only full ones are added."""
    digests = [PendingDelivery(60, "digest", START, mergeable=False, digest=True, attempts=1, due=False)]
    digests.append(PendingDelivery(61, "digest", START, mergeable=False, digest=True))
    planned = plan([*burst(10), *digests], 0, at(HOUR), POLICY)
    assert (planned.now, planned.groups) == ((), ())
    assert sizes(plan([*burst(55), *digests], 0, at(HOUR), POLICY).groups) == [50]
    ready = replace(digests[0], due=True)
    assert plan([*burst(10), ready, digests[1]], 0, at(HOUR), POLICY).now == (ready,)


def test_flight() -> None:
    """As many as there is room for go out together: of each subject the oldest, and no more singly than a burst may have."""
    pending = [*burst(3), PendingDelivery(4, "s1", START), PendingDelivery(5, "api:x", START, mergeable=False)]
    assert [one.id for one in plan(pending, 0, START, POLICY, room=8).now] == [1, 2, 3, 5]
    assert [one.id for one in plan(pending, 0, START, POLICY, room=2).now] == [1, 2]
    planned = plan(pending, POLICY.after - 1, START, POLICY, room=8)
    assert ([one.id for one in planned.now], planned.counted) == ([1, 5], frozenset({1}))


def test_clock_set_back() -> None:
    """Deliveries from the future do not wait for the clock to catch up."""
    assert sizes(plan(burst(10, decided_at=at(HOUR)), 4, START, POLICY).groups) == [10]


def test_announcement() -> None:
    """A digest is as urgent as the most urgent thing in it."""
    told = [a_notification(severity=Severity.INFO), a_notification(severity=Severity.CRITICAL), a_notification(severity=Severity.WARNING)]
    digest = build_digest("on-call", told, START)
    assert (digest.type, digest.severity, digest.connection_id) == (EventType.DIGEST, Severity.CRITICAL, None)


@dataclass
class World:
    """A receiver and its outbox, with everything that may happen to them."""

    policy: DigestPolicy
    now: datetime = START
    number: int = 0
    pending: list[PendingDelivery] = field(default_factory=list)
    members: dict[int, list[PendingDelivery]] = field(default_factory=dict)
    recent: list[datetime] = field(default_factory=list)
    collecting: bool = False
    heard: dict[int, int] = field(default_factory=dict)
    order: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def owe(self, subject: str, *, digest: bool = False, mergeable: bool = True) -> PendingDelivery:
        """Something new is owed."""
        self.number += 1
        delivery = PendingDelivery(self.number, subject, self.now, mergeable=mergeable and not digest, digest=digest)
        self.pending.append(delivery)
        return delivery

    def step(self, outcome: str, room: int = 1) -> bool:
        """One step of a deliverer with up to *room* in flight; the receiver hears each unless it is `down`, and it is recorded unless we `crash`."""
        recent = sum(self.now - moment < self.policy.wait for moment in self.recent)
        planned = plan(self.pending, recent, self.now, self.policy, collecting=self.collecting, room=room)
        self.collecting = planned.wait is not None and outcome != "crash"
        for group in planned.groups:
            gone = {one.id for one in group}
            self.pending = [one for one in self.pending if one.id not in gone]
            self.members[self.owe("digest", digest=True).id] = list(group)
        if planned.groups:
            return True
        assert len({one.subject for one in planned.now}) == len(planned.now) <= room
        self.recent += [self.now] * len(planned.counted)
        for delivery in planned.now:
            if outcome != "down":
                self.hear(delivery)
            if outcome != "crash":
                self.record(delivery, failed=outcome == "down")
        if outcome == "crash":
            self.recent.clear()
        return bool(planned.now) and outcome != "down"

    def record(self, delivery: PendingDelivery, *, failed: bool) -> None:
        """The attempt of *delivery* is on record."""
        self.pending = [one for one in self.pending if one.id != delivery.id]
        if failed:
            self.pending.append(replace(delivery, attempts=delivery.attempts + 1))
            self.pending.sort(key=lambda one: one.id)

    def hear(self, delivery: PendingDelivery) -> None:
        """The receiver takes *delivery*, perhaps again."""
        for told in self.members.get(delivery.id, [delivery]):
            under = self.heard.setdefault(told.id, delivery.id)
            assert under == delivery.id, "the same event under two ids"
            if told.id not in self.order[told.subject]:
                self.order[told.subject].append(told.id)


ACTIONS = st.one_of(
    st.tuples(st.just("owe"), st.sampled_from(["a", "b", "c", "d", "e", "f"])),
    st.tuples(st.just("owe"), st.sampled_from(["a", "b", "c", "d", "e", "f"])),
    st.tuples(st.just("scope"), st.just("api:x")),
    st.tuples(st.just("step"), st.sampled_from(["ok", "ok", "down", "crash"])),
    st.tuples(st.just("pass"), st.sampled_from(["1", "10", "30"])),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ACTIONS, max_size=60), st.integers(0, 3), st.integers(1, 4), st.integers(1, 4))
def test_whatever_happens(actions: list[tuple[str, str]], after: int, max_items: int, room: int) -> None:
    """Through failures and crashes: everything is heard, under one id, in order per subject, each subject once per digest."""
    world = World(DigestPolicy(after=after, max_items=max_items))
    for action, argument in actions:
        match action:
            case "owe":
                world.owe(argument)
            case "scope":
                world.owe(argument, mergeable=False)
            case "step":
                world.step(argument, room)
            case _:
                world.now += timedelta(seconds=int(argument))
    owed = world.number
    for _ in range(3 * owed + 10):
        if not world.step("ok"):
            world.now += world.policy.wait
    assert not world.pending
    assert all(ids == sorted(ids) for ids in world.order.values())
    digests = {number for number in range(1, world.number + 1) if number in world.members}
    assert set(world.heard) == set(range(1, world.number + 1)) - digests
    assert all(len({one.subject for one in group}) <= max_items for group in world.members.values())
