"""
Causes wider than an account, by a virtual clock: nodes of a cluster notify the very same as one process.

The nodes are the registries and check queues that the daemon runs, on one database; `global` hears and tells once per beat.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import pytest
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import create_engine, text

from monitor.clock import SystemClock
from monitor.db import Reader, Store, read_connections
from monitor.db.cluster.findings import read_board
from monitor.domain.check_queue import CheckQueue
from monitor.domain.connections import Connection, ConnectionSpec
from monitor.domain.events import Severity
from monitor.domain.notifications.build import last_notified
from monitor.domain.policy import Policy, ScopePolicy
from monitor.domain.replies.checks import Observation, Verdict
from monitor.domain.routing.rules import ReceiverRule
from monitor.domain.scopes.key import STORAGE
from monitor.domain.scopes.state import clear, fail
from monitor.errors import Reason
from monitor.notify.identity import MonitorIdentity
from monitor.state.cluster import AccountRegistry, AccountRows, GlobalRegistry, apply_findings, follow, node_config, publish_board
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
from monitor.state.unit_of_work import evaluate_due, notify_inventory, record_check, record_outage
from tests.builders import a_reply
from tests.databases import migrated_sqlite

T = TypeVar("T")

START = datetime(2030, 1, 1, tzinfo=UTC)
INTERVAL = timedelta(minutes=1)
BEAT_SECONDS = 1.0
ACCOUNTS = [f"account{number}" for number in range(4)]
SCOPES = ScopePolicy(
    open_after=timedelta(seconds=30),
    close_after=timedelta(seconds=20),
    canary=timedelta(seconds=5),
    account_confirm=timedelta(seconds=10),
    account_canary=timedelta(seconds=20),
)
CONFIG = EvaluationConfig(
    policy=Policy(scopes=SCOPES, interval=INTERVAL),
    api_host="api.example",
    accounts=tuple(ACCOUNTS),
    identity=MonitorIdentity("m", "1"),
    receivers=(ReceiverRule("on-call"),),
)


class VirtualClock(SystemClock):
    """Moves only by hand."""

    seconds = 0.0

    def now(self) -> datetime:
        """The virtual wall clock."""
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """The same in seconds."""
        return self.seconds


@dataclass
class Node:
    """Some accounts and their queues."""

    registry: Registry
    queues: dict[str, CheckQueue] = field(default_factory=dict)


@dataclass
class Trial:
    """One history with so many nodes; 0: one process."""

    connection: SqlConnection
    clock: VirtualClock
    verdict: Callable[[Connection, float], Reason]
    nodes: list[Node] = field(default_factory=list)
    wide: GlobalRegistry | None = None
    mute_until: float = 0.0

    def write(self, work: Callable[[Store], T]) -> T:
        """One transaction."""
        store = Store(self.connection)
        result = work(store)
        for call in store.before:
            call()
        store.flush()
        self.connection.commit()
        for call in store.after:
            call()
        return result

    def begin(self, count: int) -> None:
        """Add the connections, and share the accounts among the nodes."""
        specs = [
            ConnectionSpec(account, "", f"{platform}-{account}{each}", platform, interval=INTERVAL)
            for account in ACCOUNTS
            for platform in ("linkedin", "threads")
            for each in "ab"
        ]
        self.write(lambda store: store.ensure_connections(specs))
        reader = Reader(self.connection)
        for number in range(max(1, count)):
            if not count:
                registry = Registry(CONFIG, self.clock)
                registry.load(reader)
                registry.set_connections(read_connections(reader))
            else:
                registry = AccountRegistry(node_config(CONFIG, timedelta(seconds=15)), self.clock, f"node{number}")
                registry.load(reader)
            node = Node(registry)
            self.nodes.append(node)
            for account in ACCOUNTS[number :: max(1, count)]:
                if isinstance(registry, AccountRegistry):
                    registry.tend(account, AccountRows(reader, account), self.clock.now())
                queue = node.queues[account] = CheckQueue(account, registry)
                queue.refresh(self.clock.now(), self.clock.monotonic())
        if count:
            self.take_global()

    def take_global(self) -> None:
        """A node takes `global`."""
        self.wide = GlobalRegistry(CONFIG, self.clock, START)
        self.wide.load(Reader(self.connection))
        self.connection.commit()

    def beat(self) -> None:
        """One second: checks that are due, what the nodes hear and tell, and the passing of time."""
        self.clock.seconds += BEAT_SECONDS
        self.write(self._checks)
        if self.wide is not None and self.clock.seconds >= self.mute_until:
            self.write(partial(apply_findings, self.wide))
            self.write(partial(evaluate_due, self.wide, self.clock.now()))
            self.write(partial(publish_board, self.wide))
        for node in self.nodes:
            if isinstance(node.registry, AccountRegistry):
                board = read_board(Reader(self.connection))
                if node.registry.differs_from(board):
                    self.write(partial(follow, node.registry, board))
                node.registry.note_board(board)
            node.registry.beat()
            self.write(partial(evaluate_due, node.registry, self.clock.now()))

    def _checks(self, store: Store) -> None:
        now = self.clock.monotonic()
        for node in self.nodes:
            for queue in node.queues.values():
                while queue.is_due(now):
                    taken = queue.take(now)
                    if taken is None or taken[0] is None:
                        continue
                    observation = self._observed(taken[0])
                    queue.checked(taken[0], now)
                    queue.finished(taken[0])
                    evaluation = record_check(node.registry, observation, store)
                    if evaluation is not None:
                        queue.recorded(taken[0], evaluation, now)

    def _observed(self, connection: Connection) -> Observation:
        reason, at = self.verdict(connection, self.clock.seconds), self.clock.now()
        reply = a_reply(platform_id=connection.platform_id) if reason is Reason.OK else None
        return Observation(connection.id, at, at, Verdict(reason), reply=reply)

    def told(self) -> list[tuple[str, str]]:
        """Type and subject of everything that was notified."""
        rows = self.connection.execute(text("SELECT type, subject FROM notifications ORDER BY id")).all()
        self.connection.commit()
        return [(row.type, row.subject) for row in rows]


def _api(connection: Connection, second: float) -> Reason:
    return Reason.API_FAILED if 200 <= second < 420 else Reason.OK


def _platform(connection: Connection, second: float) -> Reason:
    return Reason.TOKEN_EXPIRED if connection.platform == "threads" and 200 <= second < 500 else Reason.OK


def _one_account(connection: Connection, second: float) -> Reason:
    return Reason.API_UNAUTHORIZED if connection.account == ACCOUNTS[1] and 200 <= second < 420 else Reason.OK


def _service(connection: Connection, second: float) -> Reason:
    return Reason.API_FAILED if connection.account == ACCOUNTS[2] and 200 <= second < 420 else Reason.OK


def _connection(connection: Connection, second: float) -> Reason:
    return Reason.TOKEN_EXPIRED if connection.platform_id == f"linkedin-{ACCOUNTS[0]}a" and 200 <= second < 420 else Reason.OK


CAUSES: dict[str, tuple[Callable[[Connection, float], Reason], list[str]]] = {
    "api": (_api, ["api.failed", "api.recovered"]),
    "platform": (_platform, ["platform.failed", "platform.recovered"]),
    "account": (_one_account, ["account.failed", "account.recovered"]),
    "service": (_service, ["account.failed", "account.recovered"]),
    "connection": (_connection, ["connection.failed", "connection.recovered"]),
}


@contextmanager
def _trial(folder: Path, cause: str, nodes: int) -> Iterator[Trial]:
    engine = create_engine(migrated_sqlite(folder / f"{cause}-{nodes}" / "monitor.db"))
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA synchronous = OFF")
        connection.commit()
        trial = Trial(connection, VirtualClock(), CAUSES[cause][0])
        trial.begin(nodes)
        yield trial
    engine.dispose()


def _told(folder: Path, cause: str, nodes: int, *, mute: tuple[float, float] | None = None) -> list[tuple[str, str]]:
    with _trial(folder, cause, nodes) as trial:
        while trial.clock.seconds < 700:
            if mute is not None and trial.clock.seconds == mute[0]:
                trial.mute_until = mute[1]
            if mute is not None and trial.clock.seconds == mute[1] - BEAT_SECONDS:
                trial.take_global()
            trial.beat()
        return trial.told()


def _cases() -> list[object]:
    return [
        pytest.param(cause, nodes, marks=() if (cause, nodes) == ("platform", 2) else pytest.mark.slow)
        for cause in CAUSES
        for nodes in (1, 2, 4)
    ]


@pytest.mark.parametrize(("cause", "nodes"), _cases())
def test_same_messages(tmp_path: Path, cause: str, nodes: int) -> None:
    """Type and subject of every message are those of one process, in the same order."""
    told = _told(tmp_path, cause, nodes)
    assert [kind for kind, _ in told] == CAUSES[cause][1]
    if nodes == 1:
        assert told == _told(tmp_path, cause, 0)


@pytest.mark.slow
@pytest.mark.parametrize("cause", list(CAUSES))
@pytest.mark.parametrize("since", [190.0, 205.0, 230.0, 430.0])
def test_global_is_taken_over(tmp_path: Path, cause: str, since: float) -> None:
    """The same when for 25 s no node tends `global`, before the cause begins, while it is confirmed, or when it ends."""
    assert [kind for kind, _ in _told(tmp_path, cause, 3, mute=(since, since + 25))] == CAUSES[cause][1]


@pytest.mark.parametrize("informed", [("on-call",), ()])
def test_end_of_storage_outage(tmp_path: Path, informed: tuple[str, ...]) -> None:
    """Of an outage of the database that two nodes have notified, the end is notified once; also when only the second one has."""
    with _trial(tmp_path, "api", 2) as trial:
        now = trial.clock.now()
        outage = fail(clear(STORAGE), Reason.MONITOR_INTERNAL, "", now)
        outage = replace(outage, topic=replace(outage.topic, notified=last_notified(outage.topic, now)), seq=1)
        for node, notified in zip(trial.nodes, (informed, ("on-call",)), strict=True):
            trial.write(partial(record_outage, node.registry, outage, notified))
        assert trial.told() == [("storage.recovered", "storage")]


def test_notice_moves_with_its_account(tmp_path: Path) -> None:
    """A notice that something was lost is known to the node that takes over the account, and to no other one."""
    with _trial(tmp_path, "api", 2) as trial:
        first, second = (cast("AccountRegistry", node.registry) for node in trial.nodes)
        lost = partial(notify_inventory, first, ACCOUNTS[0], "", "lost", affected=1, severity=Severity.WARNING)
        trial.write(lost)
        second.tend(ACCOUNTS[2], AccountRows(Reader(trial.connection), ACCOUNTS[2]), trial.clock.now())
        assert second.snapshot(trial.clock.now()).notices == ()
        second.tend(ACCOUNTS[0], AccountRows(Reader(trial.connection), ACCOUNTS[0]), trial.clock.now())
        assert [notice.detail for notice in second.snapshot(trial.clock.now()).notices] == ["lost"]


def test_silence_of_global_checks_nothing(tmp_path: Path) -> None:
    """While no node tells how the API is, it counts as suspected; no check is brought forward for that, since none has failed."""
    with _trial(tmp_path, "api", 2) as trial:
        registry = cast("AccountRegistry", trial.nodes[0].registry)
        trial.clock.seconds += 1000
        board = registry.board
        assert registry.differs_from(board)
        trial.write(partial(follow, registry, board))
        assert registry.scope(registry.api_key).suspect_at == trial.clock.now()
        assert registry.api_suspect_since() is None
        assert registry.probe_interval(registry.connections_of(ACCOUNTS[0])[0]) is None
