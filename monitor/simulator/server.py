"""The API on a port, with its authentication."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from monitor.simulator import responses
from monitor.simulator.control import PREFIX as CONTROL_PREFIX
from monitor.simulator.control import Control
from monitor.simulator.faults import Fault, FaultKind, FaultScript
from monitor.simulator.http import JSON, LocalServer
from monitor.simulator.platforms import Generation
from monitor.simulator.request_log import LoggedRequest, RequestLog
from monitor.simulator.state import SimulatedAccount, SimulatedApi, SimulatedUser

PREFIX = "/api/v1"
_TEST = f"{PREFIX}/test-connection/"
_LIST = f"{PREFIX}/platform-connections"
_USERS = f"{PREFIX}/workspace/users"
_NOT_FOUND_PAGE = (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Error</title>\n</head>\n'
    "<body>\n<pre>Cannot {} {}</pre>\n</body>\n</html>\n"
)
# Spreads successive requests evenly between the shortest and the longest latency, without randomness.
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class Caller:
    """An authorised caller; `user` is the owner, or the managed user of the request."""

    account: SimulatedAccount
    user: SimulatedUser


@dataclass(frozen=True, slots=True)
class Refusal:
    """The status and the `error` text of a refused request."""

    status: int
    error: str


class SimulatorServer:
    """
    Serves *world* as the API does; can be started again after `close`, on the same port, to simulate an outage.

    Attributes:
        world: may be changed at any time.
        base_url: ends in `/api/v1`; empty before the start.
    """

    def __init__(self, world: SimulatedApi, *, journal_limit: int = 10_000) -> None:
        self.world = world
        self.journal = RequestLog(journal_limit)
        self.base_url = ""
        self._control = Control(world, self.journal)
        self._server = LocalServer(self._handle, world.clock)
        self._turn = 0.0

    @property
    def control_url(self) -> str:
        """The URL of the control API, without a slash at the end."""
        return self.base_url.removesuffix(PREFIX) + CONTROL_PREFIX

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen; returns the base URL for clients, which ends in `/api/v1`. Raises OSError: the port is in use, or not of this machine."""
        origin = await self._server.start(host, port)
        self.base_url = origin + PREFIX
        self._control.host = origin.removeprefix("http://")
        return self.base_url

    async def close(self) -> None:
        """Stop at once, open requests included; may be called twice."""
        await self._server.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse | None:
        path = request.raw_path.partition("?")[0]
        if path.startswith(CONTROL_PREFIX):
            return await self._server.control(request, self._control.answer)
        clock = self.world.clock
        logged = LoggedRequest(clock.now(), clock.monotonic(), request.method, path)
        self.journal.begin(logged)
        response = None
        try:
            response = await self._serve(request, logged)
        finally:
            self.journal.end(logged, response.status if response is not None else 0, clock.monotonic())
        return response

    async def _serve(self, request: web.BaseRequest, logged: LoggedRequest) -> web.StreamResponse | None:
        account = identify(self.world, request.headers)
        if isinstance(account, SimulatedAccount):
            self.journal.recognised(logged, account.name, request.headers.get(self.world.brand.user_header, ""))
        await self._server.pause(self._latency())
        scripts: list[FaultScript] = [self.world.script]
        response = self._ordinary(self._decide(request, logged, account, scripts), logged)
        fault = await self._first_fault(scripts)
        return response if fault is None else await self._server.perform(fault, request, response)

    async def _first_fault(self, scripts: list[FaultScript]) -> Fault | None:
        """The first fault that is more than a delay; delays before it are waited out."""
        for script in scripts:
            fault = script.take()
            if fault is not None and fault.kind is not FaultKind.SLOW:
                return fault
            await self._server.pause(fault.delay.total_seconds() if fault is not None else 0)
        return None

    def _decide(
        self, request: web.BaseRequest, logged: LoggedRequest, account: SimulatedAccount | Refusal, scripts: list[FaultScript]
    ) -> tuple[int, Any] | None:
        """The ordinary answer; adds to *scripts*, from the widest to the narrowest, those that may replace it."""
        if isinstance(account, Refusal):
            return account.status, {"error": account.error}
        scripts.append(account.script)
        caller = admit(self.world, account, request.headers)
        if isinstance(caller, Refusal):
            return caller.status, {"error": caller.error}
        scripts.append(caller.user.script)
        return self._route(caller, logged, scripts)

    def _route(self, caller: Caller, logged: LoggedRequest, scripts: list[FaultScript]) -> tuple[int, Any] | None:
        """The ordinary answer to an authorised caller; None when there is no such endpoint."""
        path = logged.path.removesuffix("/")
        if logged.method == "POST" and path.startswith(_TEST) and "/" not in path[len(_TEST) :]:
            return self._test(caller, unquote(path[len(_TEST) :]), scripts)
        if logged.method in ("GET", "HEAD") and path == _LIST:
            return 200, responses.list_document(self.world, caller.user.connections)
        if logged.method in ("GET", "HEAD") and path == _USERS:
            if not caller.account.workspaces:
                return 403, {"error": "Workspace access is not enabled for this key"}
            return 200, responses.users_document(caller.account)
        return None

    def _test(self, caller: Caller, platform_id: str, scripts: list[FaultScript]) -> tuple[int, Any]:
        if not self._is_readable(platform_id):
            return 400, {"error": "Invalid platformId format"}
        connection = caller.user.connections.get(platform_id)
        if connection is None or not connection.known:
            return 404, {"error": "Connection not found"}
        scripts.append(connection.script)
        return 200, responses.verdict_document(self.world, connection)

    def _is_readable(self, platform_id: str) -> bool:
        platform, dash, rest = platform_id.partition("-")
        if not (platform and dash and rest):
            return False
        if self.world.two_part_ids and "-" in rest:
            return False
        if self.world.generation is Generation.MARCH:
            return True
        return platform.islower() and not any(mark in platform_id for mark in "/?# \t")

    def _ordinary(self, answer: tuple[int, Any] | None, logged: LoggedRequest) -> web.Response:
        if answer is None:
            page = _NOT_FOUND_PAGE.format(logged.method, logged.path).encode()
            return self._server.respond(404, page, {"Content-Type": "text/html; charset=utf-8"})
        status, document = answer
        return self._server.respond(
            status, json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(), {"Content-Type": JSON}
        )

    def _latency(self) -> float:
        shortest, longest = self.world.latency
        self._turn = (self._turn + _GOLDEN) % 1.0
        return (shortest + (longest - shortest) * self._turn).total_seconds()


_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")


# In the order the API looks at them: the right, and what is said when it lacks.
_RIGHTS: tuple[tuple[Callable[[SimulatedAccount], bool], Refusal], ...] = (
    (lambda account: not account.crashed, Refusal(500, "Internal server error")),
    (lambda account: account.owner_found, Refusal(401, "Invalid API key owner")),
    (lambda account: account.api_access, Refusal(403, "API access is not enabled for this account")),
)


def identify(world: SimulatedApi, headers: Mapping[str, str]) -> SimulatedAccount | Refusal:
    """The account of the request's API key."""
    key = headers.get(world.brand.key_header, "")
    if not key:
        return Refusal(401, "API key is required")
    return world.account_of(key) or Refusal(401, "Invalid API key")


def admit(world: SimulatedApi, account: SimulatedAccount, headers: Mapping[str, str]) -> Caller | Refusal:
    """The caller of a request with a valid API key, if its account and its managed user are allowed."""
    for holds, refusal in _RIGHTS:
        if not holds(account):
            return refusal
    if headers.get(world.brand.client_header) == "mcp" and not account.mcp_access:
        return Refusal(403, "MCP access is not enabled for this account")
    user_id = headers.get(world.brand.user_header)
    if not user_id:
        return Caller(account, account.owner)
    return _managed_user(world, account, user_id)


def _managed_user(world: SimulatedApi, account: SimulatedAccount, user_id: str) -> Caller | Refusal:
    if not _OBJECT_ID.fullmatch(user_id):
        return Refusal(400, f"Invalid {world.brand.user_header}")
    if user_id == account.owner.id:
        return Caller(account, account.owner)
    if not account.workspaces:
        return Refusal(403, "Workspace access is not enabled for this key")
    user = account.users.get(user_id)
    if user is None or not user.attached:
        return Refusal(403, "User is not managed by key")
    return Caller(account, user)
