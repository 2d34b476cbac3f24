"""One receiver's outbox, whole: a real database, the deliverer and the sender, and what they owe and tell."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from monitor.clock import Clock
from monitor.config import ReceiverSettings
from monitor.db import Database, DeliveryRow, Store, attempts_of, list_deliveries
from monitor.domain.connections import Connection, ConnectionSpec
from monitor.domain.events import FINE, Notification, NotificationReason, Transition, incident_key
from monitor.domain.policy import DigestPolicy, Policy
from monitor.domain.reasons import Scope
from monitor.notify.identity import MonitorIdentity
from monitor.notify.payload import render
from monitor.notify.sender import Sender
from monitor.workers.deliverer import Deliverer
from tests.builders import a_connection
from tests.clock import FakeClock
from tests.databases import migrated_sqlite

IDENTITY = MonitorIdentity("test", "1.0.0", "https://app.postpost.dev/connections")
SINGLES = Policy(digest=DigestPolicy(after=1000))


@dataclass
class Outbox:
    """
    A receiver, and what it is owed.

    Attributes:
        deliverer: as after a start of the daemon; put a new one in its place to start again.
    """

    database: Database
    sender: Sender
    receiver: ReceiverSettings
    clock: Clock
    policy: Policy
    deliverer: Deliverer

    async def owe(self, *notifications: Notification, connection: Connection | None = None) -> None:
        """Decide to tell *notifications*, with the rows of the incidents they are about."""

        def work(store: Store) -> None:
            for one in notifications:
                about = connection or (a_connection(one.connection_id) if one.connection_id else None)
                webhook_id = store.outbox.new_webhook_id()
                body = render(webhook_id, one, about, IDENTITY)
                if one.why in {NotificationReason.OPENED, NotificationReason.CHANGED, NotificationReason.CLOSED}:
                    store.apply_transitions([transition_of(one)])
                store.outbox.add_notification(webhook_id, one, incident_key(one.incident, "test"), body, [self.receiver.name])

        await self.database.write(work)

    async def settle(self) -> None:
        """Let the deliverer work until there is nothing more to do now."""
        while await self.deliverer.step():
            pass

    async def pass_time(self, span: timedelta) -> None:
        """Let *span* pass on the clock of the test, then settle."""
        assert isinstance(self.clock, FakeClock)
        await self.clock.advance(span)
        await self.settle()

    def restart(self, **changes: Any) -> None:
        """Begin anew with the same database, with *changes* in the configuration of the receiver."""
        self.receiver = self.receiver.model_copy(update=changes)
        self.deliverer = _deliverer(self.database, self.sender, self.receiver, self.clock, self.policy)

    async def rows(self) -> list[DeliveryRow]:
        """The deliveries of the receiver, oldest first."""
        return (await self.database.read(lambda reader: list_deliveries(reader, receiver=self.receiver.name, limit=1000)))[::-1]

    async def said(self) -> str:
        """Everything that the database keeps of the deliveries and their attempts, as text."""
        rows = await self.rows()
        attempts = [await self.database.read(lambda reader, row=row: attempts_of(reader, [row.id])[row.id]) for row in rows]  # type: ignore[misc]
        return f"{rows!r} {attempts!r}"


@asynccontextmanager
async def an_outbox(
    folder: Path, receiver: ReceiverSettings, clock: Clock | None = None, policy: Policy = SINGLES
) -> AsyncIterator[Outbox]:
    """An outbox for *receiver* in a new database below *folder*, where connections 1 to 10 exist; time stands still unless given."""
    clock = clock or FakeClock()
    database = Database(migrated_sqlite(folder / "state" / "monitor.db"), clock=clock, owner="test")
    await database.start()
    wanted = [ConnectionSpec("main", "", f"linkedin-page{number}", "linkedin") for number in range(1, 11)]
    await database.write(lambda store: store.ensure_connections(wanted))
    sender = Sender(clock=clock, user_agent="postpost-monitor/test")
    yield Outbox(database, sender, receiver, clock, policy, _deliverer(database, sender, receiver, clock, policy))
    await sender.close()
    await database.close()


def _deliverer(database: Database, sender: Sender, receiver: ReceiverSettings, clock: Clock, policy: Policy) -> Deliverer:
    return Deliverer(
        database, sender, receiver, others=(receiver.name, "other"), policy=policy, identity=IDENTITY, clock=clock, random=lambda: 0.5
    )


def transition_of(notification: Notification) -> Transition:
    """The transition of the incident that *notification* tells of."""
    closing = notification.why is NotificationReason.CLOSED
    return Transition(
        incident=notification.incident,
        scope=notification.scope if notification.scope is not Scope.RECEIVER else Scope.CONNECTION,
        connection_id=notification.connection_id,
        level=FINE if closing else notification.level_to,
        at=notification.at,
        severity=notification.severity,
        reason=notification.reason,
        detail=notification.detail,
        closed_why="recovered" if closing else None,
    )


def ending(notification: Notification, **changes: Any) -> Notification:
    """The notification that ends the incident which *notification* told of."""
    values: dict[str, Any] = {
        "why": NotificationReason.CLOSED,
        "level_from": notification.level_to,
        "level_to": FINE,
        "seq": notification.seq + 1,
    }
    return replace(notification, **(values | changes))


def texts(document: object) -> Iterator[str]:
    """Every text in a JSON document, keys excluded."""
    if isinstance(document, str):
        yield document
    for below in document.values() if isinstance(document, dict) else document if isinstance(document, list) else ():
        yield from texts(below)


def parsed(body: bytes) -> Any:
    """*body* as strict JSON: UTF-8, no NaN, no key twice."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({name for name, _ in pairs}) == len(pairs)
        return dict(pairs)

    return json.loads(body.decode(), parse_constant=refuse, object_pairs_hook=once)
