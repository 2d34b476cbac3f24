"""Query models, cursors."""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError, core_schema

from monitor.config.problems import nearest
from monitor.db import DeliveryState
from monitor.domain.events import Topic
from monitor.domain.reasons import Health
from monitor.domain.views.status import TROUBLE, DisplayStatus
from monitor.text.durations import parse_duration
from monitor.web.api.problems import ApiProblem

MOST_LABEL_LETTERS = 60
MOST_VALUES = 100
_MOST_ROWS = 1000
_ROWS = 100

_SPAN = r"^(?:[0-9]{1,3}d|[0-9]{1,4}[hms])$"
_INSTANT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(?::[0-9]{2})?Z$"
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_DIGITS = re.compile(r"-?[0-9]+")
_MOST_DIGITS = 16
_DISPLAY_STATUSES = [*map(str, DisplayStatus), TROUBLE]
_MOST = 2**63 - 1
_LIKE = 0.3
_EXAMPLE = "linkedin-Tz9W5i6ZYG"

Part = str | int
Place = tuple[Part, ...]


def _number(text: str) -> int:
    if not _DIGITS.fullmatch(text):
        raise ValueError("must be a whole number")
    if len(text) > _MOST_DIGITS:
        raise ValueError("has too many digits")
    return int(text)


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def _span(text: str) -> timedelta:
    if not re.fullmatch(_SPAN, text):
        raise ValueError("must be a duration in one unit, such as 90s, 15m, 36h or 7d")
    return parse_duration(text)


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text if re.fullmatch(_INSTANT, text) else "")
    except ValueError:
        raise ValueError("must be a time in UTC, such as 2030-01-31T08:00Z") from None


def _display_status(text: str) -> str:
    if text not in _DISPLAY_STATUSES:
        raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": " ".join(map(repr, _DISPLAY_STATUSES))})
    return text


# Control characters are refused; half characters do not exist in a schema.
_PRINTABLE = r"^[^\u0000-\u001f\u007f]+$"
Text = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=_PRINTABLE)]
Number = Annotated[int, BeforeValidator(_number)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Span = Annotated[timedelta, BeforeValidator(_span), WithJsonSchema({"type": "string", "pattern": _SPAN})]
Instant = Annotated[datetime, BeforeValidator(_instant), WithJsonSchema({"type": "string", "pattern": _INSTANT})]
Status = Annotated[str, AfterValidator(_display_status), WithJsonSchema({"type": "string", "enum": _DISPLAY_STATUSES})]

_Value = TypeVar("_Value")
Several = Annotated[tuple[_Value, ...], Field(min_length=1, max_length=MOST_VALUES)]
"""A parameter that may be given several times."""

Ids = Annotated[str, StringConstraints(min_length=1, max_length=4000, pattern=_PRINTABLE)]
"""One id, or several separated by commas."""

_Account = Annotated[Text | None, Field(description="the account, or account/user, when several have that id")]
_Limit = Annotated[int, Field(description="the most rows", ge=1, le=_MOST_ROWS), BeforeValidator(_number)]
_Label = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=MOST_LABEL_LETTERS, pattern=_PRINTABLE)] | None,
    Field(description="the text on the left"),
]


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in the list *name*, by parts of these kinds."""

    name: str
    kinds: tuple[type[Part], ...]

    def __get_pydantic_core_schema__(self, _: object, __: object) -> core_schema.CoreSchema:
        """Read by `decode`."""
        return core_schema.no_info_plain_validator_function(lambda text: decode(self.name, self.kinds, text))

    def __get_pydantic_json_schema__(self, _: object, __: object) -> dict[str, str]:
        """Opaque text."""
        return {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}


_CONTINUE = "continue after this row: the unchanged `nextCursor` of the previous page"


class Query(BaseModel):
    """The parameters of a route; one that is not declared is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, alias_generator=to_camel)


class BadgeQuery(Query):
    """Of the badge of everything."""

    label: _Label = None


class OneQuery(Query):
    """Of one connection, which is named in the path."""

    platform_id: Text = Field(description="the connection, as the API lists it", examples=[_EXAMPLE])
    account: _Account = None


class OneBadgeQuery(OneQuery):
    """Of the badges of one connection."""

    label: _Label = None


class SelectingQuery(Query):
    """Of routes that take the connections which these parameters keep."""

    health: Several[Health] = Field((), description="only with this health; may be given several times")
    display_status: Several[Status] = Field(
        (), description="only with this display status; `trouble`: everything that needs attention; may be given several times"
    )
    platform: Several[Text] = Field((), description="only of this platform; may be given several times")
    account: Several[Text] = Field((), description="only of this account, or account/user; may be given several times")
    label: Several[Text] = Field(
        (),
        description="only with this label, all of several; a name alone: any value; may be given several times",
        examples=["team=social"],
    )
    q: Text | None = Field(None, description="only where this occurs in an id or a name")


class ConnectionsQuery(SelectingQuery):
    """Of the list of connections."""

    sort: Literal["id", "worst"] = Field("id", description="by account, platform and id, or the worst first")
    limit: Number = Field(_ROWS, description="the most rows", ge=1, le=500)
    cursor: Annotated[
        Place | None,
        Cursor(
            "connections",
            (
                int,
                str,
                str,
                str,
            ),
        ),
    ] = Field(None, description=_CONTINUE)


class ChecksQuery(OneQuery):
    """Of the checks of one connection."""

    since: Span | None = Field(None, description="only of this last period, such as 24h or 7d")
    limit: _Limit = _ROWS
    cursor: Annotated[Place | None, Cursor("history", (int,))] = Field(None, description=_CONTINUE)


class UptimeQuery(OneQuery):
    """Of the uptime of one connection."""

    days: Number = Field(90, description="how many days, today included", ge=1, le=730)


class _AboutQuery(Query):
    """Of rows that may be about one connection."""

    platform_id: Text | None = Field(None, description="only about this connection", examples=[_EXAMPLE])
    account: _Account = None


class IncidentsQuery(_AboutQuery):
    """Of the list of incidents."""

    open: Flag = Field(default=False, description="only open ones")
    since: Span | None = Field(None, description="only those that were open within this last period, such as 7d")
    topic: Topic | None = Field(None, description="only of this topic")
    limit: _Limit = _ROWS
    cursor: Annotated[Place | None, Cursor("incidents", (int,))] = Field(None, description=_CONTINUE)


class DeliveriesQuery(_AboutQuery):
    """Of the list of deliveries."""

    state: DeliveryState | None = Field(None, description="only in this state")
    receiver: Text | None = Field(None, description="only of this receiver")
    limit: Number = Field(_ROWS, description="the most rows", ge=1, le=200)
    cursor: Annotated[Place | None, Cursor("deliveries", (int,))] = Field(None, description=_CONTINUE)


class ExpiriesQuery(Query):
    """Of the tokens that end."""

    days: Number = Field(90, description="how many days ahead", ge=1, le=3650)
    platform: Several[Text] = Field((), description="only of this platform; may be given several times")
    account: Several[Text] = Field((), description="only of this account, or account/user; may be given several times")
    label: Several[Text] = Field(
        (), description="only with this label, all of several; may be given several times", examples=["team=social"]
    )


class IncidentQuery(Query):
    """Of one open incident, which is named in the path."""

    key: Text = Field(description="its `incidentKey`", examples=["pp-6c1f2a90-17-connection-3"])


class SilenceQuery(Query):
    """Of one silence, which is named in the path."""

    number: Number = Field(description="its number", ge=1, le=2**53 - 1)


class DeliveryQuery(Query):
    """Of one delivery, which is named in the path."""

    number: Number = Field(description="its number in the list", ge=1, le=2**53 - 1)


class ForecastQuery(SelectingQuery):
    """Of a forecast."""

    limit: _Limit = _ROWS


class PreflightQuery(Query):
    """Of a preflight."""

    ids: Several[Ids] = Field(
        (), description="the connection; several also separated by commas; may be given several times", examples=[_EXAMPLE]
    )
    label: Several[Text] = Field(
        (), description="every connection with this label, all of several; may be given several times", examples=["team=social"]
    )
    account: _Account = None
    at: Instant | None = Field(None, description="when the post is due: tokens must be valid until then", examples=["2030-01-31T08:00Z"])
    max_age: Span = Field(timedelta(minutes=30), description="maximum age of stored results")
    min_ttl: Span = Field(timedelta(0), description="remaining life that a token must have")


Parsed = TypeVar("Parsed", bound=Query)


def fields_of(model: type[Query]) -> Mapping[str, FieldInfo]:
    """The parameters of *model* by name."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def parse(model: type[Parsed], path: Mapping[str, str], query: Iterable[tuple[str, str]]) -> Parsed:
    """The parameters of a request. Raises ApiProblem for one that is unknown, malformed, missing, or given too often."""
    fields = fields_of(model)
    texts: dict[str, list[str]] = {}
    for name, text in query:
        if name not in fields or name in path:
            raise _unknown(name, [known for known in fields if known not in path])
        texts.setdefault(name, []).append(text)
    values: dict[str, Any] = dict(path)
    for name, given in texts.items():
        several = get_origin(fields[name].annotation) is tuple
        if len(given) > 1 and not several:
            raise ApiProblem(400, f"{name} may be given once", field=name)
        values[name] = given if several else given[0]
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _malformed(error, path, texts) from None


_MESSAGES = {
    "missing": "is required",
    "string_too_short": "is empty; leave it out instead",
    "string_too_long": "is longer than {max_length} characters",
    "too_long": "may be given at most {max_length} times",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_pattern_mismatch": "holds characters that cannot be printed",
    "string_unicode": "holds characters that cannot be printed",
}


def _malformed(error: ValidationError, path: Mapping[str, str], texts: Mapping[str, Sequence[str]]) -> ApiProblem:
    """The first of pydantic's findings, without the value of *texts*."""
    first = error.errors(include_url=False, include_input=False)[0]
    name, context, message = str(first["loc"][0]), first.get("ctx", {}), first["msg"]
    allowed = re.findall(r"'([^']*)'", context["expected"]) if "expected" in context else None
    if allowed is not None:
        given = next((text for text in texts.get(name, ()) if text not in allowed), "")
        message = f"must be one of {', '.join(allowed)}{choice_of(given, allowed)}"
    elif "error" in context:
        message = str(context["error"])
    else:
        message = _MESSAGES.get(first["type"], message).format(**context)
    return ApiProblem(404 if name in path else 400, f"{name} {message}", allowed=allowed, field=name)


def _unknown(name: str, allowed: Sequence[str]) -> ApiProblem:
    shown = printable(name)
    there_are = f"there are {', '.join(allowed)}" if allowed else "there are none"
    return ApiProblem(400, f"there is no parameter {shown} here; {there_are}{choice_of(name, allowed)}", allowed=list(allowed), field=shown)


def choice_of(given: str, allowed: Sequence[str]) -> str:
    """The one of *allowed* that *given* is most like, as the end of a sentence; empty where none is like it."""
    close = nearest(given, allowed, cutoff=_LIKE)
    return f"; did you mean {close}?" if close else ""


def printable(name: str) -> str:
    """A name that a client sent, so that it can be quoted."""
    return _UNPRINTABLE.sub("?", name[:60])


def encode(name: str, parts: Sequence[Part]) -> str:
    """The cursor of the list *name* after the row with these *parts*."""
    text = json.dumps([name, *parts], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(name: str, kinds: Sequence[type[Part]], text: str) -> Place:
    """The parts that `encode` was given. Raises ValueError when *text* is not a cursor of this list."""
    refused = ValueError("is not a cursor of this list; begin again without it")
    try:
        document = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, UnicodeError, ValueError, RecursionError):
        raise refused from None
    if not isinstance(document, list) or document[:1] != [name] or len(document) != len(kinds) + 1:
        raise refused
    parts = document[1:]
    if not all(type(part) is kind for part, kind in zip(parts, kinds, strict=True)):
        raise refused
    if any(isinstance(part, int) and not 0 <= part <= _MOST for part in parts):
        raise refused
    return tuple(parts)
