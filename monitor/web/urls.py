"""Paths of pages, and routes. Links are relative, so that the port can be served below any prefix of a proxy."""

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from monitor.text.links import NO_USER

Key = tuple[str, str, str]

ACTOR = web.RequestKey("actor", str)
"""Under which name a request has its authenticated user."""

FEED_PATH = "/calendar.ics"
CONNECTION_PATH = "/connections/{account:[^/]+}/{user:[^/]+}/{platform_id:[^/]+}"


def connection_key(request: web.Request) -> Key:
    """The account, managed user and platform id in the path of a connection's page."""
    account, user, platform_id = (request.match_info[name] for name in ("account", "user", "platform_id"))
    return (account, "" if user == NO_USER else user, platform_id)


def content_policy(forms_lead_to: str = "") -> str:
    """The Content-Security-Policy of a page; browsers apply it to where the answer to a form redirects, too."""
    parts = urlsplit(forms_lead_to)
    forms = f"'self' {parts.scheme}://{parts.netloc.rpartition('@')[2]}" if forms_lead_to else "'self'"
    return (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        f"form-action {forms}; frame-ancestors 'none'; base-uri 'none'"
    )


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def route(path: str, handler: Handler) -> web.RouteDef:
    """The route of every method, so that one place refuses all but GET and HEAD, and `Expect` headers are ignored."""
    return web.route("*", path, handler, expect_handler=_ignore_expect)


async def _ignore_expect(_: web.Request) -> None:
    """No interim answer: bodies are not read."""
