"""
The published description of the API, made of the routes, their parameters and their shapes.

`docs/reference/openapi.json` is written by `make docs`; a test holds it against what a monitor serves.

Source: OpenAPI 3.1.1.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Any

from pydantic_core import core_schema

from monitor.schemas.api import Routes
from monitor.schemas.facts import VERSION
from monitor.schemas.shapes import Schema, SchemaGenerator, json_schemas
from monitor.text.durations import format_duration
from monitor.web.api.actions import ACTION_ROUTES, ActionRoute
from monitor.web.api.badges import SVG
from monitor.web.api.problems import PROBLEM, ProblemDetails
from monitor.web.api.routes import ROUTES, ApiRoute

INDEX = "/api/v1"
PATH = "/api/v1/openapi.json"
REFERENCE = "/api/v1/reference"

_INTRODUCTION = (
    "The state and history of a running postpost-monitor; read-only, unless `web.actions` is on. Names as in its webhooks and in the `--json` of its commands. "
    "Timestamps are ISO 8601 in UTC, durations seconds, unknown values null. New keys and new values may be added at any time."
)
_REFUSALS = {
    400: "Unknown or invalid parameter; the problem says what is allowed.",
    401: "Authentication required.",
    403: "Client certificate not allowed; for an action: no bearer token.",
    404: "Not found.",
    405: "Actions are off: GET and HEAD only.",
    409: "Several accounts have a connection with that id: name the account.",
    413: "The body is too large.",
    421: "Unknown host.",
    429: "Too many actions within a minute; nothing was done.",
    431: "The request is larger than 8 KiB with all its headers.",
    503: "The database can't be read now, or there are too many login attempts: `Retry-After` says when to retry.",
}
_WITHOUT_BODY = (431,)
_OF_ACTIONS = (405, 413, 429)
_ALWAYS = (400, 401, 403, 421, 431, 503)


@cache
def description() -> dict[str, Any]:
    """The OpenAPI document."""
    shapes = {route.path: route.shape for route in ROUTES if route.shape is not None} | {route.path: route.shape for route in ACTION_ROUTES}
    schemas, named = json_schemas({**shapes, INDEX: Routes, PROBLEM: ProblemDetails}, "#/components/schemas/")
    paths: dict[str, Any] = {route.path: {"get": _operation(route, schemas.get(route.path))} for route in ROUTES}
    paths |= {route.path: {"post": _action(route, schemas[route.path])} for route in ACTION_ROUTES}
    paths[INDEX] = {"get": _own_operation("listRoutes", "Every route", schemas[INDEX])}
    paths[PATH] = {"get": _own_operation("getOpenapi", "This description", {"type": "object"})}
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
    parameters = _parameters(route)
    return {
        "operationId": route.operation,
        "summary": route.summary,
        **({"parameters": parameters} if parameters else {}),
        "responses": {"200": {"description": route.summary, "content": content}, **_refusals(route.refusals)},
    }


def _action(route: ActionRoute, shape: Schema) -> Schema:
    """A route that changes something, while `web.actions` is on."""
    body: Schema = {
        "type": "object",
        "properties": {name: dict(schema) for name, schema in route.fields.items()},
        "additionalProperties": False,
    }
    if route.fields:
        body["required"] = [next(iter(route.fields))]
    answer = {"description": route.summary, "content": {"application/json": {"schema": shape}}}
    return {
        "operationId": route.operation,
        "summary": route.summary,
        "description": "Only while `web.actions` is on, and with `web.token` as bearer token, which is the author.",
        "security": [{"bearer": []}],
        "parameters": _parameters(route),
        "requestBody": {"required": bool(route.fields), "content": {"application/json": {"schema": body}}},
        "responses": {"200": answer, **_refusals((*_OF_ACTIONS, *route.refusals))},
    }


def _own_operation(operation: str, summary: str, shape: Schema) -> Schema:
    answer = {"description": summary, "content": {"application/json": {"schema": shape}}}
    return {"operationId": operation, "summary": summary, "responses": {"200": answer, **_refusals(())}}


def _refusal(status: int, problem: Schema) -> Schema:
    response: Schema = {"description": _REFUSALS[status]}
    return response if status in _WITHOUT_BODY else {**response, "content": {PROBLEM: {"schema": problem}}}


def _refusals(statuses: tuple[int, ...]) -> Schema:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted({*_ALWAYS, *statuses})}


class _ParameterGenerator(SchemaGenerator):
    """Schemas of the texts in an address: none of them is null, and a default is what one would write there."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> Schema:
        """An optional parameter is left out, not null."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Schema:
        """The default as text or number."""
        inner, default = self.generate_inner(schema["schema"]), schema.get("default")
        if isinstance(default, timedelta):
            return {**inner, "default": format_duration(default)}
        return {**inner, "default": default} if isinstance(default, bool | int | str) else inner


def _parameters(route: ApiRoute | ActionRoute) -> list[Schema]:
    document = route.query.model_json_schema(schema_generator=_ParameterGenerator)
    required, vocabularies = document.get("required", ()), document.get("$defs", {})
    return [
        _parameter(name, _in_place(schema, vocabularies), route, required=name in required)
        for name, schema in document["properties"].items()
    ]


def _in_place(schema: Schema, vocabularies: Mapping[str, Schema]) -> Schema:
    """A schema without references."""
    if "items" in schema:
        return {**schema, "items": _in_place(schema["items"], vocabularies)}
    if "$ref" not in schema:
        return dict(schema)
    vocabulary = vocabularies[schema["$ref"].rpartition("/")[2]]
    rest = {key: value for key, value in schema.items() if key != "$ref"}
    return {"type": vocabulary["type"], "enum": vocabulary["enum"], **rest}


def _parameter(name: str, schema: Schema, route: ApiRoute | ActionRoute, *, required: bool) -> Schema:
    description, examples = schema.pop("description"), schema.pop("examples", ())
    parameter: Schema = {"name": name, "in": "path" if f"{{{name}}}" in route.path else "query", "description": description}
    if required:
        parameter["required"] = True
    parameter["schema"] = schema
    if examples:
        parameter["example"] = [examples[0]] if schema["type"] == "array" else examples[0]
    return parameter
