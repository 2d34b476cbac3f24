"""Paths of pages, and routes. Links are relative, so that the port can be served below any prefix of a proxy."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from monitor.text.links import NO_USER

Key = tuple[str, str, str]

ACTOR = web.RequestKey("actor", str)
"""Under which name a request has its authenticated user."""

CONNECTION_PATH = "/connections/{account:[^/]+}/{user:[^/]+}/{platform_id:[^/]+}"


def connection_key(request: web.Request) -> Key:
    """The account, managed user and platform id in the path of a connection's page."""
    account, user, platform_id = (request.match_info[name] for name in ("account", "user", "platform_id"))
    return (account, "" if user == NO_USER else user, platform_id)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def route(path: str, handler: Handler) -> web.RouteDef:
    """The route of every method, so that one place refuses all but GET and HEAD, and `Expect` headers are ignored."""
    return web.route("*", path, handler, expect_handler=_ignore_expect)


async def _ignore_expect(_: web.Request) -> None:
    """No interim answer: bodies are not read."""
