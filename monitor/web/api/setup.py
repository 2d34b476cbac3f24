"""Adds the API and the badges to the application: read-only, each route described once (`routes`) and published as OpenAPI (`openapi`)."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from monitor.web.api.context import ApiContext, json_response
from monitor.web.api.openapi import PATH, description
from monitor.web.api.parameters import Parsed, Query, parse
from monitor.web.api.problems import ApiProblem, problem
from monitor.web.api.routes import ROUTES
from monitor.web.urls import Handler, route

_UNKNOWN = "/{folder:api|badges}/{path:(?s:.*)}"


def api_routes(context: ApiContext) -> list[web.RouteDef]:
    """Every route of the API, its description, and the refusal of any other path."""
    answers = [route(each.path.replace("}", ":[^/]+}"), _handler(context, each.query, each.answer)) for each in ROUTES]
    return [*answers, route(PATH, _handler(context, Query, _describe)), route(_UNKNOWN, _refuse)]


def _handler(context: ApiContext, model: type[Parsed], answer: Callable[[ApiContext, Parsed], Awaitable[web.Response]]) -> Handler:
    async def respond(request: web.Request) -> web.StreamResponse:
        try:
            return await answer(context, parse(model, request.match_info, request.query.items()))
        except ApiProblem as refused:
            return refused.response()

    return respond


async def _describe(_: ApiContext, __: Query) -> web.Response:
    return json_response(description())


async def _refuse(_: web.Request) -> web.Response:
    return problem(404, f"there is nothing here; {PATH} describes what there is")
