"""What the routes answer from: the picture in memory, the rows, the policy, the time."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import structlog

from monitor.clock import Clock, iso_utc
from monitor.db import Reader, connections_by_id, read_connections
from monitor.domain.connections import Connection, matching
from monitor.domain.policy import Policy
from monitor.domain.snapshot import ConnectionView
from monitor.errors import StoreError
from monitor.schemas.api import ApiDocument
from monitor.schemas.facts import VERSION, encode
from monitor.web.answers import JSON, WebResponse
from monitor.web.api.problems import ApiProblem
from monitor.web.db_access import ReadLimiter
from monitor.web.status.board import SnapshotCache, StatusBoard

_log = structlog.get_logger(__name__)

_LATER_SECONDS = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ApiContext:
    """
    Where answers come from.

    Attributes:
        policy: the policy that holds now; a reload changes it.
    """

    pictures: SnapshotCache
    records: ReadLimiter
    policy: Callable[[], Policy]
    clock: Clock

    def now(self) -> datetime:
        """The time."""
        return self.clock.now()

    def board(self) -> StatusBoard:
        """The picture, sorted."""
        return self.pictures.board()

    def head(self) -> ApiDocument:
        """How every document begins."""
        return {"version": VERSION, "at": iso_utc(self.now())}

    async def ask(self, work: Callable[[Reader], T]) -> T:
        """What *work* finds in the database; refused with 503 when that can't be had."""
        try:
            return await self.records.ask(work)
        except StoreError as error:
            _log.warning("web.read_failed", error=str(error))
            detail = "the database can't be read now; try again in a few seconds. What needs no rows, such as the summary, is still served."
            raise ApiProblem(503, detail, headers={"Retry-After": str(_LATER_SECONDS)}) from None

    def watched(self, platform_id: str, account: str | None) -> ConnectionView | None:
        """The watched connection that is meant; refused when there are several."""
        views = {view.connection.id: view for view in self.board().snapshot.connections if view.connection.platform_id == platform_id}
        found = one_of(matching((view.connection for view in views.values()), platform_id, account), platform_id)
        return views[found.id] if found is not None else None

    async def known(self, platform_id: str, account: str | None) -> Connection:
        """The connection that is meant, watched now or once; refused when there is none, or several."""
        view = self.watched(platform_id, account)
        if view is not None:
            return view.connection
        once = await self.ask(lambda reader: read_connections(reader, platform_id, retired=True))
        found = one_of(matching(once, platform_id, account), platform_id)
        if found is None:
            raise not_found(platform_id, account)
        return found


def one_of(found: Sequence[Connection], platform_id: str) -> Connection | None:
    """The only one of them, None when there is none; refused when there are several."""
    if len(found) > 1:
        accounts = sorted(connection.account_label for connection in found)
        raise ApiProblem(409, f"{platform_id} belongs to several accounts; add account={' or account='.join(accounts)}", allowed=accounts)
    return next(iter(found), None)


def not_found(platform_id: str, account: str | None) -> ApiProblem:
    """The refusal of an id that nobody knows."""
    where = f" in account {account}" if account is not None else ""
    return ApiProblem(404, f"there is no connection {platform_id}{where}; /api/v1/connections lists what there is")


def page_of(rows: Sequence[T], limit: int, cursor_of: Callable[[T], str]) -> tuple[Sequence[T], str | None]:
    """At most *limit* rows, of which one more was asked for, and the cursor behind them."""
    return (rows[:limit], cursor_of(rows[limit - 1])) if len(rows) > limit else (rows, None)


def json_answer(document: ApiDocument) -> WebResponse:
    """A document on the wire."""
    return WebResponse(200, JSON, (encode(document),))


def named(reader: Reader, ids: Iterable[int | None]) -> dict[int | None, Connection]:
    """Number to connection, for those that rows speak of."""
    return {connection.id: connection for connection in connections_by_id(reader, {one for one in ids if one is not None})}
