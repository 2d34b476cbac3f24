"""Who is told that connections which failed together are reconnected: rows of deliveries, counted by receiver."""

from dataclasses import replace
from datetime import datetime
from functools import partial

from sqlalchemy import select

from monitor.db import Database, Reader, tables
from monitor.domain.connections import Connection, ConnectionSpec
from monitor.domain.policy import Policy
from monitor.domain.replies.checks import Verdict
from monitor.domain.routing.rules import ReceiverRule
from monitor.errors import Reason
from monitor.notify.identity import MonitorIdentity
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
from monitor.state.unit_of_work import evaluate_due, record_check
from tests.builders import DAY, HOUR, SECOND, START, a_reply, a_token_life, an_observation
from tests.clock import FakeClock
from tests.story import API_HOST

RECEIVERS = (ReceiverRule("pager"), ReceiverRule("chat", keeps_incidents=False))
CONFIG = EvaluationConfig(policy=Policy(), api_host=API_HOST, identity=MonitorIdentity("m", "1", ""), receivers=RECEIVERS)


async def test_receivers(database: Database) -> None:
    """A pager gets the end of each incident that it knows, a chat one message that both work again."""
    clock = FakeClock(START)
    specs = [ConnectionSpec("main", "", platform_id, "linkedin") for platform_id in ("linkedin-a", "linkedin-b")]
    ids = await database.write(lambda store: store.ensure_connections(specs))
    registry = Registry(CONFIG, clock)
    await database.read(registry.load)
    registry.set_connections([Connection(ids[spec.key], spec) for spec in specs])

    async def checks(count: int, reason: Reason, ends_at: datetime | None) -> None:
        for _ in range(count):
            for number in registry.ids():
                now = clock.now()
                token = a_token_life(ends_at - now) if ends_at is not None else a_token_life(says="expired")
                reply = a_reply(passed=reason is Reason.OK, permissions=(), token=token)
                observation = replace(an_observation(moment=now, reply=reply), connection_id=number, verdict=Verdict(reason))
                await database.write(partial(record_check, registry, observation))
            for _ in range(3):
                await clock.advance(15 * SECOND)
                await database.write(partial(evaluate_due, registry, clock.now()))

    await checks(3, Reason.OK, START + 20 * HOUR)
    await checks(4, Reason.TOKEN_EXPIRED, None)
    await checks(5, Reason.OK, START + 60 * DAY)
    sent = await database.read(_sent)
    assert [kind for receiver, kind in sent if receiver == "chat"] == [
        "token.expiring",
        "token.expiring",
        "group.failed",
        "group.recovered",
    ]
    assert sorted(kind for receiver, kind in sent if receiver == "pager")[-2:] == ["token.renewed", "token.renewed"]


def _sent(reader: Reader) -> list[tuple[str, str]]:
    """Receiver and type of every delivery, in order."""
    joined = tables.deliveries.join(tables.notifications, tables.deliveries.c.notification_id == tables.notifications.c.id)
    query = select(tables.deliveries.c.receiver, tables.notifications.c.type).select_from(joined).order_by(tables.deliveries.c.id)
    return [(row.receiver, row.type) for row in reader.rows(query)]
