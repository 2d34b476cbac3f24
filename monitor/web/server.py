"""
The web port.

    /                    the status page
    /metrics             for Prometheus
    /-/healthy           200 while the process answers
    /-/ready             200 while it does its work, 503 and the reason otherwise
    /api/v1/summary      the head of the status page as JSON
    /api/v1/connections  its rows as JSON, with the same filters
    /static/...          what the status page needs

GET and HEAD only: nothing can be changed through it, so there is nothing to forge.
"""

import asyncio
from collections.abc import Callable, Mapping

from aiohttp import web

from monitor.clock import Clock
from monitor.config import WebSettings
from monitor.domain.snapshot import Snapshot
from monitor.errors import ConfigError, Problem
from monitor.metrics import OPENMETRICS, TEXT, Metrics, wants_openmetrics
from monitor.web import documents
from monitor.web.access import Hosts, is_authorised
from monitor.web.answers import HTML, JSON, PLAIN, Answer
from monitor.web.cache import Pictures
from monitor.web.guard import Doorkeeper, Limits, Visitor
from monitor.web.pages import Pages
from monitor.web.records import Read, Records
from monitor.web.views import Filters

_CLOSING_SECONDS = 1.0
_SLICE = 262_144

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "postpost-monitor",
}
"""On every answer. No version: that is for those who may read `/metrics`."""

_ERRORS = {
    400: "This is no request that can be understood.",
    401: "A token is needed: as a bearer token, or as the password of any user.",
    404: "There is nothing here.",
    405: "Nothing can be changed here: GET and HEAD only.",
    421: "This name is not served here; add it to web.allowed_hosts if it should be.",
    500: "The monitor failed to answer; see its log.",
}


class WebServer:
    """
    Serves the picture of the monitor.

    Args:
        settings: where to listen, and who may ask.
        metrics: what is counted.
        source: gives the picture; asked at most once per *fresh_seconds*.
        clock: the time.
        readiness: whether the monitor does its work, and why not.
        read: asks the database; without it, what needs rows says that it can't be had.
        limits: what one visitor may take.
        fresh_seconds: how old an answer may be.
    """

    def __init__(
        self,
        settings: WebSettings,
        metrics: Metrics,
        source: Callable[[], Snapshot],
        clock: Clock,
        readiness: Callable[[], tuple[bool, str]],
        *,
        read: Read | None = None,
        limits: Limits | None = None,
        fresh_seconds: float = 1.0,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._readiness = readiness
        self._pictures = Pictures(source, metrics, clock, fresh_seconds)
        self._records = Records(read)
        self._doorkeeper = Doorkeeper(limits if limits is not None else Limits())
        self._hosts = Hosts.of(settings.host, settings.allowed_hosts)
        self._pages = Pages() if settings.status_page else None
        self._web: web.Server | None = None
        self._listener: asyncio.Server | None = None

    async def start(self) -> str:
        """
        Listen; returns the address, such as `http://127.0.0.1:9840`.

        Raises:
            ConfigError: the port is taken, or the address is not one of this machine.
        """
        loop = asyncio.get_running_loop()
        server = web.Server(self._handle, handler_cancellation=True)
        host, port = self._settings.host, self._settings.port
        try:
            self._listener = await loop.create_server(
                lambda: Visitor(server, self._doorkeeper, _refused, loop=loop), host, port, backlog=self._doorkeeper.limits.connections
            )
        except OSError as error:
            problem = Problem("web.listen", f"can't listen on {self._settings.listen}: {error.strerror}", "choose another address or port")
            raise ConfigError((problem,)) from None
        self._web = server
        bound = self._listener.sockets[0].getsockname()[1]
        return f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}"

    async def close(self) -> None:
        """Stop listening, let answers under way finish for a second, then hang up; closing twice is fine."""
        listener, self._listener = self._listener, None
        server, self._web = self._web, None
        if listener is None or server is None:
            return
        listener.close()
        self._doorkeeper.clear()
        await server.shutdown(_CLOSING_SECONDS)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = await self._answer(request)
        response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.media_type, **SECURITY_HEADERS})
        response.headers.update(answer.headers or {})
        response.content_length = sum(map(len, answer.body))
        response.force_close()
        await response.prepare(request)
        if request.method != "HEAD":
            for piece in answer.body:
                for start in range(0, len(piece), _SLICE):
                    await response.write(piece[start : start + _SLICE])
        await response.write_eof()
        return response

    async def _answer(self, request: web.BaseRequest) -> Answer:
        problem = self._objection(request)
        if problem is not None:
            return problem
        path = request.path
        if path == "/-/healthy":
            return Answer(200, PLAIN, (b"healthy\n",))
        if path == "/-/ready":
            ready, reason = self._readiness()
            return Answer(200 if ready else 503, PLAIN, (f"{reason}\n".encode(errors="replace"),))
        token = self._settings.token
        if token is not None and not is_authorised(request.headers.get("Authorization", ""), token.reveal()):
            return _error(401, {"WWW-Authenticate": 'Basic realm="postpost-monitor", charset="UTF-8"'})
        if path == "/metrics":
            openmetrics = wants_openmetrics(request.headers.get("Accept", ""))
            return Answer(200, OPENMETRICS if openmetrics else TEXT, await self._pictures.text(openmetrics=openmetrics))
        return self._page(path, request)

    def _objection(self, request: web.BaseRequest) -> Answer | None:
        """Why this is not answered at all, if so."""
        if request.method not in ("GET", "HEAD"):
            return _error(405, {"Allow": "GET, HEAD"})
        if not self._hosts.serve(request.headers.getall("Host", [])):
            return _error(421)
        return None

    def _page(self, path: str, request: web.BaseRequest) -> Answer:
        if self._pages is None:
            return _error(404)
        static = self._pages.static.get(path.removeprefix("/static/")) if path.startswith("/static/") else None
        if static is not None:
            return Answer(200, static.media_type, (static.body,), {"Cache-Control": "max-age=86400"})
        now = self._clock.now()
        filters = Filters.of(request.query)
        if path == "/":
            return Answer(200, HTML, (self._pages.status(self._pictures.board(), filters, now),))
        if path == "/api/v1/summary":
            return Answer(200, JSON, (documents.encode(documents.summary(self._pictures.board(), now)),))
        if path == "/api/v1/connections":
            return Answer(200, JSON, (documents.encode(documents.connections(self._pictures.board(), filters, now)),))
        return _error(404)


def _error(status: int, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, PLAIN, (f"{_ERRORS[status]}\n".encode(),), headers)


def _refused(status: int) -> web.Response:
    """The answer where there was no request to handle."""
    text = _ERRORS.get(status, _ERRORS[500])
    response = web.Response(status=status, body=f"{text}\n".encode(), headers={"Content-Type": PLAIN, **SECURITY_HEADERS})
    response.force_close()
    return response
