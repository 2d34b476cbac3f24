"""The rows by which nodes exclude each other: who may write, who tends what, and which configuration is current."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from monitor.clock import SystemClock
from monitor.db import Database
from monitor.db.cluster.members import MemberBackend, MemberSession, adopt_config, drain_nodes, member_backend
from monitor.db.errors import translated
from monitor.domain.cluster.sharing import GLOBAL, NodeRow
from monitor.errors import AnotherInstance
from tests.waiting import eventually

HOUR = timedelta(hours=1)
GAP = timedelta(minutes=1)


class Clock(SystemClock):
    """Its time since boot is set by hand."""

    boot = 0.0

    def boottime(self) -> float:
        """The time that was set."""
        return self.boot


@asynccontextmanager
async def _node(
    url: str, name: str, *, lease: timedelta = HOUR, clock: SystemClock | None = None, config: str = "c"
) -> AsyncIterator[tuple[MemberBackend, Database]]:
    backend = member_backend(url, owner=name, member=NodeRow(name, config=config), lease=lease, clock=clock or SystemClock())
    database = Database(url, clock=SystemClock(), owner=name, backend=backend)
    await database.start()
    try:
        yield backend, database
    finally:
        await database.close()


async def test_take_and_release(postgres_url: str) -> None:
    """A shard has one node at a time; what is released, or belonged to a node that left, can be taken."""
    async with _node(postgres_url, "b") as (second, _):
        other = second.session()
        async with _node(postgres_url, "a") as (first, _):
            mine = first.session()
            mine.put_shards({"account:x": 0.1})
            assert mine.take("account:x", GAP) is not None
            assert other.take("account:x", GAP) is None
            other.release("account:x")
            assert other.take("account:x", GAP) is None
            mine.release("account:x")
            taken = other.take("account:x", GAP)
            assert taken is not None
            other.release("account:x")
            again = mine.take("account:x", GAP)
            assert again is not None
            assert again.since == taken.since
            assert not mine.drop_shard("account:x")
            mine.close()
        assert {shard.name: shard.node for shard in other.look().shards} == {"account:x": None, GLOBAL: None}
        assert other.drop_shard("account:x")
        other.close()


async def test_fence(postgres_url: str) -> None:
    """A node whose lease has run out loses its shards and writes nothing more; even when it sleeps inside a transaction."""
    async with _node(postgres_url, "b") as (second, _):
        other = second.session()
        async with _node(postgres_url, "a", lease=timedelta(milliseconds=300)) as (first, database):
            mine = first.session()
            assert mine.take(GLOBAL, GAP) is not None
            assert other.fence() == []
            sleeping = asyncio.Event()
            loop = asyncio.get_running_loop()

            def sleep(_store: object) -> None:
                loop.call_soon_threadsafe(sleeping.set)
                # Until its session is ended: the row of the node is locked meanwhile.
                connection = first._connection
                assert connection is not None
                with translated():
                    connection.exec_driver_sql("SELECT pg_sleep(9)")

            late = database.submit(sleep)
            await sleeping.wait()
            await eventually(lambda: other.fence() == ["a"], what="the lease has run out")
            assert other.take(GLOBAL, GAP) is not None
            assert mine.take("account:x", GAP) is None
            with pytest.raises(AnotherInstance):
                await late
            with pytest.raises(AnotherInstance):
                await database.ended()
            mine.close()
        assert {shard.name: shard.node for shard in other.look().shards} == {GLOBAL: "b"}
        other.close()


async def test_excludes_others(postgres_url: str) -> None:
    """An instance without a cluster, and one of the same name, are refused while a node lives; and nodes while such an instance does."""
    single = Database(postgres_url, clock=SystemClock(), owner="single")
    async with _node(postgres_url, "a"):
        with pytest.raises(AnotherInstance, match="a cluster of 1 nodes"):
            await single.start()
        with pytest.raises(AnotherInstance, match="another instance runs as node a"):
            await _node(postgres_url, "a").__aenter__()
    await single.start()
    with pytest.raises(AnotherInstance, match="single"):
        await _node(postgres_url, "a").__aenter__()
    await single.close()


async def test_deadline(postgres_url: str) -> None:
    """Nothing is sent after nine tenths of the lease since the last renewal began, also when the machine was suspended."""
    clock = Clock()
    async with _node(postgres_url, "a", lease=timedelta(seconds=100), clock=clock) as (backend, database):
        clock.boot = 50.0
        assert backend.lease_remaining() > 0
        clock.boot = 91.0
        assert backend.lease_remaining() <= 0
        await database.write(lambda _: None)
        assert backend.lease_remaining() > 0
        clock.boot = 91.0 + 89.0
        assert backend.lease_remaining() > 0
        clock.boot = 91.0 + 90.5
        assert backend.lease_remaining() <= 0


async def test_configurations(postgres_url: str) -> None:
    """A new configuration is current at once; one that was replaced only when it is adopted. A drained node is drained until it starts again."""
    async with _node(postgres_url, "a", config="one") as (backend, _):
        session: MemberSession = backend.session()
        assert session.look().config == "one"
        async with _node(postgres_url, "b", config="two"):
            assert session.look().config == "two"
        async with _node(postgres_url, "b", config="one"):
            assert session.look().config == "two"
        adopt_config(postgres_url, "one")
        assert session.look().config == "one"
        session.change(NodeRow("a", config="three", weight=2.0))
        view = session.look()
        assert view.config == "three"
        drain_nodes(postgres_url, "a")
        assert [(one.node, one.weight, one.drained) for one in session.look().members] == [("a", 2.0, True)]
        session.close()
