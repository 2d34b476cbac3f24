"""What operators do through the API, by POST and with a bearer token: browsers send that for no other site."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from aiohttp import web

from monitor.db import notified_as
from monitor.domain.events import incident_key
from monitor.domain.views.snapshot import ConnectionView
from monitor.errors import StoreError
from monitor.schemas import api, facts
from monitor.text.durations import parse_duration
from monitor.web.actions import LONGEST_REASON, SILENCE_FOR, ActionRefused, Actions, TooManyActions
from monitor.web.api.context import ApiContext, json_response, not_found
from monitor.web.api.parameters import IncidentQuery, OneQuery, Query, SilenceQuery, parse, printable
from monitor.web.api.problems import ApiProblem
from monitor.web.urls import ACTOR, Handler, route

Body = Mapping[str, str]
_WRITE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Call:
    """One request to act: what does it, for whom, about what."""

    context: ApiContext
    actions: Actions
    query: Any
    body: Body
    author: str


@dataclass(frozen=True, slots=True)
class ActionRoute:
    """
    One route that changes something.

    Attributes:
        path, operation, summary, query, shape, refusals: as of an `ApiRoute`.
        fields: of the body: name to JSON schema; the first is required.
    """

    path: str
    operation: str
    summary: str
    act: Callable[[Call], Awaitable[Mapping[str, object]]]
    query: type[Query]
    shape: type
    fields: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    refusals: tuple[int, ...] = (404, 409)


def post_routes(context: ApiContext, actions: Callable[[], Actions | None]) -> list[web.RouteDef]:
    """Every route that changes something."""
    return [route(each.path.replace("}", ":[^/]+}"), _handler(context, actions, each)) for each in ACTION_ROUTES]


def _handler(context: ApiContext, actions: Callable[[], Actions | None], asked: ActionRoute) -> Handler:
    async def respond(request: web.Request) -> web.StreamResponse:
        try:
            return json_response(await _answer(request, context, actions(), asked))
        except ApiProblem as refused:
            return refused.response()

    return respond


async def _answer(request: web.Request, context: ApiContext, actions: Actions | None, asked: ActionRoute) -> Mapping[str, object]:
    if actions is None or request.method != "POST":
        raise ApiProblem(405, "this address takes POST only, while web.actions is on", headers={"Allow": "POST"})
    if not request.headers.get("Authorization", "").lower().startswith("bearer "):
        raise ApiProblem(403, "actions through the API need the token as a bearer token; the pages have forms for users")
    query = parse(asked.query, request.match_info, request.query.items())
    call = Call(context, actions, query, await _body(request, asked.fields), request[ACTOR])
    try:
        async with asyncio.timeout(_WRITE_SECONDS):
            return await asked.act(call)
    except TooManyActions:
        raise ApiProblem(429, "too many actions within a minute; nothing was done", headers={"Retry-After": "60"}) from None
    except ActionRefused as refused:
        raise ApiProblem(400, f"{refused}; nothing was done", field=refused.field) from None
    except (StoreError, TimeoutError):
        raise ApiProblem(503, "the database takes no writes now; nothing was done", headers={"Retry-After": "5"}) from None


async def _body(request: web.Request, fields: Mapping[str, object]) -> Body:
    """The JSON object in the body; none stands for an empty one."""
    try:
        text = await request.text()
        document = json.loads(text, object_pairs_hook=_object) if text.strip() else {}
    except (ValueError, RecursionError, LookupError, web.RequestPayloadError):
        raise ApiProblem(400, "the body is not JSON") from None
    except _RepeatedFieldError as repeated:
        raise ApiProblem(400, f"{printable(repeated.name)} may be given once", field=printable(repeated.name)) from None
    if not isinstance(document, dict):
        raise ApiProblem(400, "the body must be a JSON object")
    unknown = sorted(set(document) - set(fields))
    if unknown:
        text = f"the body has an unknown field; there are {', '.join(fields) or 'none'}"
        raise ApiProblem(400, text, field=printable(unknown[0]), allowed=list(fields))
    for name, value in document.items():
        if not isinstance(value, str):
            raise ApiProblem(400, f"{name} must be a text", field=name)
    return document


class _RepeatedFieldError(Exception):
    """An object in the body has a field twice."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document: dict[str, object] = {}
    for name, value in pairs:
        if name in document:
            raise _RepeatedFieldError(name)
        document[name] = value
    return document


def _view(call: Call) -> ConnectionView:
    platform_id, account = call.query.platform_id, call.query.account
    view = call.context.watched(platform_id, account)
    if view is None:
        raise not_found(platform_id, account)
    return view


async def _check(call: Call) -> api.CheckRequested:
    view = _view(call)
    await call.actions.check(view.connection, call.author)
    return {**call.context.head(), "connection": facts.identity(view.connection), "author": call.author}


async def _silence(call: Call) -> api.SilenceAdded:
    view, duration = _view(call), _duration(call.body.get("for"))
    silence = await call.actions.silence(view.connection, call.author, call.body.get("reason", ""), duration)
    return {**call.context.head(), "silence": facts.silence(silence)}


async def _accept_permissions(call: Call) -> api.PermissionsAccepted:
    view = _view(call)
    acceptance = await call.actions.accept_loss(view, call.author, call.body.get("reason", ""))
    return {
        **call.context.head(),
        "connection": facts.identity(view.connection),
        "accepted": list(acceptance.permissions),
        "required": [name for name in view.state.permissions_missing if name not in acceptance.permissions],
        "author": acceptance.author,
    }


async def _acknowledge(call: Call) -> api.Acknowledged:
    key, instance = call.query.key, call.context.instance()
    incidents = call.context.board().snapshot.incidents
    incident = next((each for each in incidents if incident_key(each.incident, instance) == key), None)
    if incident is None:
        # The key of an old notification, from before the account or the instance got another name.
        before = await call.context.query(lambda reader: notified_as(reader, key))
        incident = next((each for each in incidents if before == (each.incident.topic, each.incident.subject, each.incident.number)), None)
    if incident is None:
        raise ApiProblem(404, "there is no open incident with this key; /api/v1/incidents?open=true lists them", field="key")
    ack = await call.actions.acknowledge(incident, call.author, call.body.get("reason", ""))
    return {**call.context.head(), "incidentKey": key, "ackedBy": facts.acked_by(ack)}


async def _end_silence(call: Call) -> api.SilenceEnded:
    try:
        await call.actions.end_silence(call.query.number, call.author)
    except ActionRefused as refused:
        raise ApiProblem(404, f"{refused}; nothing was done", field="number") from None
    return {**call.context.head(), "expired": call.query.number, "author": call.author}


def _duration(text: str | None) -> timedelta:
    if text is None:
        return SILENCE_FOR
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ApiProblem(400, f"for {error.args[0]}, such as 2h", field="for") from None


_REASON = {"type": "string", "minLength": 1, "maxLength": LONGEST_REASON, "description": "what is being done about it; for other operators"}
_FOR = {"type": "string", "default": "2h", "description": "how long, such as `90m`; up to seven days"}

ACTION_ROUTES: tuple[ActionRoute, ...] = (
    ActionRoute(
        "/api/v1/connections/{platformId}/check",
        "checkConnection",
        "Test a connection now, and every few seconds for two minutes",
        _check,
        OneQuery,
        api.CheckRequested,
    ),
    ActionRoute(
        "/api/v1/connections/{platformId}/silence",
        "silenceConnection",
        "Silence the notifications of a connection from now on",
        _silence,
        OneQuery,
        api.SilenceAdded,
        {"reason": _REASON, "for": _FOR},
    ),
    ActionRoute(
        "/api/v1/connections/{platformId}/permissions/accept",
        "acceptPermissions",
        "Accept that a connection lacks the permissions that it lacks now",
        _accept_permissions,
        OneQuery,
        api.PermissionsAccepted,
        {"reason": _REASON},
    ),
    ActionRoute(
        "/api/v1/incidents/{key}/ack",
        "acknowledgeIncident",
        "Acknowledge an open incident: its reminders stop",
        _acknowledge,
        IncidentQuery,
        api.Acknowledged,
        {"reason": _REASON},
        (404,),
    ),
    ActionRoute(
        "/api/v1/silences/{number}/expire", "expireSilence", "End a silence", _end_silence, SilenceQuery, api.SilenceEnded, refusals=(404,)
    ),
)
