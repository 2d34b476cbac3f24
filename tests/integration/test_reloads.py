"""Reloads while incidents are open: nothing is lost, nothing stays open, and what has to be given up is reported."""

import json
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from monitor.cli.ack import open_incidents
from monitor.cli.incidents import lines_of
from monitor.config import Config
from monitor.db import (
    AttemptRow,
    ControlsWriter,
    Database,
    DeliveryRow,
    DeliveryState,
    Store,
    acks_of_open,
    deliveries_by_id,
    list_deliveries,
    list_incidents,
    pending_deliveries,
    silences_since,
)
from monitor.db.renames import receivers
from monitor.domain.delivery.receiver_outages import update_outage
from monitor.domain.delivery.retries import AttemptResult, CircuitBreaker
from monitor.domain.events import Topic, incident_key
from monitor.domain.replies.checks import Observation, Verdict
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.silencing.acks import Ack
from monitor.errors import DeliveryReason, Reason
from monitor.schemas.explanation import scope_deliveries
from monitor.state import account_sync, connection_sync, receiver_sync
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.receiver_sync import ReceiverChange
from monitor.state.registry import Registry
from monitor.state.unit_of_work import unit_of_work
from monitor.text.notification_history import topic_lines
from monitor.text.report import ConnectionReport
from monitor.workers.receiver_health import HealthChange, record_health
from monitor.workers.rerouter import Rerouter
from tests.builders import SECOND, a_reply
from tests.clock import FakeClock
from tests.configured import ACCOUNT, configured
from tests.crash.orderings import POLICY
from tests.databases import migrated_sqlite
from tests.sampling import sampled

CONNECTIONS = [f"linkedin-page{number}" for number in range(1, 5)]
ROUTES = (
    "",
    "routes: [{{match: {{{label}: social}}, receivers: [{first}]}}, {{receivers: [{all}]}}]",
    "routes: [{{match: {{account: {account}}}, receivers: [{last}]}}, {{receivers: [{first}]}}]",
    "routes: [{{receivers: [{last}]}}]",
    "routes: [{{match: {{severity: warning}}, receivers: [{first}]}}]",
    "routes: [{{receivers: []}}]",
)


@dataclass
class Setup:
    """What the file says: receivers by name with the number of their destination, and the rest that may change."""

    receivers: dict[str, int]
    routes: str = ""
    instance: str = "one"
    team: str = "social"
    label: str = "team"
    account: str = "main"
    signed_by: int = 0
    alertmanager: str = ""

    def text(self) -> str:
        """The configuration file."""
        names = list(self.receivers)
        secret = f"whsec_{self.signed_by:032d}"
        places = [
            f'{{name: {name}, url: "http://127.0.0.1:9/{where}", '
            + ("type: alertmanager}" if name == self.alertmanager else f"secret: {secret}}}")
            for name, where in self.receivers.items()
        ]
        return "\n".join(
            [
                ACCOUNT.replace("main", self.account),
                f"monitor: {{instance: {self.instance}}}",
                f"connections: [{', '.join(f'{{id: {name}, labels: {{{self.label}: {self.team}}}}}' for name in CONNECTIONS)}]",
                f"receivers: [{', '.join(places)}]",
                self.routes.format(first=names[0], last=names[-1], all=", ".join(names), label=self.label, account=self.account),
            ]
        )


@dataclass
class Running:
    """A monitor without network: checks and reloads in, and what each destination shows as open."""

    database: Database
    clock: FakeClock
    setup: Setup
    registry: Registry = field(init=False)
    rerouter: Rerouter = field(init=False)
    shown: dict[int, set[str]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    changes: list[ReceiverChange] = field(default_factory=list)

    async def reload(self, **changes: Any) -> list[ReceiverChange]:
        """Read the file as it is with these *changes*, as the start and each reload do."""
        self.setup = replace(self.setup, **changes)
        config: Config = configured(self.setup.text())
        evaluation_config = replace(
            EvaluationConfig.from_config(config, self.database.instance_id), policy=replace(POLICY, routes=config.policy().routes)
        )
        if not hasattr(self, "registry"):
            self.registry = Registry(evaluation_config, self.clock)
        self.registry.use_config(evaluation_config)
        await account_sync.sync(self.database, self.registry, config)
        found = await receiver_sync.sync(self.database, config, evaluation_config, self.clock.now())
        await connection_sync.sync(self.database, self.registry, config)
        self.rerouter = Rerouter(registry=self.registry, database=self.database, clock=self.clock)
        await self.rerouter.step()
        self.changes += found
        return found

    async def check(self, platform_id: str, *, works: bool) -> None:
        """One check, which is believed at once."""
        await self.clock.advance(SECOND)
        connection = self.registry.find((self.setup.account, "", platform_id))
        assert connection is not None
        now = self.clock.now()
        reply = a_reply(passed=works, platform_id=platform_id, permissions=())
        verdict = Verdict(Reason.OK if works else Reason.CREDENTIAL_REJECTED)
        observation = Observation(connection.id, now - timedelta(milliseconds=1), now, verdict, reply)
        await self.database.write(partial(_record, self.registry, observation))
        (self.broken.discard if works else self.broken.add)(platform_id)

    async def reject_key(self) -> None:
        """The API refuses the key of the account, for longer than it is doubted."""
        for name in CONNECTIONS[1:] * 4:
            await self.clock.advance(60 * SECOND)
            connection = self.registry.find((self.setup.account, "", name))
            assert connection is not None
            now = self.clock.now()
            observation = Observation(connection.id, now - timedelta(milliseconds=1), now, Verdict(Reason.API_UNAUTHORIZED), None)
            await self.database.write(partial(_record, self.registry, observation))

        await self.clock.advance(60 * SECOND)
        now = self.clock.now()
        await self.database.write(lambda store: unit_of_work(self.registry, store).evaluate_due(now))

    async def fail(self, name: str) -> None:
        """The receiver called *name* is gone, and the others are notified of it."""
        before, now, result = CircuitBreaker(), self.clock.now(), AttemptResult(DeliveryReason.GONE)
        after, notice = update_outage(name, before, replace(before, failures=1, failing_since=now, disabled_at=now), result, now)
        others = tuple(other for other in self.setup.receivers if other != name)
        change = HealthChange(name, before, after, result, now, notice, others, self.registry.config.identity)
        await self.database.write(partial(record_health, change))

    async def pending(self, name: str) -> list[dict[str, Any]]:
        """The documents that are pending for the receiver called *name*."""
        waiting = await self.database.read(lambda reader: pending_deliveries(reader, name, 100))
        rows = await self.database.read(lambda reader: deliveries_by_id(reader, [row.id for row in waiting]))
        return [json.loads(row.body) for row in rows]

    async def deliver(self, name: str, limit: int = 1000) -> None:
        """Let the receiver called *name* take up to *limit* of what is pending for it."""
        waiting = await self.database.read(lambda reader: pending_deliveries(reader, name, limit))
        rows = await self.database.read(lambda reader: deliveries_by_id(reader, [row.id for row in waiting]))
        shown = self.shown.setdefault(self.setup.receivers[name], set())
        for row in rows:
            data = json.loads(row.body)["data"]
            (shown.discard if data["why"] == "closed" else shown.add)(data["incident"]["key"])
            attempt = AttemptRow(self.clock.now(), DeliveryReason.DELIVERED, 1)
            await self.database.write(partial(_taken, row, attempt))

    async def settle(self) -> None:
        """Let every receiver take everything."""
        for name in self.setup.receivers:
            await self.deliver(name)

    def open_at(self, name: str) -> int:
        """How many incidents the receiver called *name* shows as open."""
        return len(self.shown.get(self.setup.receivers[name], ()))


def _record(registry: Registry, observation: Observation, store: Store) -> None:
    unit_of_work(registry, store).record_check(observation)


def _taken(row: DeliveryRow, attempt: AttemptRow, store: Store) -> None:
    store.outbox.record_attempt(row, attempt, DeliveryState.DELIVERED)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[object]:
    database = Database(migrated_sqlite(tmp_path / "state" / "monitor.db"), clock=(clock := FakeClock()), owner="test")
    await database.start()
    yield Running(database, clock, Setup({"pager": 1, "chat": 2}))
    await database.close()


async def begun(database: object) -> Running:
    """A running monitor with one broken connection, of which both receivers know."""
    assert isinstance(database, Running)
    await database.reload()
    await database.check(CONNECTIONS[0], works=True)
    await database.check(CONNECTIONS[0], works=False)
    await database.settle()
    assert (database.open_at("pager"), database.open_at("chat")) == (1, 1)
    return database


async def test_failing_receiver_leaves(database: object) -> None:
    """The incident of a receiver that is removed is listed while it is open, ends at the others, and is named by the reload."""
    running = await begun(database)
    await running.fail("pager")
    await running.deliver("chat")
    assert running.open_at("chat") == 2
    (listed, _) = await running.database.read(list_incidents)
    assert (listed.incident.subject, listed.closed_at) == ("receiver:pager", None)
    with capture_logs() as logs:
        (change,) = await running.reload(receivers={"chat": 2})
    assert change.ended.endswith("receiver:pager-scope-1")
    assert [entry["ended"] for entry in logs if "ended" in entry] == [change.ended]
    (told,) = await running.pending("chat")
    assert (told["type"], told["data"]["closedWhy"]) == ("receiver.closed", "removed")
    await running.deliver("chat")
    assert running.open_at("chat") == 1
    (listed, _) = await running.database.read(list_incidents)
    assert listed.closed_why == "removed"

    await running.reload(receivers={"pager": 1, "chat": 2})
    again = await running.database.read(partial(receivers.known_breaker, name="pager"))
    assert again == CircuitBreaker(number=1), "its next incident is another one"


async def test_failing_receiver_renamed(database: object) -> None:
    """A failing receiver under a new name ends its incident under the old one and is tried again; a new receiver gets what is open."""
    running = await begun(database)
    await running.fail("pager")
    await running.reload(receivers={"pager": 1, "chat": 2, "desk": 3})
    assert [document["type"] for document in await running.pending("desk")] == ["connection.failed", "receiver.failing"]
    assert await running.pending("pager") == []
    (change,) = await running.reload(receivers={"on-call": 1, "chat": 2, "desk": 3})
    assert change.ended.endswith("receiver:pager-scope-1")
    await running.settle()
    assert (running.open_at("chat"), running.open_at("desk")) == (1, 1)
    breaker = await running.database.read(partial(receivers.known_breaker, name="on-call"))
    assert (breaker.notified, breaker.disabled_at, breaker.number, breaker.healthy) == (False, None, 1, False)


async def test_renamed(database: object) -> None:
    """A receiver under a new name keeps what is pending and what it knows: it gets the end, and nothing twice."""
    running = await begun(database)
    await running.check(CONNECTIONS[1], works=False)
    (change,) = await running.reload(receivers={"on-call": 1, "chat": 2})
    assert (change.event, change.before, change.receiver, change.cancelled) == ("renamed", "pager", "on-call", 0)
    await running.settle()
    assert running.open_at("on-call") == 2
    for name in CONNECTIONS[:2]:
        await running.check(name, works=True)
    await running.settle()
    assert (running.open_at("on-call"), running.open_at("chat")) == (0, 0)
    rows = await running.database.read(lambda reader: list_deliveries(reader, receiver="on-call"))
    assert len(rows) == len({row.webhook_id for row in rows}) == 4


async def test_replaced(database: object) -> None:
    """A receiver in place of another one is told what stands, also what was pending; what the old one still shows is reported."""
    running = await begun(database)
    await running.check(CONNECTIONS[1], works=False)
    removed, added = await running.reload(receivers={"new": 3, "chat": 2})
    assert (removed.event, removed.receiver, removed.cancelled, removed.left_open) == ("removed", "pager", 1, 2)
    assert (added.event, added.receiver, added.sent) == ("added", "new", 2)
    await running.settle()
    assert running.open_at("new") == 2


async def test_new_address(database: object) -> None:
    """A receiver with a new address or key is told there what stands."""
    running = await begun(database)
    (change,) = await running.reload(receivers={"pager": 3, "chat": 2})
    assert (change.event, change.left_open, change.sent) == ("readdressed", 1, 1)
    await running.settle()
    assert running.open_at("pager") == 1


async def test_only_holder_leaves(database: object) -> None:
    """When the only receiver of an incident leaves, those that its notification is routed to now are told, also known ones."""
    assert isinstance(database, Running)
    running = database
    await running.reload(routes="routes: [{{receivers: [{first}]}}]")
    await running.check(CONNECTIONS[0], works=True)
    await running.check(CONNECTIONS[0], works=False)
    await running.settle()
    assert (running.open_at("pager"), running.open_at("chat")) == (1, 0)
    await running.reload(receivers={"chat": 2}, routes="")
    await running.settle()
    assert running.open_at("chat") == 1


@pytest.mark.parametrize("routes", ROUTES[-2:])
async def test_routed_at_last(database: object, routes: str) -> None:
    """What no route took is sent once a route takes it, once; the end of what was never sent is sent to no receiver."""
    assert isinstance(database, Running)
    running = database
    await running.reload(routes=routes)
    for name in CONNECTIONS[:3]:
        await running.check(name, works=True)
        await running.check(name, works=False)
    # Everything is routed from now on, but the open incidents are not routed anew yet.
    config = running.registry.config
    running.registry.set_config(replace(config, policy=replace(config.policy, routes=())))
    await running.check(CONNECTIONS[0], works=True)
    running.registry.set_config(config)
    await running.reject_key()
    assert [await running.pending(name) for name in ("pager", "chat")] == [[], []]
    open_now = {view.incident.subject for view in running.registry.snapshot(running.clock.now()).incidents}
    assert "account:main" in open_now
    above = [running.registry.scope(ScopeKey.parse("account:main"))]
    assert await running.database.read(partial(scope_deliveries, above=above)) == {above[0].key: "none"}
    for _ in range(2):
        await running.reload(routes="routes: [{{receivers: [{last}]}}]")
        sent = [document["data"]["incident"]["key"] for document in await running.pending("chat")]
        assert len(sent) == len(open_now)
    assert await running.database.read(partial(scope_deliveries, above=above)) == {above[0].key: "pending"}
    connection = running.registry.connection(1)
    assert connection is not None
    for deliveries, said in (("none", "no receiver has it"), ("pending", "not delivered yet"), ("delivered", "notified 2")):
        report = ConnectionReport(connection, running.registry.state(1), above, scope_deliveries={above[0].key: deliveries})
        lines = list(topic_lines(report, running.clock.now(), POLICY))
        assert said in lines[0]
    for name in [*CONNECTIONS[1:], *CONNECTIONS, *CONNECTIONS]:
        await running.clock.advance(60 * SECOND)
        await running.check(name, works=True)
    await running.settle()
    assert (running.open_at("chat"), await running.pending("pager")) == (0, [])


async def test_rerouted(database: object) -> None:
    """A receiver that routes name now gets what is open, once; the one that has it gets its end, too."""
    assert isinstance(database, Running)
    running = database
    await running.reload(routes="routes: [{{receivers: [{first}]}}]")
    await running.check(CONNECTIONS[0], works=True)
    await running.check(CONNECTIONS[0], works=False)
    for _ in range(2):
        await running.reload(routes="routes: [{{receivers: [{last}]}}]")
        assert [len(await running.pending(name)) for name in ("pager", "chat")] == [1, 1]
    await running.settle()
    await running.check(CONNECTIONS[0], works=True)
    await running.settle()
    assert [running.open_at(name) for name in ("pager", "chat")] == [0, 0]


async def test_rerouted_while_suppressed(database: object) -> None:
    """A receiver that routes name now gets what a silence, or the quiet hours of its route, suppress when that ends, once."""
    assert isinstance(database, Running)
    running = database
    await running.reload(routes="routes: [{{receivers: [{first}]}}]")
    for name in CONNECTIONS[:2]:
        await running.check(name, works=True)
        await running.check(name, works=False)
    now, hour = running.clock.now(), timedelta(hours=1)
    await running.database.write(partial(_silence, {"connection": CONNECTIONS[0]}, now))
    times = f"from: '{now - hour:%H:%M}', to: '{now + hour:%H:%M}'"
    running.registry.set_requests(await running.database.read(lambda reader: silences_since(reader, now)), [])
    await running.reload(routes=f"routes: [{{{{receivers: [{{last}}], quiet_hours: {{{{{times}, severities: [critical]}}}}}}}}]")
    assert await running.pending("chat") == []
    await running.clock.advance(hour)
    await running.rerouter.step()
    assert [document["data"]["platformId"] for document in await running.pending("chat")] == [CONNECTIONS[1]]
    await running.database.write(lambda store: ControlsWriter(store).expire_silence(1, running.clock.now()))
    await running.rerouter.step()
    assert len(await running.pending("chat")) == 1, "nothing has changed that it knows of"
    running.registry.set_requests([], [])
    for _ in range(2):
        await running.rerouter.step()
        assert len(await running.pending("chat")) == 2


async def test_comes_back(database: object) -> None:
    """A receiver that was away is told what began and what ended meanwhile."""
    running = await begun(database)
    await running.reload(receivers={"chat": 2})
    await running.check(CONNECTIONS[0], works=True)
    await running.check(CONNECTIONS[1], works=False)
    await running.reload(receivers={"pager": 1, "chat": 2})
    await running.settle()
    assert running.open_at("pager") == 1


async def test_another_instance(database: object) -> None:
    """An incident keeps its key when the monitor gets another name, so its end closes what its beginning opened."""
    running = await begun(database)
    await running.reload(instance="two")
    config = configured(running.setup.text())
    shown = await running.database.read(lambda reader: lines_of(reader, list_incidents(reader), config, running.clock.now()))
    assert {line.key for line in shown} == running.shown[1], "`incidents` names the key that the receivers have"
    for name in (shown[0].key, incident_key(shown[0].row.incident, "two")):
        meant = await running.database.read(partial(open_incidents, names=[name], config=config))
        assert set(meant) == running.shown[1], "`ack` takes both keys, and names that one"
    await running.check(CONNECTIONS[0], works=True)
    await running.settle()
    assert (running.open_at("pager"), running.open_at("chat")) == (0, 0)


def mutated(setup: Setup, dice: random.Random, away: dict[str, int], fresh: int) -> Mapping[str, Any]:
    """One random change of the file; *away* are the receivers that were removed, *fresh* is a number that is not used yet."""
    if dice.random() < 0.5:
        values = {
            "routes": dice.choice(ROUTES),
            "instance": f"i{fresh}",
            "account": f"a{fresh}",
            "label": dice.choice(["team", "unit"]),
            "team": dice.choice(["social", "sales"]),
            "signed_by": fresh,
        }
        key = dice.choice(list(values))
        return {key: values[key]}
    receivers = dict(setup.receivers)
    name = dice.choice(list(receivers))
    match dice.randrange(6):
        case 0:
            receivers = {f"r{fresh}" if one == name else one: where for one, where in receivers.items()}
        case 1:
            receivers[name] = fresh
        case 2:
            receivers = {f"r{fresh}" if one == name else one: fresh if one == name else where for one, where in receivers.items()}
        case 4 if len(receivers) > 1:
            away[name] = receivers.pop(name)
        case 5 if away:
            back = dice.choice(list(away))
            receivers[back] = away.pop(back)
        case _:
            receivers[f"r{fresh}"] = fresh
    return {"receivers": receivers}


@pytest.mark.parametrize("seed", sampled(range(24)))
async def test_random_reloads(database: object, seed: int) -> None:
    """Through random reloads between random events every open incident is known somewhere, and at the end nothing is open."""
    assert isinstance(database, Running)
    running, dice, away = database, random.Random(seed), dict[str, int]()
    await running.reload()
    for name in CONNECTIONS:
        await running.check(name, works=True)
    for step in range(40):
        if dice.random() < 0.35:
            await running.reload(**mutated(running.setup, dice, away, 10 + step))
        elif dice.random() < 0.5:
            await running.deliver(dice.choice(list(running.setup.receivers)), dice.randrange(1, 4))
        else:
            name = dice.choice(CONNECTIONS)
            await running.check(name, works=name in running.broken)
    await running.reload(routes="")
    await running.settle()
    current = [running.shown.get(where, set()) for where in running.setup.receivers.values()]
    assert len(set().union(*current)) == len(running.broken)
    for name in sorted(running.broken):
        await running.check(name, works=True)
    await running.settle()
    assert {name: running.open_at(name) for name in running.setup.receivers if running.open_at(name)} == {}
    left = {where for where, shown in running.shown.items() if shown} - set(running.setup.receivers.values())
    assert len(left) <= sum(change.left_open > 0 for change in running.changes)


async def test_account_renamed(database: object) -> None:
    """An account under a new name keeps its incidents, their keys, acknowledgements and silences, and those of the account itself."""
    running = await begun(database)
    await running.reject_key()
    await running.settle()
    assert running.open_at("pager") == 2
    await running.database.write(partial(_controls, running.clock.now()))
    keys = sorted({row.incident_key for row in await running.database.read(list_deliveries)})
    await running.reload(account="renamed", receivers={"on-call": 1, "chat": 2})
    meant = await running.database.read(lambda reader: open_incidents(reader, keys, configured(running.setup.text())))
    assert {row.incident.subject for row in meant.values()} == {"1", "account:renamed"}
    (silence,) = await running.database.read(lambda reader: silences_since(reader, running.clock.now()))
    acked = await running.database.read(acks_of_open)
    views = running.registry.snapshot(running.clock.now()).incidents
    assert (silence.match, [ack.subject for ack in acked]) == ({"account": "renamed|other", "platform": "x"}, ["account:renamed"])
    assert [view.incident.subject for view in views] == ["1", "account:renamed"]
    await running.reload(account="third", receivers={"on-call": 1, "chat": 2, "late": 4})
    await running.settle()
    assert running.open_at("late") == 2
    for name in [*CONNECTIONS, *CONNECTIONS]:
        await running.clock.advance(60 * SECOND)
        await running.check(name, works=True)
    await running.settle()
    assert [running.open_at(name) for name in running.setup.receivers] == [0, 0, 0]
    rows = await running.database.read(lambda reader: list_deliveries(reader, receiver="on-call"))
    assert len(rows) == len({row.webhook_id for row in rows}) == 4


async def test_end_given_up(database: object) -> None:
    """The end that a removed receiver has not got is reported: there the incident stays open."""
    running = await begun(database)
    await running.check(CONNECTIONS[0], works=True)
    with capture_logs() as logged:
        (change,) = await running.reload(receivers={"chat": 2})
    assert (change.cancelled, change.left_open) == (1, 1)
    (event,) = [event for event in logged if event["event"] == "receiver.abandoned"]
    assert event["incidents"] == [f"pp-one-1-connection-1: {CONNECTIONS[0]} (main)"]


async def test_escalated(database: object) -> None:
    """A receiver with a new address gets the state of an escalated incident, not the escalation, and with the account's new name."""
    assert isinstance(database, Running)
    running = database
    routes = "routes: [{{receivers: [{first}], escalate: {{after: 5m, receivers: [{last}]}}}}]"
    await running.reload(routes=routes)
    await running.check(CONNECTIONS[0], works=True)
    await running.check(CONNECTIONS[0], works=False)
    await running.settle()
    await running.clock.advance(600 * SECOND)
    await running.check(CONNECTIONS[0], works=False)
    assert "Escalated, because" in (await running.pending("chat"))[0]["summary"]
    await running.settle()
    await running.reload(receivers={"pager": 3, "chat": 4}, account="renamed")
    ((first,), (last,)) = [await running.pending(name) for name in ("pager", "chat")]
    assert first["summary"].startswith("LinkedIn")
    assert (first["data"]["why"], first["data"]["account"]) == ("opened", "renamed")
    assert last["summary"].startswith("Escalated, because")


async def test_labels_of_a_renamed_account(database: object) -> None:
    """An Alertmanager gets what stands under the new name of its account, as the metrics have it, once."""
    assert isinstance(database, Running)
    running = database
    await running.reload(alertmanager="pager")
    await running.check(CONNECTIONS[0], works=True)
    await running.check(CONNECTIONS[0], works=False)
    await running.settle()
    for _ in range(2):
        await running.reload(account="renamed")
        assert [one["data"]["account"] for one in await running.pending("pager")] == ["renamed"]
    assert await running.pending("chat") == []
    await running.settle()
    await running.reload(instance="two")
    assert [one["data"]["monitor"]["instance"] for one in await running.pending("pager")] == ["two"]


def _silence(match: Mapping[str, str], now: datetime, store: Store) -> None:
    ends_at = now + timedelta(days=1)
    ControlsWriter(store).add_silence(match, starts_at=now, ends_at=ends_at, author="a", reason="b", now=now)


def _controls(now: datetime, store: Store) -> None:
    writer = ControlsWriter(store)
    writer.add_silence(
        {"account": "main|other", "platform": "x"}, starts_at=now, ends_at=now + timedelta(days=999), author="a", reason="b", now=now
    )
    writer.acknowledge(Ack(Topic.SCOPE, "account:main", 1, "open", now, "a", "b"))
