"""The API on a port, with its authentication."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from monitor.simulator import responses
from monitor.simulator.control import Control
from monitor.simulator.faults import Fault, FaultKind, FaultScript
from monitor.simulator.http import Act, DateHeader, LocalServer, hang_up, is_local, respond
from monitor.simulator.platforms import Generation
from monitor.simulator.request_log import LoggedRequest, RequestLog
from monitor.simulator.state import SimulatedAccount, SimulatedApi, SimulatedUser

PREFIX = "/api/v1"
CONTROL_PREFIX = "/_sim"
_TEST = f"{PREFIX}/test-connection/"
_LIST = f"{PREFIX}/platform-connections"
_USERS = f"{PREFIX}/workspace/users"
_JSON = "application/json; charset=utf-8"
_NOT_FOUND_PAGE = (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Error</title>\n</head>\n'
    "<body>\n<pre>Cannot {} {}</pre>\n</body>\n</html>\n"
)
# Successive requests take their places between the shortest and the longest latency, evenly and without chance.
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class Caller:
    """An admitted caller; `user` is the owner, or the managed user the call is about."""

    account: SimulatedAccount
    user: SimulatedUser


@dataclass(frozen=True, slots=True)
class Refusal:
    """The status and the `error` text a caller is turned away with."""

    status: int
    error: str


class SimulatorServer:
    """
    Serves *world* as the API does. It can be started again after `close`, on the same port, to rehearse an outage.

    Attributes:
        world: may be changed at any time.
        journal: what was asked.
        base_url: ends in `/api/v1`; empty before the start.
    """

    def __init__(self, world: SimulatedApi, *, journal_limit: int = 10_000) -> None:
        self.world = world
        self.journal = RequestLog(journal_limit)
        self.base_url = ""
        self._control = Control(world, self.journal)
        self._server = LocalServer(self._handle)
        self._date = DateHeader(world.clock)
        self._turn = 0.0

    @property
    def control_url(self) -> str:
        """Where the control API is, without a slash at the end."""
        return self.base_url.removesuffix(PREFIX) + CONTROL_PREFIX

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """
        Listen; returns the base URL for clients, which ends in `/api/v1`.

        Raises:
            OSError: the port is taken, or the host is not one of this machine.
        """
        origin = await self._server.start(host, port)
        self.base_url = origin + PREFIX
        self._control.host = origin.removeprefix("http://")
        return self.base_url

    async def close(self) -> None:
        """Stop at once, hanging requests included; closing twice is fine."""
        await self._server.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        if path.startswith(CONTROL_PREFIX):
            return await self._steer(request, path, query)
        clock = self.world.clock
        visit = LoggedRequest(clock.now(), clock.monotonic(), request.method, path)
        self.journal.begin(visit)
        status = 0
        try:
            response = await self._serve(request, visit)
            status = response.status if response is not None else 0
        finally:
            self.journal.end(visit, status, clock.monotonic())
        return response if response is not None else hang_up(request)

    async def _serve(self, request: web.BaseRequest, visit: LoggedRequest) -> web.StreamResponse | None:
        account = identify(self.world, request.headers)
        if isinstance(account, SimulatedAccount):
            self.journal.recognised(visit, account.name, request.headers.get(self.world.brand.user_header, ""))
        act = Act(request, self.world.clock, self._server.closing, str(self._date))
        await act.pause(self._latency())
        scripts, answer = self._decide(request, visit, account)
        response = self._ordinary(answer, visit)
        step = await _first(scripts, act)
        return response if step is None else await act.perform(step, response)

    def _decide(
        self, request: web.BaseRequest, visit: LoggedRequest, account: SimulatedAccount | Refusal
    ) -> tuple[list[FaultScript], tuple[int, Any] | None]:
        """The ordinary answer, and the scripts that may have something else to say, from the widest to the narrowest."""
        scripts: list[FaultScript] = [self.world.script]
        if isinstance(account, Refusal):
            return scripts, (account.status, {"error": account.error})
        scripts.append(account.script)
        caller = admit(self.world, account, request.headers)
        if isinstance(caller, Refusal):
            return scripts, (caller.status, {"error": caller.error})
        scripts.append(caller.user.script)
        return scripts, self._route(caller, visit, scripts)

    def _route(self, caller: Caller, visit: LoggedRequest, scripts: list[FaultScript]) -> tuple[int, Any] | None:
        """The ordinary answer of an admitted caller; None when there is no such endpoint."""
        path = visit.path.removesuffix("/")
        if visit.method == "POST" and path.startswith(_TEST) and "/" not in path[len(_TEST) :]:
            return self._test(caller, unquote(path[len(_TEST) :]), scripts)
        if visit.method in ("GET", "HEAD") and path == _LIST:
            return 200, responses.list_document(self.world, caller.user.connections)
        if visit.method in ("GET", "HEAD") and path == _USERS:
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

    def _ordinary(self, answer: tuple[int, Any] | None, visit: LoggedRequest) -> web.Response:
        if answer is None:
            page = _NOT_FOUND_PAGE.format(visit.method, visit.path).encode()
            return respond(404, page, {"Content-Type": "text/html; charset=utf-8", "Date": str(self._date)})
        status, document = answer
        body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        return respond(status, body, {"Content-Type": _JSON, "Date": str(self._date)})

    def _latency(self) -> float:
        shortest, longest = self.world.latency
        if not longest:
            return 0.0
        self._turn = (self._turn + _GOLDEN) % 1.0
        return (shortest + (longest - shortest) * self._turn).total_seconds()

    async def _steer(self, request: web.BaseRequest, path: str, query: str) -> web.StreamResponse:
        if not is_local(request.remote):
            return respond(403, b'{"error": "the control API answers this machine only"}', {"Content-Type": _JSON})
        body = await request.read()
        status, answer = self._control.answer(request.method, unquote(path[len(CONTROL_PREFIX) :]), query, body)
        if isinstance(answer, str):
            return respond(status, answer.encode(), {"Content-Type": "text/plain; charset=utf-8"})
        return respond(status, json.dumps(answer, ensure_ascii=False, indent=2).encode() + b"\n", {"Content-Type": _JSON})


async def _first(scripts: list[FaultScript], act: Act) -> Fault | None:
    """The first script's step that is more than a delay; delays on the way are waited out."""
    for script in scripts:
        step = script.take()
        if step is None:
            continue
        if step.kind is not FaultKind.SLOW:
            return step
        await act.pause(step.delay.total_seconds())
    return None


_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")


# In the order the API looks at them: the right, and what is said when it lacks.
_RIGHTS: tuple[tuple[Callable[[SimulatedAccount], bool], Refusal], ...] = (
    (lambda account: not account.crashed, Refusal(500, "Internal server error")),
    (lambda account: account.owner_found, Refusal(401, "Invalid API key owner")),
    (lambda account: account.api_access, Refusal(403, "API access is not enabled for this account")),
)


def identify(world: SimulatedApi, headers: Mapping[str, str]) -> SimulatedAccount | Refusal:
    """The account whose key the request carries."""
    key = headers.get(world.brand.key_header, "")
    if not key:
        return Refusal(401, "API key is required")
    return world.account_of(key) or Refusal(401, "Invalid API key")


def admit(world: SimulatedApi, account: SimulatedAccount, headers: Mapping[str, str]) -> Caller | Refusal:
    """Whose connections the caller may see, once the key is known to be good."""
    for holds, refusal in _RIGHTS:
        if not holds(account):
            return refusal
    if headers.get(world.brand.client_header) == "mcp" and not account.mcp_access:
        return Refusal(403, "MCP access is not enabled for this account")
    user_id = headers.get(world.brand.user_header)
    if not user_id:
        return Caller(account, account.owner)
    return _managed(world, account, user_id)


def _managed(world: SimulatedApi, account: SimulatedAccount, user_id: str) -> Caller | Refusal:
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
