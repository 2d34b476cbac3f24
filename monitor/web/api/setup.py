"""Adds the API and the badges to the application: each route described once (`routes`) and published as OpenAPI (`openapi`)."""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from monitor.schemas import api
from monitor.web.api.context import ApiContext, json_response
from monitor.web.api.openapi import INDEX, PATH, REFERENCE, description
from monitor.web.api.parameters import Parsed, Query, parse
from monitor.web.api.problems import ApiProblem, problem
from monitor.web.api.routes import ROUTES, Answer
from monitor.web.urls import Handler, route

_UNKNOWN = "/{folder:api|badges}/{path:(?s:.*)}"


def api_routes(context: ApiContext) -> list[web.RouteDef]:
    """Every route of the API, its description, and the refusal of any other path."""
    answers = [route(each.path.replace("}", ":[^/]+}"), _handler(context, each.query, each.answer)) for each in ROUTES]
    own = [route(PATH, _handler(context, Query, _describe)), route(INDEX, _handler(context, Query, _list))]
    return [*answers, *own, route(_UNKNOWN, _refuse)]


def _handler(context: ApiContext, model: type[Parsed], answer: Callable[[ApiContext, Parsed], Awaitable[Answer]]) -> Handler:
    async def respond(request: web.Request) -> web.StreamResponse:
        try:
            found = await answer(context, parse(model, request.match_info, request.query.items()))
            return found if isinstance(found, web.Response) else json_response(found)
        except ApiProblem as refused:
            return refused.response()

    return respond


async def _list(context: ApiContext, _: Query) -> api.Routes:
    """Every route with its summary."""
    listed: list[api.RouteSummary] = [
        {"method": method.upper(), "path": path, "summary": operation["summary"]}
        for path, operations in description()["paths"].items()
        for method, operation in operations.items()
    ]
    return {**context.head(), "description": PATH, "reference": REFERENCE, "routes": listed}


async def _describe(_: ApiContext, __: Query) -> Mapping[str, object]:
    return description()


async def _refuse(_: web.Request) -> web.Response:
    return problem(404, f"there is nothing here; {INDEX} lists what there is")
