"""
In which order deciding, storing, sending and marking are done: the program's own way, and three that are wrong.

The wrong ones are what the same harness must catch, or it would prove nothing. They use the same database, decisions
and sender; only the order differs.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Protocol

from monitor.clock import SystemClock
from monitor.config import ReceiverSettings
from monitor.db import AttemptRow, Database, DeliveryRow, Store, deliveries_by_id, pending_deliveries
from monitor.domain import evaluation as core
from monitor.domain.connections import Connection
from monitor.domain.delivery.retries import DeliveryOutcome
from monitor.domain.events import Notification
from monitor.domain.policy import Confirm, DigestPolicy, FlapPolicy, Policy, RetryPolicy, ScopePolicy
from monitor.domain.replies.checks import Observation, Verdict
from monitor.errors import DeliveryReason, Reason
from monitor.notify.identity import MonitorIdentity
from monitor.notify.payload import render
from monitor.notify.sender import Sender
from monitor.state.registry import Registry
from monitor.state.unit_of_work import unit_of_work
from monitor.workers.deliverer import Deliverer
from tests.builders import a_reply

NAME = "on-call"
IDENTITY = MonitorIdentity("crash", "1")
_MANY = 10**6
_MILLISECOND = timedelta(milliseconds=1)

# Every change is told at once and by itself, and retries come quickly: there is little time between two kills.
POLICY = Policy(
    interval=timedelta(days=1),
    confirm=Confirm(failures=1, successes=1),
    spacing=timedelta(0),
    flap=FlapPolicy(changes=_MANY, window=_MILLISECOND),
    digest=DigestPolicy(after=_MANY),
    scopes=ScopePolicy(platform_count=_MANY),
    reminders=timedelta(0),
    retry=RetryPolicy(schedule=(3 * _MILLISECOND, 6 * _MILLISECOND, 12 * _MILLISECOND, 25 * _MILLISECOND)),
)

# The deliverer sends ten messages at once and one a second after that; a new one begins anew.
_ATTEMPTS_OF_A_DELIVERER = 10


@dataclass
class Bench:
    """What every ordering works with, in one child; *latency* is what a request takes each way, in seconds."""

    database: Database
    fleet: Registry
    sender: Sender
    receiver: ReceiverSettings
    latency: float
    clock: SystemClock = field(default_factory=SystemClock)
    dice: random.Random = field(default_factory=random.Random)

    def observation(self, connection: Connection, *, works: bool) -> Observation:
        """A check of *connection* that ends now."""
        now = self.clock.now()
        reply = a_reply(passed=works, platform_id=connection.platform_id, permissions=("p",) if works else ())
        return Observation(connection.id, now - _MILLISECOND, now, Verdict(Reason.OK if works else Reason.CREDENTIAL_REJECTED), reply)

    async def owed(self) -> int:
        """How many deliveries are pending."""
        return await self.database.read(lambda reader: len(pending_deliveries(reader, NAME)))

    async def post(self, webhook_id: str, body: bytes) -> bool:
        """One attempt over the network."""
        await self.clock.sleep(self.latency)
        result = await self.sender.send(self.receiver, webhook_id, body)
        await self.clock.sleep(self.latency)
        return result.delivered

    async def post_until_taken(self, webhook_id: str, body: bytes) -> None:
        """As many attempts as it takes."""
        while not await self.post(webhook_id, body):
            await self.clock.sleep(0.003)


class Ordering(Protocol):
    """One way to turn a check into a message."""

    async def check(self, connection: Connection, *, works: bool) -> None:
        """Conclude a check of *connection*."""
        ...

    async def deliver(self) -> bool:
        """Work at what is owed; returns whether there may be more to do at once."""
        ...


class Outbox:
    """The program: state and outbox in one transaction; then the POST; then the mark."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._attempts = 0
        self._deliverer = self._new()

    async def check(self, connection: Connection, *, works: bool) -> None:
        """One transaction."""
        bench, observation = self.bench, self.bench.observation(connection, works=works)
        await bench.database.write(lambda store: unit_of_work(bench.fleet, store).record_check(observation))

    async def deliver(self) -> bool:
        """One step of the deliverer."""
        if self._attempts >= _ATTEMPTS_OF_A_DELIVERER:
            self._attempts, self._deliverer = 0, self._new()
        return await self._deliverer.step()

    def _new(self) -> Deliverer:
        bench = self.bench
        return Deliverer(
            bench.database,
            bench.sender,
            bench.receiver,
            others=(NAME,),
            policy=POLICY,
            identity=IDENTITY,
            clock=bench.clock,
            random=bench.dice.random,
            on_attempt=self._count,
        )

    def _count(self, _receiver: str, _reason: DeliveryReason, _seconds: float) -> None:
        self._attempts += 1


class ClaimThenSend(Outbox):
    """Wrong: the delivery is marked as done, then sent. Who dies in between has told nobody."""

    async def deliver(self) -> bool:
        """Claim the oldest, and send it."""
        row = await self.bench.database.write(self._claim)
        if row is not None:
            await self.bench.post_until_taken(row.webhook_id, row.body)
        return row is not None

    def _claim(self, store: Store) -> DeliveryRow | None:
        now = self.bench.clock.now()
        due = [delivery.id for delivery in pending_deliveries(store, NAME) if delivery.next_attempt_at <= now]
        row = next(iter(deliveries_by_id(store, due[:1])), None)
        if row is not None:
            store.outbox.record_attempt(row, AttemptRow(now, DeliveryReason.DELIVERED, 0), DeliveryOutcome.DELIVERED)
        return row


class SendThenStore(Outbox):
    """Wrong: what the check owes is sent, then stored with the state. Who dies in between does not know what it told."""

    async def check(self, connection: Connection, *, works: bool) -> None:
        """Decide; send; store."""
        bench, observation = self.bench, self.bench.observation(connection, works=works)

        def decide(store: Store) -> list[tuple[str, Notification]]:
            situation = bench.fleet.begin().evaluation_input(connection)
            return [(store.outbox.new_webhook_id(), one) for one in core.evaluate_check(situation, observation, POLICY).notifications]

        for webhook_id, notification in await bench.database.write(decide):
            await bench.post_until_taken(webhook_id, render(webhook_id, notification, connection, IDENTITY))
        await bench.database.write(lambda store: unit_of_work(bench.fleet, store).record_check(observation))

    async def deliver(self) -> bool:
        """Forget what was stored as owed: it is told already."""
        bench = self.bench
        return bool(await bench.database.write(lambda store: store.outbox.cancel_deliveries(NAME, bench.clock.now()))) and False


class StoreOnlySuccess(Outbox):
    """Wrong: the state is stored, what it owes only once it was told. Who dies in between believes that it told."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        # With nobody to tell, the state and its notifications are stored without anything being owed.
        bench.fleet.config = replace(bench.fleet.config, receivers=())

    async def check(self, connection: Connection, *, works: bool) -> None:
        """Store the state; send from memory; store that it was told."""
        bench, observation = self.bench, self.bench.observation(connection, works=works)
        conclusion = await bench.database.write(lambda store: unit_of_work(bench.fleet, store).record_check(observation))
        assert conclusion is not None
        for one in conclusion.notifications:
            webhook_id = await bench.database.write(lambda store: store.outbox.new_webhook_id())
            await bench.post_until_taken(webhook_id, render(webhook_id, one, connection, IDENTITY))
            note = (f"told:{connection.id}", str(one.seq))
            await bench.database.write(lambda store, note=note: store.put_meta(*note))  # type: ignore[misc]

    async def deliver(self) -> bool:
        """Nothing is ever owed."""
        return False


ORDERINGS: dict[str, Callable[[Bench], Ordering]] = {
    "outbox": Outbox,
    "claim-then-send": ClaimThenSend,
    "send-then-store": SendThenStore,
    "store-only-success": StoreOnlySuccess,
}
