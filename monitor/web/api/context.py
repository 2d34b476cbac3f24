"""Context shared by the route handlers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from aiohttp import web

from monitor.clock import Clock, iso_utc
from monitor.db import Reader, connections_by_id, read_connections
from monitor.domain.connections import Connection, matching
from monitor.domain.policy import Policy
from monitor.domain.views.snapshot import ConnectionView
from monitor.errors import StoreError
from monitor.logs import get_logger
from monitor.schemas.api import ApiDocument
from monitor.schemas.facts import VERSION, encode
from monitor.web.api.problems import ApiProblem
from monitor.web.db_access import ReadLimiter
from monitor.web.status.board import StatusBoard
from monitor.web.status.present import Present
from monitor.web.status.snapshot_cache import SnapshotCache

_log = get_logger(__name__)

_JSON = "application/json; charset=utf-8"
_RETRY_AFTER_SECONDS = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ApiContext:
    """Context shared by the route handlers."""

    snapshots: SnapshotCache
    reads: ReadLimiter
    policy: Callable[[], Policy]
    clock: Clock
    present: Present
    instance: Callable[[], str] = lambda: ""

    def now(self) -> datetime:
        """The time."""
        return self.clock.now()

    def board(self) -> StatusBoard:
        """The snapshot, sorted."""
        return self.snapshots.board()

    def head(self) -> ApiDocument:
        """The first keys of every document."""
        return {"version": VERSION, "at": iso_utc(self.now())}

    async def query(self, work: Callable[[Reader], T]) -> T:
        """The result of *work* on the database. Raises `ApiProblem` 503 when it can't be read."""
        try:
            return await self.reads.run(work)
        except StoreError as error:
            _log.warning("web.read_failed", error=str(error))
            detail = "the database can't be read now; try again in a few seconds. What needs no rows, such as the summary, is still served."
            raise ApiProblem(503, detail, headers={"Retry-After": str(_RETRY_AFTER_SECONDS)}) from None

    def watched(self, platform_id: str, account: str | None) -> ConnectionView | None:
        """The watched connection with this id, None without one. Raises `ApiProblem` 409 when there are several."""
        views = {view.connection.id: view for view in self.board().snapshot.connections if view.connection.platform_id == platform_id}
        connection = only(matching((view.connection for view in views.values()), platform_id, account), platform_id)
        return views[connection.id] if connection is not None else None

    async def known(self, platform_id: str, account: str | None) -> Connection:
        """The connection with this id, watched or retired. Raises `ApiProblem` 404 or 409 when there is none, or several."""
        view = self.watched(platform_id, account)
        if view is not None:
            return view.connection
        retired = await self.query(lambda reader: read_connections(reader, platform_id, retired=True))
        connection = only(matching(retired, platform_id, account), platform_id)
        if connection is None:
            raise not_found(platform_id, account)
        return connection


def only(connections: Sequence[Connection], platform_id: str) -> Connection | None:
    """The only one of them, None when there is none. Raises `ApiProblem` 409 when there are several."""
    if len(connections) > 1:
        accounts = sorted(connection.account_label for connection in connections)
        raise ApiProblem(409, f"{platform_id} belongs to several accounts; add account={' or account='.join(accounts)}", allowed=accounts)
    return next(iter(connections), None)


def not_found(platform_id: str, account: str | None) -> ApiProblem:
    """The refusal of an unknown id."""
    where = f" in account {account}" if account is not None else ""
    return ApiProblem(404, f"there is no connection {platform_id}{where}; /api/v1/connections lists what there is")


def page_of(rows: Sequence[T], limit: int, cursor_of: Callable[[T], str]) -> tuple[Sequence[T], str | None]:
    """At most *limit* of the rows, which were queried with one more, and the cursor after them."""
    return (rows[:limit], cursor_of(rows[limit - 1])) if len(rows) > limit else (rows, None)


def json_response(document: Mapping[str, object]) -> web.Response:
    """A document as a response."""
    return web.Response(body=encode(document), headers={"Content-Type": _JSON})


def connections_of(reader: Reader, ids: Iterable[int | None]) -> dict[int | None, Connection]:
    """Number to connection, for those that rows refer to."""
    return {connection.id: connection for connection in connections_by_id(reader, {number for number in ids if number is not None})}
