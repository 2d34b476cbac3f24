"""
RFC 9457 documents.

Source: RFC 9457.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, NotRequired

from aiohttp import web
from pydantic import Field
from typing_extensions import TypedDict

from monitor.schemas.facts import encode

PROBLEM = "application/problem+json"


class ProblemDetails(TypedDict):
    """Why a request is not answered."""

    type: Annotated[str, Field(description="always `about:blank`: the status says what kind of problem it is")]
    title: Annotated[str, Field(description="the name of the status")]
    status: int
    detail: Annotated[str, Field(description="what is wrong, and what to do about it; for people")]
    field: NotRequired[Annotated[str, Field(description="the parameter, or the field of the body, that is wrong")]]
    allowed: NotRequired[Annotated[list[str], Field(description="what may be written instead, when that is a short list")]]


class ApiProblem(Exception):
    """A request that is not answered; *field* is wrong, *allowed* holds the allowed values, *headers* belong to the status."""

    def __init__(
        self, status: int, detail: str, *, field: str = "", allowed: list[str] | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.field = field
        self.allowed = allowed
        self.headers = headers

    def response(self) -> web.Response:
        """The document about it."""
        return problem(self.status, self.detail, field=self.field, allowed=self.allowed, headers=self.headers)


def problem(
    status: int, detail: str, *, field: str = "", allowed: list[str] | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A problem document."""
    document: ProblemDetails = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    if field:
        document["field"] = field
    if allowed is not None:
        document["allowed"] = allowed
    return web.Response(status=status, body=encode(document), headers={"Content-Type": PROBLEM, **(headers or {})})


def is_api_path(path: str) -> bool:
    """Whether errors about *path* are problem documents."""
    return path.startswith(("/api/", "/badges/"))
