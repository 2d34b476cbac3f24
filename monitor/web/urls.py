"""Paths of pages, and routes. Links are relative, so that the port can be served below any prefix of a proxy."""

from collections.abc import Awaitable, Callable
from urllib.parse import quote

from aiohttp import web

from monitor.domain.connections import Connection

Key = tuple[str, str, str]

ACTOR = web.RequestKey("actor", str)
"""Under which name a request has its authenticated user."""

NO_USER = "-"
"""Stands in a path for the owner of the account, where a managed user's id would be."""

CONNECTION_PATH = "/connections/{account:[^/]+}/{user:[^/]+}/{platform_id:[^/]+}"


def connection_path(connection: Connection) -> str:
    """The page of a connection, relative to the root: `connections/<account>/<user or ->/<platform id>`."""
    return "/".join(
        ("connections", url_part(connection.account), url_part(connection.user_id or NO_USER), url_part(connection.platform_id))
    )


def connection_key(request: web.Request) -> Key:
    """The account, managed user and platform id in the path of a connection's page."""
    account, user, platform_id = (request.match_info[name] for name in ("account", "user", "platform_id"))
    return (account, "" if user == NO_USER else user, platform_id)


def url_part(text: str) -> str:
    """*text* as one part of an address."""
    return quote(text, safe="", errors="replace")


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def route(path: str, handler: Handler) -> web.RouteDef:
    """The route of every method, so that one place refuses all but GET and HEAD, and `Expect` headers are ignored."""
    return web.route("*", path, handler, expect_handler=_ignore_expect)


async def _ignore_expect(_: web.Request) -> None:
    """No interim answer: bodies are not read."""
