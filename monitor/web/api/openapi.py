"""
The description of the API, made of the routes, their parameters and their shapes.

`docs/reference/openapi.json` is `python -m monitor.web.api docs/reference/openapi.json`; a test holds it against what a monitor serves.

Source: OpenAPI 3.1.1.
"""

import json
from functools import cache
from typing import Any

from monitor.schemas.facts import VERSION
from monitor.schemas.shapes import Schema, json_schemas
from monitor.web.api.badges import SVG
from monitor.web.api.parameters import MOST_VALUES, Parameter
from monitor.web.api.problems import PROBLEM, ProblemDetails
from monitor.web.api.routes import ROUTES, ApiRoute

PATH = "/api/v1/openapi.json"

_INTRODUCTION = (
    "What a running postpost-monitor knows: read-only, names as in its webhooks and in the `--json` of its commands. Moments are ISO 8601 "
    "in UTC, durations seconds, absent facts null. New keys and new words of a vocabulary may come at any time."
)
_REFUSALS = {
    400: "A parameter that is unknown or cannot be read; the problem says what is allowed.",
    401: "A token is needed.",
    403: "A client certificate is needed, or this one is not let in.",
    404: "There is no such thing.",
    409: "Several accounts have a connection with that id: name the account.",
    421: "This name is not served here.",
    431: "The request is too large: 8 KiB with all its headers.",
    503: "The database can't be read now, or too many passwords are being tried: `Retry-After` says when to ask again.",
}
_WITHOUT_A_WORD = (431,)
_ALWAYS = (400, 401, 403, 421, 431, 503)


@cache
def description() -> dict[str, Any]:
    """The OpenAPI document."""
    shapes = {route.path: route.shape for route in ROUTES if route.shape is not None}
    schemas, named = json_schemas({**shapes, PROBLEM: ProblemDetails}, "#/components/schemas/")
    paths: dict[str, Any] = {route.path: {"get": _operation(route, schemas.get(route.path))} for route in ROUTES}
    paths[PATH] = {"get": _own_operation()}
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "postpost-monitor",
            "version": VERSION,
            "description": _INTRODUCTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "the web port"}],
        "security": [{}, {"bearer": []}, {"basic": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(named.items())),
            "responses": {str(status): _refusal(status, schemas[PROBLEM]) for status in _REFUSALS},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "`web.token`"},
                "basic": {"type": "http", "scheme": "basic", "description": "the same token as the password of any user"},
            },
        },
    }


def text() -> str:
    """The document as the file holds it."""
    return json.dumps(description(), indent=2, ensure_ascii=False) + "\n"


def _operation(route: ApiRoute, shape: Schema | None) -> Schema:
    content = {SVG: {"schema": {"type": "string"}}} if shape is None else {"application/json": {"schema": shape}}
    operation: Schema = {"operationId": route.name, "summary": route.words}
    if route.parameters:
        operation["parameters"] = [_parameter(parameter) for parameter in route.parameters]
    operation["responses"] = {"200": {"description": route.words, "content": content}, **_refusals(route.refusals)}
    return operation


def _own_operation() -> Schema:
    words = "This description"
    answered = {"description": words, "content": {"application/json": {"schema": {"type": "object"}}}}
    return {"operationId": "getOpenapi", "summary": words, "responses": {"200": answered, **_refusals(())}}


def _refusal(status: int, problem: Schema) -> Schema:
    said: Schema = {"description": _REFUSALS[status]}
    return said if status in _WITHOUT_A_WORD else {**said, "content": {PROBLEM: {"schema": problem}}}


def _refusals(statuses: tuple[int, ...]) -> Schema:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted({*_ALWAYS, *statuses})}


def _parameter(parameter: Parameter) -> Schema:
    schema = dict(parameter.schema)
    if parameter.many:
        schema = {"type": "array", "items": schema, "minItems": 1, "maxItems": MOST_VALUES}
    elif isinstance(parameter.default, bool | int | str):
        schema["default"] = parameter.default
    shown: Schema = {"name": parameter.name, "in": "path" if parameter.in_path else "query", "description": parameter.words}
    if parameter.required:
        shown["required"] = True
    shown["schema"] = schema
    if parameter.example is not None:
        shown["example"] = [parameter.example] if parameter.many else parameter.example
    return shown
