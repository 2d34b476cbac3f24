"""The JSON API and the badges: read-only, each route described once (`routes`) and published as OpenAPI (`openapi`)."""

from collections.abc import Iterable
from urllib.parse import unquote

from monitor.schemas.facts import encode
from monitor.web.answers import JSON, PLAIN, Answer
from monitor.web.api.context import Desk
from monitor.web.api.openapi import PATH, description
from monitor.web.api.parameters import given_by
from monitor.web.api.problems import Refused, problem
from monitor.web.api.routes import ROUTES, Route


class Api:
    """Answers what is asked below `/api/` and `/badges/`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def answer(self, raw_path: str, query: Iterable[tuple[str, str]]) -> Answer:
        """The answer to a path, still escaped, and a query; a problem document when there is none."""
        try:
            if raw_path == PATH:
                given_by((), {}, query)
                return Answer(200, JSON, (encode(description()),))
            route, found = _route(raw_path)
            return await route.answer(self._desk, given_by(route.parameters, found, query))
        except Refused as refused:
            return refused.answer()


def is_of_api(path: str) -> bool:
    """Whether errors about *path* are told as problem documents."""
    return path.startswith(("/api/", "/badges/"))


def refusal(answer: Answer) -> Answer:
    """An error of the port itself, told in plain text elsewhere, as a problem document."""
    if answer.status < 400 or answer.media_type != PLAIN:
        return answer
    return problem(answer.status, b"".join(answer.body).decode().strip(), headers=answer.headers)


def _route(raw_path: str) -> tuple[Route, dict[str, str]]:
    segments = tuple(unquote(segment) for segment in raw_path.split("/"))
    for route in ROUTES:
        found = route.match(segments)
        if found is not None:
            return route, found
    raise Refused(404, f"there is nothing here; {PATH} describes what there is")
