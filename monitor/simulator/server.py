"""The simulated PostPost on a port: the three documented endpoints, and the control API beside them."""

import json
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from monitor.simulator import gate, replies
from monitor.simulator.behaviour import Behaviour, Kind, Script
from monitor.simulator.control import Control
from monitor.simulator.journal import Journal, Visit
from monitor.simulator.platforms import Generation
from monitor.simulator.serving import Act, DateHeader, LocalServer, hang_up, is_local, respond
from monitor.simulator.world import SimulatedAccount, World

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


class SimulatorServer:
    """
    Serves *world* as the API does. It can be started again after `close`, on the same port, to rehearse an outage.

    Attributes:
        world: may be changed at any time.
        journal: what was asked.
        base_url: ends in `/api/v1`; empty before the start.
    """

    def __init__(self, world: World, *, journal_limit: int = 10_000) -> None:
        self.world = world
        self.journal = Journal(journal_limit)
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
        visit = Visit(clock.now(), clock.monotonic(), request.method, path)
        self.journal.begin(visit)
        status = 0
        try:
            response = await self._serve(request, visit)
            status = response.status if response is not None else 0
        finally:
            self.journal.end(visit, status, clock.monotonic())
        return response if response is not None else hang_up(request)

    async def _serve(self, request: web.BaseRequest, visit: Visit) -> web.StreamResponse | None:
        account = gate.identify(self.world, request.headers)
        if isinstance(account, SimulatedAccount):
            self.journal.recognised(visit, account.name, request.headers.get(self.world.brand.user_header, ""))
        act = Act(request, self.world.clock, self._server.closing, str(self._date))
        await act.pause(self._latency())
        scripts, answer = self._decide(request, visit, account)
        response = self._ordinary(answer, visit)
        step = await _first(scripts, act)
        return response if step is None else await act.perform(step, response)

    def _decide(
        self, request: web.BaseRequest, visit: Visit, account: SimulatedAccount | gate.Refusal
    ) -> tuple[list[Script], tuple[int, Any] | None]:
        """The ordinary answer, and the scripts that may have something else to say, from the widest to the narrowest."""
        scripts: list[Script] = [self.world.script]
        if isinstance(account, gate.Refusal):
            return scripts, (account.status, {"error": account.error})
        scripts.append(account.script)
        caller = gate.admit(self.world, account, request.headers)
        if isinstance(caller, gate.Refusal):
            return scripts, (caller.status, {"error": caller.error})
        scripts.append(caller.user.script)
        return scripts, self._route(caller, visit, scripts)

    def _route(self, caller: gate.Caller, visit: Visit, scripts: list[Script]) -> tuple[int, Any] | None:
        """The ordinary answer of an admitted caller; None when there is no such endpoint."""
        path = visit.path.removesuffix("/")
        if visit.method == "POST" and path.startswith(_TEST) and "/" not in path[len(_TEST) :]:
            return self._test(caller, unquote(path[len(_TEST) :]), scripts)
        if visit.method in ("GET", "HEAD") and path == _LIST:
            return 200, replies.list_document(self.world, caller.user.connections)
        if visit.method in ("GET", "HEAD") and path == _USERS:
            if not caller.account.workspaces:
                return 403, {"error": "Workspace access is not enabled for this key"}
            return 200, replies.users_document(caller.account)
        return None

    def _test(self, caller: gate.Caller, platform_id: str, scripts: list[Script]) -> tuple[int, Any]:
        if not self._is_readable(platform_id):
            return 400, {"error": "Invalid platformId format"}
        connection = caller.user.connections.get(platform_id)
        if connection is None or not connection.known:
            return 404, {"error": "Connection not found"}
        scripts.append(connection.script)
        return 200, replies.verdict_document(self.world, connection)

    def _is_readable(self, platform_id: str) -> bool:
        platform, dash, rest = platform_id.partition("-")
        if not (platform and dash and rest):
            return False
        if self.world.two_part_ids and "-" in rest:
            return False
        if self.world.generation is Generation.MARCH:
            return True
        return platform.islower() and not any(mark in platform_id for mark in "/?# \t")

    def _ordinary(self, answer: tuple[int, Any] | None, visit: Visit) -> web.Response:
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


async def _first(scripts: list[Script], act: Act) -> Behaviour | None:
    """The first script's step that is more than a delay; delays on the way are waited out."""
    for script in scripts:
        step = script.take()
        if step is None:
            continue
        if step.kind is not Kind.SLOW:
            return step
        await act.pause(step.delay.total_seconds())
    return None
