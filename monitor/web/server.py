"""
Aiohttp application, listening, middlewares, metrics and health.

    /                    the status page; the other pages are listed in `pages.routes`
    /metrics             for Prometheus
    /-/healthy           200 while the process answers
    /-/ready             200 while the daemon works, 503 and the reason otherwise
    /api/v1/...          the same and more as JSON; /api/v1/reference describes it
    /badges/...          the state of a connection as a small picture
    /changes             server-sent events: the pages have changed
    /static/...          files of the pages

GET and HEAD only, unless `web.actions` is on: then POST to the forms (`pages.actions`) and routes (`api.actions`) of actions. Access is decided by the
`Authenticator` of a configuration, which a reload replaces in one step.
"""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, cast

from aiohttp import web

from monitor.clock import Clock
from monitor.config import SecretProblem, WebConfig, WebSettings
from monitor.domain.engine import Engine
from monitor.domain.policy import Policy
from monitor.domain.views.snapshot import Snapshot
from monitor.errors import ConfigError, PortUnavailable, Problem
from monitor.logs import get_logger
from monitor.metrics import OPENMETRICS, TEXT, Metrics, wants_openmetrics
from monitor.web.actions import Actions
from monitor.web.api.actions import post_routes
from monitor.web.api.context import ApiContext
from monitor.web.api.openapi import description
from monitor.web.api.problems import is_api_path, problem
from monitor.web.api.setup import api_routes
from monitor.web.auth import Authenticator, TooManyAttempts
from monitor.web.changes import ChangeStreams
from monitor.web.connection_limits import LARGEST_BODY, ConnectionLimiter, LimitedHandler, Limits
from monitor.web.db_access import Read, ReadLimiter
from monitor.web.pages.routes import Site
from monitor.web.response_cache import ResponseCache, accepts_gzip, compress
from monitor.web.status.present import Present
from monitor.web.status.snapshot_cache import SnapshotCache
from monitor.web.urls import ACTOR, Handler, content_policy, route

_log = get_logger(__name__)

_CLOSING_SECONDS = 1.0
_SLICE = 262_144
_PLAIN = "text/plain; charset=utf-8"
# Files that never change, and badges, which are small.
_NOT_KEPT = ("/static/", "/badges/")

SECURITY_HEADERS = {
    "Content-Security-Policy": content_policy(),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "postpost-monitor",
}
"""On every answer. No version: only who may read `/metrics` sees it."""

_ERRORS = {
    400: "Bad request.",
    401: "Authentication required: username and password, or a bearer token.",
    403: "Client certificate not allowed.",
    404: "Not found.",
    405: "Method not allowed: the header Allow names those that are.",
    413: "The form is too large.",
    421: "Unknown host; add it to web.allowed_hosts.",
    431: "Request header fields too large.",
    500: "Internal error; see the monitor's log.",
    503: "Too many login attempts; retry later.",
}
_ANYTHING = "/{path:(?s:.*)}"


class _Site(web.BaseSite):
    """Listens on an address; each connection gets its own protocol."""

    def __init__(self, runner: web.AppRunner, address: tuple[str, int], protocol: Callable[[], LimitedHandler], backlog: int) -> None:
        super().__init__(runner, backlog=backlog)
        self._address = address
        self._protocol = protocol

    @property
    def name(self) -> str:
        """The address."""
        return ":".join(map(str, self._address))

    async def start(self) -> None:
        """Listen. Raises OSError."""
        await super().start()
        self._server = await asyncio.get_running_loop().create_server(self._protocol, *self._address, backlog=self._backlog)


class WebServer:
    """
    The web port.

    Args:
        source: gives the snapshot; called at most once per *fresh_seconds*.
        exported: gives the one that the metrics are made of, where that is another one.
        read: reads the database; without it, whatever needs rows is unavailable.
        actions: does what operators ask for while `web.actions` is on; without it nothing can be changed.
        reload: reloads the configuration while `web.lifecycle` is on, and returns how many problems refused it; None for never.

    Attributes:
        limiter: counts the open connections.
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
        engine: Callable[[], Engine | None] = lambda: None,
        limits: Limits | None = None,
        actions: Actions | None = None,
        reload: Callable[[], Awaitable[int]] | None = None,
        exported: Callable[[], Snapshot] | None = None,
        fresh_seconds: float = 1.0,
    ) -> None:
        self._settings = settings
        self._file = file if file is not None else WebConfig()
        self._readiness = readiness
        self._clock = clock
        self._snapshots = SnapshotCache(source, metrics, clock, fresh_seconds, exported)
        self._authenticator = Authenticator.of(settings, WebConfig())
        self._accepts = True
        self.limiter = ConnectionLimiter(limits if limits is not None else Limits())
        reads = ReadLimiter(read)
        self._actions = actions
        self._reload = reload

        def acting() -> Actions | None:
            return self._actions if self._acts() else None

        dashboard = actions.dashboard if actions is not None else lambda: ""
        present = Present(self._snapshots, engine, instance, clock, dashboard)
        context = ApiContext(self._snapshots, reads, policy, clock, present, instance)
        pages = Site(self._snapshots, reads, clock, policy, present, instance, acting, dashboard=dashboard, description=description)
        forms = pages.actions.routes()
        posts = post_routes(context, acting)
        self._forms = {form.handler for form in forms}
        self._posts = {each.handler for each in (*forms, *posts)}
        self._changes = ChangeStreams(self._snapshots, clock)
        self._responses = ResponseCache(self._snapshots, clock, fresh_seconds)
        self._always = (self._healthy, self._ready, self._metrics, self._reload_now)
        self._runner = web.AppRunner(
            self._application(
                [*pages.routes(), route("/changes", self._changes.respond), *forms, *posts, *api_routes(context)], pages.nothing
            ),
            handler_cancellation=True,
            shutdown_timeout=_CLOSING_SECONDS,
        )

    def _acts(self) -> bool:
        """Whether operators may change something through the port."""
        return self._actions is not None and self._settings.actions and self._authenticator.required

    def _reloads(self) -> bool:
        """Whether the configuration may be reloaded through the port."""
        return self._reload is not None and self._settings.lifecycle and self._authenticator.required

    async def _reload_now(self, request: web.Request) -> web.Response:
        """Reload the configuration, and say whether it was taken. Its problems are in the log, because they name files."""
        problems = await self._reload() if self._reload is not None else 0
        if problems:
            return _error(request, 500)
        return web.Response(text="reloaded\n")

    def _application(self, optional: Iterable[web.RouteDef], nothing: Handler) -> web.Application:
        """The application; the *optional* routes, and *nothing* for any other address, exist while `web.status_page` is on."""
        application = web.Application(middlewares=[self._respond], client_max_size=LARGEST_BODY)
        application.on_response_prepare.append(self._add_headers)
        application.add_routes([route("/-/healthy", self._healthy), route("/-/ready", self._ready), route("/metrics", self._metrics)])
        application.add_routes([web.post("/-/reload", self._reload_now)])
        application.add_routes([*optional, route(_ANYTHING, nothing)])
        return application

    async def start(self) -> str:
        """
        Listen; returns the address, such as `http://127.0.0.1:9840`.

        Raises:
            PortUnavailable: the port is taken, or the address is not one of this machine.
            ConfigError: a certificate can't be used.
        """
        authenticator = await self.prepare(self._settings, self._file)
        self._authenticator = authenticator
        await self._runner.setup()
        host, loop = self._settings.host, asyncio.get_running_loop()
        server = cast("web.Server", self._runner.server)

        def protocol() -> LimitedHandler:
            self._accepts = True
            tls = self._authenticator.tls
            return LimitedHandler(server, self.limiter, tls.context if tls is not None else None, self._early_response, loop=loop)

        loop.set_exception_handler(self._log_accept_failure)
        try:
            await _Site(self._runner, (host, self._settings.port), protocol, self.limiter.limits.connections).start()
        except OSError as error:
            await self.close()
            # Of a port that is taken the event loop's message names the address a second and a third time.
            why = os.strerror(errno.EADDRINUSE) if error.errno == errno.EADDRINUSE else error.strerror
            problem = Problem("web.listen", f"can't listen on {self._settings.listen}: {why}", "choose another address or port")
            raise PortUnavailable((problem,)) from None
        scheme = "http" if authenticator.tls is None else "https"
        bound = self._runner.addresses[0][1]
        return f"{scheme}://[{host}]:{bound}" if ":" in host else f"{scheme}://{host}:{bound}"

    async def prepare(self, settings: WebSettings, file: WebConfig) -> Authenticator:
        """The authenticator of these settings, completely made; `adopt` puts it into force. Raises ConfigError for a bad certificate."""
        # The port stays open where it was opened at the start, and with it the hosts that are allowed.
        settings = settings.model_copy(update={"listen": self._settings.listen})
        try:
            return await asyncio.to_thread(Authenticator.of, settings, file)
        except SecretProblem as error:
            raise ConfigError((Problem("web.config_file", str(error), error.fix),)) from None

    def adopt(self, settings: WebSettings, authenticator: Authenticator) -> None:
        """Use *settings*, except where to listen, and *authenticator* from the next request on."""
        replaced, self._authenticator = self._authenticator, authenticator
        replaced.close()
        self.limiter.end_generation()
        self._changes.end()
        self._responses.clear()
        self._settings = settings.model_copy(update={"listen": self._settings.listen})

    async def renew(self) -> bool:
        """Load the files of TLS if they have changed. If they can't be used, log it once and change nothing. There is never more to do."""
        tls = self._authenticator.tls
        if tls is None or not tls.changed():
            return False
        try:
            await asyncio.to_thread(tls.reload)
        except SecretProblem as error:
            _log.error("web.certificate_refused", problem=str(error), advice=error.fix)
        else:
            self.limiter.end_generation()
            _log.info("web.certificate_renewed")
        return False

    async def close(self) -> None:
        """Stop listening, give running answers a second to finish, then close all connections; idempotent."""
        for site in self._runner.sites:
            await site.stop()
        self._changes.end()
        self.limiter.close_idle()
        await self._runner.cleanup()
        asyncio.get_running_loop().set_exception_handler(None)
        self._authenticator.close()

    def _log_accept_failure(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log the first failure to accept a connection, which the event loop retries every second, as an event of ours."""
        error = context.get("exception")
        if not isinstance(error, OSError) or "accept" not in context["message"]:
            loop.default_exception_handler(context)
        elif self._accepts:
            self._accepts = False
            _log.error(
                "web.accept_failed", problem=error.strerror, advice="No connection is accepted for now; check the number of open files."
            )

    @web.middleware
    async def _respond(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check the request, then answer it; errors are problem documents below `/api/` and plain text elsewhere."""
        if isinstance(request.protocol, LimitedHandler):
            request.protocol.begin()
        response: web.StreamResponse | None = self._objection(request) or await self._challenge(request)
        if response is None and (self._settings.status_page or request.match_info.handler in self._always):
            with suppress(web.HTTPNotFound):
                response = await self._make(request, handler)
                if request.method == "POST":
                    # What was done is shown at once.
                    self._responses.clear()
        if response is None:
            response = _error(request, 404)
        if not _keeps_connection(request, response):
            response.force_close()
        return response

    async def _make(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Have *handler* answer; pages and documents are kept, and what is large is compressed."""
        handled = request.match_info.handler
        # A form has the token of one operator: it is for that operator alone, and compressed it would leak it. Other pages have no secret.
        if handled in (*self._always, self._changes.respond) or handled in self._forms:
            return await handler(request)
        if handled not in self._posts and not request.path.startswith(_NOT_KEPT):
            return await self._responses.respond(request, partial(self._with_board, handler))
        response = await self._with_board(handler, request)
        compress(request, response)
        return response

    async def _with_board(self, handler: Handler, request: web.Request) -> web.StreamResponse:
        """Have *handler* answer; the snapshot is sorted before, which takes long enough to let other tasks run in between."""
        self._snapshots.board()
        await self._clock.sleep(0)
        return await handler(request)

    def _objection(self, request: web.Request) -> web.Response | None:
        """The refusal of a request that is not answered for anyone."""
        acts = request.method == "POST" and self._acts() and request.match_info.handler in self._posts
        if acts and ("Transfer-Encoding" in request.headers or (request.content_length or 0) > LARGEST_BODY):
            return _error(request, 413)
        reloads = request.method == "POST" and self._reloads() and request.match_info.handler == self._reload_now
        # A browser that is logged in may be led here by another site; what reloads is a script.
        if reloads and ("Origin" in request.headers or (request.content_length or 0) or "Transfer-Encoding" in request.headers):
            return _error(request, 400)
        if request.method not in ("GET", "HEAD") and not acts and not reloads:
            return _error(request, 405, {"Allow": self._methods_of(request)})
        if not self._authenticator.hosts.serve(request.headers.getall("Host", [])):
            return _error(request, 421)
        certificate = request.transport.get_extra_info("peercert") if request.transport is not None else None
        return None if self._authenticator.allows_certificate(certificate) else _error(request, 403)

    def _methods_of(self, request: web.Request) -> str:
        handler = request.match_info.handler
        if not self._acts() or handler not in self._posts:
            return "GET, HEAD"
        return "GET, HEAD, POST" if handler in self._forms else "POST"

    async def _challenge(self, request: web.Request) -> web.Response | None:
        """The refusal of a request without the credentials that its route needs."""
        if request.match_info.handler in (self._healthy, self._ready):
            return None
        given = request.headers.getall("Authorization", [])
        try:
            actor = await self._authenticator.identify(given[0] if len(given) == 1 else "")
            if actor is not None:
                request[ACTOR] = actor
                return None
        except TooManyAttempts:
            return _error(request, 503, {"Retry-After": "1"})
        return _error(request, 401, {"WWW-Authenticate": 'Basic realm="postpost-monitor", charset="UTF-8"'})

    async def _add_headers(self, _: web.Request, response: web.StreamResponse) -> None:
        for name, value in SECURITY_HEADERS.items():
            # The library has put its own name there already.
            if name == "Server" or name not in response.headers:
                response.headers[name] = value

    def _early_response(self, status: int) -> web.Response:
        """The answer where there is no request to handle."""
        response = _plain(status, _ERRORS.get(status, _ERRORS[500]), SECURITY_HEADERS)
        response.force_close()
        return response

    async def _healthy(self, _: web.Request) -> web.StreamResponse:
        return _plain(200, "healthy")

    async def _ready(self, _: web.Request) -> web.StreamResponse:
        ready, reason = self._readiness()
        return _plain(200 if ready else 503, reason)

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        openmetrics = wants_openmetrics(request.headers.get("Accept", ""))
        gzip = accepts_gzip(request)
        pieces = await self._snapshots.text(openmetrics=openmetrics, gzip=gzip)
        headers = {"Content-Type": OPENMETRICS if openmetrics else TEXT, "Content-Length": str(sum(map(len, pieces)))}
        headers |= {"Vary": "Accept, Accept-Encoding"} | ({"Content-Encoding": "gzip"} if gzip else {})
        return web.Response(body=_sliced(pieces), headers=headers)


# A request with one of these may be followed by bytes that are not another request.
_WITH_MORE = ("Content-Length", "Transfer-Encoding", "Upgrade", "Expect")


def _keeps_connection(request: web.Request, response: web.StreamResponse) -> bool:
    """Whether another request may follow on the connection: after a plain request that was answered as it asked."""
    plain = not any(name in request.headers for name in _WITH_MORE)
    return plain and response.status in (200, 304) and isinstance(request.protocol, LimitedHandler)


async def _sliced(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Megabytes, a part at a time: the client's pace decides how much of them is in the socket's buffer."""
    for piece in pieces:
        for start in range(0, len(piece), _SLICE):
            yield piece[start : start + _SLICE]


def _plain(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=f"{text}\n".encode(errors="replace"), headers={"Content-Type": _PLAIN, **(headers or {})})


def _error(request: web.Request, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    if is_api_path(request.path):
        return problem(status, _ERRORS[status], headers=headers)
    return _plain(status, _ERRORS[status], headers)
