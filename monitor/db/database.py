"""`Database`: open, write, read, close."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import NoReturn, TypeVar

from sqlalchemy.engine import URL

from monitor.clock import Clock
from monitor.db.backend import Backend
from monitor.db.maintenance import parse
from monitor.db.postgres import PostgresBackend
from monitor.db.queries.state import read_meta
from monitor.db.sqlite import SqliteBackend
from monitor.db.store import Store
from monitor.db.tables import meta
from monitor.db.transaction import Reader, insert_missing
from monitor.db.writer import Writer
from monitor.errors import StoreError, StoreUnavailable

_READERS = 4
_ADD_META = insert_missing(meta, ["key"])

T = TypeVar("T")


class Database:
    """
    One database: an SQLite file (`sqlite:///path`) or a PostgreSQL database (`postgresql://user@host/name`).

    Works are functions of a `Store`, run in order on one thread, many to a transaction. A work may run several times:
    it is rolled back and repeated when another one of its transaction fails or the database goes away. What must happen
    once belongs into `store.after_commit`. Works never wait for the network.

    Attributes:
        instance_id: random, stable for this database; "" before `start`.
    """

    def __init__(
        self, url: str, *, clock: Clock, owner: str, standby_lease: timedelta | None = None, backend: Backend | None = None
    ) -> None:
        self.instance_id = ""
        self._clock = clock
        self._backend = backend if backend is not None else backend_of(parse(url), clock, owner, standby_lease)
        self._writer: Writer | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._ended: asyncio.Queue[StoreError] = asyncio.Queue()

    async def start(self) -> None:
        """
        Open it: create or check the files, take the instance lock, check for damage, upgrade the schema.

        Raises:
            AnotherInstance: another process has it; says which.
            StoreCorrupt: it is damaged; says how to repair it.
            SchemaMismatch: a newer program wrote it.
            StoreUnavailable: it can't be reached.
        """
        await asyncio.to_thread(self._backend.open)
        self._writer = Writer(self._backend, clock=self._clock, on_end=self._ended.put_nowait)
        self._writer.start()
        self.open_for_reading()
        try:
            self.instance_id = await self.write(_instance_id)
        except BaseException:
            await self.close()
            raise

    def open_for_reading(self) -> None:
        """Allow `read`: a standby shows what the active instance writes."""
        if self._readers is None:
            self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="database-reader")

    async def close(self) -> None:
        """Write what is queued, release the lock. Harmless when not open."""
        writer, self._writer = self._writer, None
        readers, self._readers = self._readers, None
        if writer is not None:
            await asyncio.to_thread(writer.stop)
        if readers is not None:
            await asyncio.to_thread(readers.shutdown)
            await asyncio.to_thread(self._backend.close)

    def submit(self, work: Callable[[Store], T], *, within_seconds: float = 0.0) -> "asyncio.Future[T]":
        """
        Queue *work* for the writer; *within_seconds*: so long it may wait for others that share its commit.

        Returns:
            A future with the work's result, done after the commit, or with what the work raised. While the database is
            unavailable it stays pending. With 10,000 works in the queue, one that may wait for others fails with StoreUnavailable.
        """
        if self._writer is not None:
            return self._writer.submit(work, within_seconds=within_seconds)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        standby = "this instance is a standby: the active one writes"
        future.set_exception(StoreUnavailable(standby if self._readers is not None else "the database is not open"))
        return future

    def is_busy(self) -> bool:
        """Whether checks should wait, because their results come faster than they can be written."""
        return self._writer is not None and self._writer.is_busy()

    async def write(self, work: Callable[[Store], T]) -> T:
        """The result of *work*, once it is committed. See `submit`."""
        return await self.submit(work)

    async def read(self, work: Callable[[Reader], T]) -> T:
        """The result of *work* on one consistent view of the database; keep it short."""
        if self._readers is None:
            raise StoreUnavailable("the database is not open")

        def run() -> T:
            with self._backend.reading() as connection:
                return work(Reader(connection))

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    async def tidy(self) -> bool:
        """
        One step of housekeeping after deletes: free pages go back to the file system, the write-ahead log is emptied.

        Returns:
            Whether there is more to do.
        """
        results: list[bool] = []
        await self.write(lambda store: store.after_commit(lambda: results.append(self._backend.tidy())))
        return results == [True]

    async def examine(self) -> None:
        """Check for damage without stopping anything; raises StoreCorrupt."""
        await asyncio.get_running_loop().run_in_executor(self._readers, self._backend.examine)

    async def ended(self) -> NoReturn:
        """Wait until nothing can be written any more (damage, another instance took over), then raise the reason."""
        error = await self._ended.get()
        self._ended.put_nowait(error)
        raise error

    def may_send(self) -> bool:
        """Whether requests and messages may leave: in a cluster only while the lease is certain to be held."""
        return self._backend.lease_remaining() > 0

    def lease_remaining(self) -> float:
        """Seconds until nothing may be sent any more; infinite outside a cluster."""
        return self._backend.lease_remaining()

    @property
    def examined(self) -> bool:
        """Whether the start checked everything for damage."""
        return self._backend.examined

    @property
    def outbox_changes(self) -> int:
        """How many transactions of this process may have changed the outbox."""
        return 0 if self._writer is None else self._writer.outbox_changes

    @property
    def storage_up(self) -> bool:
        """Whether the last write succeeded."""
        return self._writer is not None and self._writer.failing_since is None and self._writer.ended_by is None

    @property
    def failing_since(self) -> datetime | None:
        """Since when writes have failed, None while they succeed."""
        return None if self._writer is None else self._writer.failing_since

    @property
    def failure(self) -> str:
        """The message of the last failed write."""
        return "" if self._writer is None else self._writer.failure


def _instance_id(store: Store) -> str:
    instance = read_meta(store, "instance_id")
    if instance is None:
        # Two nodes of a cluster may start at the same time: the first one's stays.
        store.change(_ADD_META, {"key": "instance_id", "value": secrets.token_hex(4)})
        instance = read_meta(store, "instance_id") or ""
    return instance


def backend_of(address: URL, clock: Clock, owner: str, standby_lease: timedelta | None = None) -> Backend:
    """The backend of the database at *address*; *owner* names this process to others."""
    if address.get_backend_name() == "sqlite":
        return SqliteBackend(Path(address.database or ""), clock=clock, owner=owner)
    if standby_lease is not None:
        return PostgresBackend(address, owner=owner, clock=clock, lease=standby_lease, standby=True)
    return PostgresBackend(address, owner=owner, clock=clock)
