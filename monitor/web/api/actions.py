"""
What operators do through the API, by POST and with a bearer token: browsers send that for no other site.

    POST /api/v1/connections/{platformId}/check          test it now
    POST /api/v1/connections/{platformId}/silence        {"reason": ..., "for": "2h"}
    POST /api/v1/incidents/{incidentKey}/ack             {"reason": ...}
    POST /api/v1/silences/{number}/expire                end it
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from aiohttp import web

from monitor.domain.events import incident_key
from monitor.domain.snapshot import ConnectionView
from monitor.errors import StoreError
from monitor.schemas import facts
from monitor.text.durations import parse_duration
from monitor.web.actions import SILENCE_FOR, ActionRefused, Actions, TooManyActions
from monitor.web.api.context import ApiContext, json_response, not_found
from monitor.web.api.problems import ApiProblem
from monitor.web.urls import ACTOR, Handler, route

Body = Mapping[str, object]
Act = Callable[[web.Request, Actions, Body, str], Awaitable[Mapping[str, object]]]
_WRITE_SECONDS = 5.0


def post_routes(context: ApiContext, actions: Callable[[], Actions | None], instance: Callable[[], str]) -> list[web.RouteDef]:
    """Every route that changes something."""
    posts = _Posts(context, instance)
    routes: tuple[tuple[str, Act, frozenset[str]], ...] = (
        ("/api/v1/connections/{platform_id:[^/]+}/check", posts.check, frozenset()),
        ("/api/v1/connections/{platform_id:[^/]+}/silence", posts.silence, frozenset({"reason", "for"})),
        ("/api/v1/incidents/{key:[^/]+}/ack", posts.acknowledge, frozenset({"reason"})),
        ("/api/v1/silences/{number:[0-9]{1,15}}/expire", posts.end_silence, frozenset()),
    )
    return [route(path, _handler(actions, act, fields)) for path, act, fields in routes]


def _handler(actions: Callable[[], Actions | None], act: Act, fields: frozenset[str]) -> Handler:
    async def respond(request: web.Request) -> web.StreamResponse:
        try:
            return json_response(await _answer(request, actions(), act, fields))
        except ApiProblem as refused:
            return refused.response()

    return respond


async def _answer(request: web.Request, actions: Actions | None, act: Act, fields: frozenset[str]) -> Mapping[str, object]:
    if actions is None or request.method != "POST":
        raise ApiProblem(405, "this address takes POST only, while web.actions is on", headers={"Allow": "POST"})
    if not request.headers.get("Authorization", "").lower().startswith("bearer "):
        raise ApiProblem(403, "actions through the API need the token as a bearer token; the pages have forms for users")
    body = await _body(request, fields)
    try:
        async with asyncio.timeout(_WRITE_SECONDS):
            return await act(request, actions, body, request[ACTOR])
    except TooManyActions:
        raise ApiProblem(429, "too many actions within a minute; nothing was done", headers={"Retry-After": "60"}) from None
    except ActionRefused as refused:
        raise ApiProblem(400, f"{refused}; nothing was done") from None
    except (StoreError, TimeoutError):
        raise ApiProblem(503, "the database takes no writes now; nothing was done", headers={"Retry-After": "5"}) from None


async def _body(request: web.Request, fields: frozenset[str]) -> Body:
    """The JSON object in the body; none stands for an empty one."""
    try:
        text = await request.text()
        document = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError, LookupError):
        raise ApiProblem(400, "the body is not JSON") from None
    if not isinstance(document, dict):
        raise ApiProblem(400, "the body must be a JSON object")
    unknown = sorted(set(document) - fields)
    if unknown:
        raise ApiProblem(400, f"the body has an unknown field; there are {', '.join(sorted(fields)) or 'none'}", allowed=sorted(fields))
    for name, value in document.items():
        if not isinstance(value, str):
            raise ApiProblem(400, f"{name} must be a text")
    return document


class _Posts:
    """The actions, with what they need to find their subject."""

    def __init__(self, context: ApiContext, instance: Callable[[], str]) -> None:
        self._context = context
        self._instance = instance

    def _view(self, request: web.Request) -> ConnectionView:
        platform_id, account = request.match_info["platform_id"], request.query.get("account")
        view = self._context.watched(platform_id, account)
        if view is None:
            raise not_found(platform_id, account)
        return view

    async def check(self, request: web.Request, actions: Actions, _: Body, author: str) -> Mapping[str, object]:
        """Have a connection tested now."""
        view = self._view(request)
        await actions.check(view.connection, author)
        return {**self._context.head(), "connection": facts.identity(view.connection), "author": author}

    async def silence(self, request: web.Request, actions: Actions, body: Body, author: str) -> Mapping[str, object]:
        """Silence a connection."""
        view = self._view(request)
        silence = await actions.silence(view.connection, author, str(body.get("reason", "")), _duration(body.get("for")))
        return {**self._context.head(), "silence": facts.silence(silence)}

    async def acknowledge(self, request: web.Request, actions: Actions, body: Body, author: str) -> Mapping[str, object]:
        """Acknowledge an incident."""
        key, instance = request.match_info["key"], self._instance()
        incidents = self._context.board().snapshot.incidents
        incident = next((each for each in incidents if incident_key(each.incident, instance) == key), None)
        if incident is None:
            raise ApiProblem(404, "there is no open incident with this key; /api/v1/incidents?open=true lists them")
        ack = await actions.acknowledge(incident, author, str(body.get("reason", "")))
        return {**self._context.head(), "incidentKey": key, "ackedBy": facts.acked_by(ack)}

    async def end_silence(self, request: web.Request, actions: Actions, _: Body, author: str) -> Mapping[str, object]:
        """End a silence."""
        number = int(request.match_info["number"])
        await actions.end_silence(number, author)
        return {**self._context.head(), "expired": number, "author": author}


def _duration(text: object) -> timedelta:
    if text is None:
        return SILENCE_FOR
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ApiProblem(400, f"for {error.args[0]}, such as 2h") from None
