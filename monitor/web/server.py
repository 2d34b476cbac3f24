"""
Aiohttp application, listening, middlewares, metrics and health.

    /                    the status page; the other pages are listed in `site`
    /metrics             for Prometheus
    /-/healthy           200 while the process answers
    /-/ready             200 while it does its work, 503 and the reason otherwise
    /api/v1/...          the same and more as JSON; /api/v1/openapi.json describes it
    /badges/...          how a connection is, as a small picture
    /static/...          what the status page needs

GET and HEAD only: nothing can be changed through it, so there is nothing to forge. Who may ask is a configuration's
`Admission`, which a reload replaces in one step.
"""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable, Mapping

import structlog
from aiohttp import web

from monitor.clock import Clock
from monitor.config import SecretProblem, WebConfig, WebSettings
from monitor.domain.policy import Policy
from monitor.domain.snapshot import Snapshot
from monitor.errors import ConfigError, Problem
from monitor.metrics import OPENMETRICS, TEXT, Metrics, wants_openmetrics
from monitor.web.answers import PLAIN, WebResponse
from monitor.web.api.context import ApiContext
from monitor.web.api.setup import JsonApi, is_of_api, refusal
from monitor.web.auth import Authenticator, TooManyAttempts
from monitor.web.connection_limits import ConnectionLimiter, LimitedHandler, Limits
from monitor.web.db_access import Read, ReadLimiter
from monitor.web.pages.routes import Site
from monitor.web.status.board import SnapshotCache

_log = structlog.get_logger(__name__)

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
    401: "Name and password are needed, or a token: as a bearer token, or as the password of any user.",
    403: "The certificate that was shown is not one of those that are let in.",
    404: "There is nothing here.",
    405: "Nothing can be changed here: GET and HEAD only.",
    421: "This name is not served here; add it to web.allowed_hosts if it should be.",
    431: "The head of this request is too large.",
    500: "The monitor failed to answer; see its log.",
    503: "Too many passwords are being tried; try again in a moment.",
}
_OPEN_PATHS = frozenset({"/-/healthy", "/-/ready"})


class WebServer:
    """
    Serves the picture of the monitor.

    Args:
        settings: where to listen, and who may ask.
        file: what the file of `web.config_file` says.
        metrics: what is counted.
        source: gives the picture; asked at most once per *fresh_seconds*.
        clock: the time.
        readiness: whether the monitor does its work, and why not.
        policy: gives the policy that holds now.
        read: asks the database; without it, what needs rows says that it can't be had.
        instance: names this monitor in incident keys.
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
        file: WebConfig | None = None,
        policy: Callable[[], Policy] = Policy,
        read: Read | None = None,
        instance: Callable[[], str] = lambda: "",
        limits: Limits | None = None,
        fresh_seconds: float = 1.0,
    ) -> None:
        self._settings = settings
        self._file = file if file is not None else WebConfig()
        self._clock = clock
        self._readiness = readiness
        self._pictures = SnapshotCache(source, metrics, clock, fresh_seconds)
        self._records = ReadLimiter(read)
        self._api = JsonApi(ApiContext(self._pictures, self._records, policy, clock))
        self._doorkeeper = ConnectionLimiter(limits if limits is not None else Limits())
        self._instance = instance
        self._site = self._build_site(settings)
        self._admission = _nobody(settings)
        self._web: web.Server | None = None
        self._listener: Listener | None = None

    async def start(self) -> str:
        """
        Listen; returns the address, such as `http://127.0.0.1:9840`.

        Raises:
            ConfigError: the port is taken, the address is not one of this machine, or a certificate can't be used.
        """
        loop = asyncio.get_running_loop()
        admission = await self.prepare(self._settings, self._file)
        server = web.Server(self._handle, handler_cancellation=True)
        listener = Listener(
            self._doorkeeper,
            lambda: LimitedHandler(server, self._doorkeeper, self._refused, loop=loop),
            lambda: self._admission.tls.context if self._admission.tls is not None else None,
            self._clock,
        )
        host = self._settings.host
        self._admission = admission
        try:
            bound = await listener.open(host, self._settings.port)
        except OSError as error:
            admission.close()
            # Of a port that is taken the event loop's words name the address a second and a third time.
            cause = os.strerror(errno.EADDRINUSE) if error.errno == errno.EADDRINUSE else error.strerror
            problem = Problem("web.listen", f"can't listen on {self._settings.listen}: {cause}", "choose another address or port")
            raise ConfigError((problem,)) from None
        self._web, self._listener = server, listener
        scheme = "http" if admission.tls is None else "https"
        return f"{scheme}://[{host}]:{bound}" if ":" in host else f"{scheme}://{host}:{bound}"

    async def prepare(self, settings: WebSettings, file: WebConfig) -> Authenticator:
        """
        Who may ask by these settings, completely made; `adopt` puts it into force.

        Raises:
            ConfigError: a certificate can't be used.
        """
        # Where the port is open stays as it was at the start, and with it the names that it answers to.
        settings = settings.model_copy(update={"listen": self._settings.listen})
        try:
            return await asyncio.to_thread(Authenticator.of, settings, file)
        except SecretProblem as error:
            raise ConfigError((Problem("web.config_file", str(error), error.fix),)) from None

    def adopt(self, settings: WebSettings, admission: Authenticator) -> None:
        """From the next request on, all but where to listen is as in *settings*, and who may ask as in *admission*."""
        replaced, self._admission = self._admission, admission
        replaced.close()
        if settings.status_page != self._settings.status_page:
            self._site = self._build_site(settings)
        self._settings = settings.model_copy(update={"listen": self._settings.listen})

    async def renew(self) -> bool:
        """
        Take up the files of TLS if they have changed; never more to do. What can't be used changes nothing, and is logged once.

        Raises:
            RuntimeError: nobody is let in any more.
        """
        if self._listener is not None:
            self._listener.check()
        admission = self._admission
        if admission.tls is None or not admission.tls.changed():
            return False
        try:
            await asyncio.to_thread(admission.tls.reload)
        except SecretProblem as error:
            _log.error("web.certificate_refused", problem=str(error), advice=error.fix)
        else:
            _log.info("web.certificate_renewed")
        return False

    async def close(self) -> None:
        """Stop listening, let answers under way finish for a second, then hang up; closing twice is fine."""
        listener, self._listener = self._listener, None
        server, self._web = self._web, None
        if listener is None or server is None:
            return
        await listener.close()
        await server.shutdown(_CLOSING_SECONDS)
        self._admission.close()

    def _build_site(self, settings: WebSettings) -> Site | None:
        return Site(self._pictures, self._records, self._clock, self._instance) if settings.status_page else None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if isinstance(request.protocol, LimitedHandler):
            request.protocol.begin()
        answer = await self._answer(request)
        if is_of_api(request.path):
            answer = refusal(answer)
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

    async def _answer(self, request: web.BaseRequest) -> WebResponse:
        path = request.path
        problem = self._objection(request) or (None if path in _OPEN_PATHS else await self._challenge(request))
        if problem is not None:
            return problem
        if path == "/-/healthy":
            return WebResponse(200, PLAIN, (b"healthy\n",))
        if path == "/-/ready":
            ready, reason = self._readiness()
            return WebResponse(200 if ready else 503, PLAIN, (f"{reason}\n".encode(errors="replace"),))
        if path == "/metrics":
            openmetrics = wants_openmetrics(request.headers.get("Accept", ""))
            return WebResponse(200, OPENMETRICS if openmetrics else TEXT, await self._pictures.text(openmetrics=openmetrics))
        return await self._page(path, request)

    def _objection(self, request: web.BaseRequest) -> WebResponse | None:
        """Why this is not answered at all, if so."""
        if request.method not in ("GET", "HEAD"):
            return _error(405, {"Allow": "GET, HEAD"})
        if not self._admission.hosts.serve(request.headers.getall("Host", [])):
            return _error(421)
        certificate = request.transport.get_extra_info("peercert") if request.transport is not None else None
        return None if self._admission.knows(certificate) else _error(403)

    async def _challenge(self, request: web.BaseRequest) -> WebResponse | None:
        """What is answered to who has not shown that they may ask."""
        given = request.headers.getall("Authorization", [])
        try:
            if await self._admission.authorises(given[0] if len(given) == 1 else ""):
                return None
        except TooManyAttempts:
            return _error(503, {"Retry-After": "1"})
        return _error(401, {"WWW-Authenticate": 'Basic realm="postpost-monitor", charset="UTF-8"'})

    def _refused(self, status: int) -> web.Response:
        """The answer where there was no request to handle."""
        text = _ERRORS.get(status, _ERRORS[500])
        response = web.Response(status=status, body=f"{text}\n".encode(), headers={"Content-Type": PLAIN, **SECURITY_HEADERS})
        response.force_close()
        return response

    async def _page(self, path: str, request: web.BaseRequest) -> WebResponse:
        if self._site is None:
            return _error(404)
        if is_of_api(path):
            return await self._api.answer(request.rel_url.raw_path, request.query.items())
        return await self._site.answer(request.raw_path.partition("?")[0], request.query) or _error(404)


def _error(status: int, headers: Mapping[str, str] | None = None) -> WebResponse:
    return WebResponse(status, PLAIN, (f"{_ERRORS[status]}\n".encode(),), headers)


def _nobody(settings: WebSettings) -> Authenticator:
    """Before the start: there is no port yet."""
    return Authenticator.of(settings, WebConfig())


_PAUSE_SECONDS = 1.0
_TLS_GOODBYE_SECONDS = 1.0
_THEIR_FAULT = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH})


class Listener:
    """
    Lets visitors in.

    Args:
        doorkeeper: decides who.
        visitor: makes the protocol of one connection.
        context: what the next connection is encrypted with; None: nothing.
        clock: the time.
    """

    def __init__(
        self,
        doorkeeper: ConnectionLimiter,
        visitor: Callable[[], LimitedHandler],
        context: Callable[[], ssl.SSLContext | None],
        clock: Clock,
    ) -> None:
        self._doorkeeper = doorkeeper
        self._visitor = visitor
        self._context = context
        self._clock = clock
        self._sockets: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, host: str, port: int) -> int:
        """Listen on every address of *host*; gives the port. Raises OSError."""
        loop = asyncio.get_running_loop()
        # The loop knows how names become sockets; it does not count visitors before their handshake, so accepting is done here.
        bound = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
        try:
            self._sockets = [each.dup() for each in bound.sockets]
            for each in self._sockets:
                each.setblocking(False)
                each.listen(self._doorkeeper.limits.connections)
        except OSError:
            await self.close()
            raise
        finally:
            bound.close()
        self._tasks = [loop.create_task(self._accept(each), name="web-accept") for each in self._sockets]
        number: int = self._sockets[0].getsockname()[1]
        return number

    def check(self) -> None:
        """Raise RuntimeError when somebody is no longer listened to: the process is better started anew."""
        for task in self._tasks:
            if task.done():
                raise RuntimeError("the web port lets nobody in any more") from (None if task.cancelled() else task.exception())

    async def close(self) -> None:
        """Let nobody in any more, and send away who has not asked yet; idempotent."""
        tasks, self._tasks = self._tasks, []
        sockets, self._sockets = self._sockets, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in sockets:
            each.close()
        self._doorkeeper.clear()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        failing = False
        while True:
            try:
                wire, _ = await loop.sock_accept(listening)
            except OSError as error:
                if error.errno in _THEIR_FAULT:
                    continue
                if not failing:
                    _log.error("web.deaf", problem=error.strerror, advice="Nobody is let in for now; see how many files are open.")
                failing = True
                await self._clock.sleep(_PAUSE_SECONDS)
                continue
            failing = False
            self._welcome(wire)

    def _welcome(self, wire: socket.socket) -> None:
        visitor = self._visitor()
        if not self._doorkeeper.admit(visitor):
            wire.close()
            return
        arrival = asyncio.get_running_loop().create_task(self._connect(wire, visitor), name="web-arrival")
        visitor.arrive(arrival)
        arrival.add_done_callback(lambda _: self._arrived(wire, visitor))

    async def _connect(self, wire: socket.socket, visitor: LimitedHandler) -> None:
        loop = asyncio.get_running_loop()
        context = self._context()
        times = (
            {}
            if context is None
            else {"ssl_handshake_timeout": self._doorkeeper.limits.head_seconds, "ssl_shutdown_timeout": _TLS_GOODBYE_SECONDS}
        )
        try:
            await loop.connect_accepted_socket(lambda: visitor, wire, ssl=context, **times)
        except OSError as error:
            # A port scan, a client that speaks plain HTTP or does not trust the certificate: their log tells them more.
            _log.debug("web.handshake_failed", problem=str(error))

    def _arrived(self, wire: socket.socket, visitor: LimitedHandler) -> None:
        if not visitor.is_inside:
            self._doorkeeper.leave(visitor)
            wire.close()
