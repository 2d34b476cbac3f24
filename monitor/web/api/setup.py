"""The JSON API and the badges: read-only, each route described once (`routes`) and published as OpenAPI (`openapi`)."""

from collections.abc import Iterable
from urllib.parse import unquote

from monitor.schemas.facts import encode
from monitor.web.answers import JSON, PLAIN, WebResponse
from monitor.web.api.context import ApiContext
from monitor.web.api.openapi import PATH, description
from monitor.web.api.parameters import given_by
from monitor.web.api.problems import ApiProblem, problem
from monitor.web.api.routes import ROUTES, ApiRoute


class JsonApi:
    """Answers what is asked below `/api/` and `/badges/`."""

    def __init__(self, desk: ApiContext) -> None:
        self._desk = desk

    async def answer(self, raw_path: str, query: Iterable[tuple[str, str]]) -> WebResponse:
        """The answer to a path, still escaped, and a query; a problem document when there is none."""
        try:
            if raw_path == PATH:
                given_by((), {}, query)
                return WebResponse(200, JSON, (encode(description()),))
            route, found = _route(raw_path)
            return await route.answer(self._desk, given_by(route.parameters, found, query))
        except ApiProblem as refused:
            return refused.answer()


def is_of_api(path: str) -> bool:
    """Whether errors about *path* are told as problem documents."""
    return path.startswith(("/api/", "/badges/"))


def refusal(answer: WebResponse) -> WebResponse:
    """An error of the port itself, told in plain text elsewhere, as a problem document."""
    if answer.status < 400 or answer.media_type != PLAIN:
        return answer
    return problem(answer.status, b"".join(answer.body).decode().strip(), headers=answer.headers)


def _route(raw_path: str) -> tuple[ApiRoute, dict[str, str]]:
    segments = tuple(unquote(segment) for segment in raw_path.split("/"))
    for route in ROUTES:
        found = route.match(segments)
        if found is not None:
            return route, found
    raise ApiProblem(404, f"there is nothing here; {PATH} describes what there is")
