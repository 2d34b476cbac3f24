"""The base of all sections, the kinds of values (names, counts, sizes, URLs), and reflection over the keys."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, cast, get_args, get_origin
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, Strict, WithJsonSchema, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from monitor.config.yaml import Path
from monitor.http.addresses import is_forbidden, is_loopback, literal
from monitor.redaction import joins
from monitor.text.durations import DURATION_PATTERN, LONGEST, format_duration, parse_duration

T = TypeVar("T")

_SIZES = {"B": 1, "MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZE = r"([0-9]{1,15}) ?(B|[MGT]i?B)?"
_LISTEN_FIX = 'such as "127.0.0.1:9840" or "[::1]:9840"'
_URL_FIX = "such as https://example.org/path"
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?")


def problem(message: str, fix: str = "") -> PydanticCustomError:
    """The error a validator raises: *message* completes "<key>: ...", *fix* says what to do."""
    return PydanticCustomError("problem", "{message}", {"message": message, "fix": fix})


def to_duration(value: object) -> timedelta:
    """The duration that *value* stands for, see `parse_duration`; raises a problem for anything else."""
    try:
        return parse_duration(value)
    except ValueError as error:
        raise problem(*error.args) from None


def parse_size(value: object) -> int:
    """The bytes that `500MB`, `2GB` or `1GiB` stands for; a whole number is bytes. Raises a problem for anything else, and below 1MB."""
    match = re.fullmatch(_SIZE, str(value).strip()) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if match is None:
        raise problem("is not a size", "such as 500MB, 2GB or 1GiB")
    size = int(match[1]) * _SIZES[match[2] or "B"]
    if size < _SIZES["MB"]:
        raise problem("must be at least 1MB")
    return size


def off_or_duration(value: object) -> object:
    """`off` as a duration of zero; anything else unchanged."""
    return timedelta(0) if value == "off" else value


def _from_text(pattern: str, convert: Callable[[str], object]) -> BeforeValidator:
    """Converts text that matches *pattern*, as `${VAR}` yields it; anything else stays unchanged."""
    return BeforeValidator(
        lambda value: convert(value.strip()) if isinstance(value, str) and re.fullmatch(pattern, value.strip()) else value
    )


def matching(pattern: str, message: str, fix: str = "") -> AfterValidator:
    """Accepts text that matches *pattern* as a whole."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise problem(message, fix)
        return value

    return AfterValidator(check)


def _check_text(value: str) -> str:
    printable = all(letter.isprintable() or joins(value, place) for place, letter in enumerate(value))
    if not value.strip() or len(value) > 100 or not printable:
        raise problem("must be one line of 1 to 100 printable characters")
    return value.strip()


def _to_float(value: object) -> object:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _check_finite(value: float) -> float:
    if not math.isfinite(value):
        raise problem("must be a number")
    return value


def between(least: timedelta, most: timedelta = LONGEST) -> AfterValidator:
    """Accepts durations from *least* to *most*, both included."""

    def check(value: timedelta) -> timedelta:
        if value < least:
            raise problem(f"must be at least {format_duration(least)}")
        if value > most:
            raise problem(f"must be at most {format_duration(most)}")
        return value

    return AfterValidator(check)


Duration = Annotated[
    timedelta,
    BeforeValidator(to_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": f"^{DURATION_PATTERN}$", "examples": ["30s", "15m", "36h", "7d"]}),
]
OffOrDuration = Annotated[
    Duration,
    BeforeValidator(off_or_duration),
    WithJsonSchema({"type": "string", "examples": ["24h", "off"]}),
]
"""A length of time; a timedelta in Python."""

Size = Annotated[
    int, BeforeValidator(parse_size), WithJsonSchema({"type": ["string", "integer"], "pattern": f"^{_SIZE}$", "examples": ["500MB", "2GB"]})
]
"""A number of bytes."""

Period = Annotated[Duration, between(timedelta(milliseconds=1))]
"""A duration longer than zero."""

_DECIMAL = _from_text(r"[0-9]{1,9}(\.[0-9]{1,9})?", float)

Switch = Annotated[bool, _from_text("true|false", lambda text: text == "true")]
Count = Annotated[int, _from_text("[0-9]{1,9}", int), Field(ge=1, le=1_000_000)]
Share = Annotated[float, BeforeValidator(_to_float), _DECIMAL, AfterValidator(_check_finite), Field(ge=0, le=1)]
RateLimit = Annotated[float, BeforeValidator(_to_float), _DECIMAL, AfterValidator(_check_finite), Field(ge=0, le=1000)]
Rate = Annotated[float, BeforeValidator(_to_float), _DECIMAL, AfterValidator(_check_finite), Field(gt=0, le=1000)]
Name = Annotated[
    str,
    matching(
        "[A-Za-z0-9][A-Za-z0-9_.-]{0,63}",
        "is not a valid name",
        "use up to 64 letters, digits, '.', '_' and '-', starting with a letter or digit",
    ),
]
Text = Annotated[str, AfterValidator(_check_text)]
LabelName = Annotated[
    str, matching("[A-Za-z_][A-Za-z0-9_]{0,63}", "is not a valid label name", "use letters, digits and '_', not starting with a digit")
]
Items = Annotated[tuple[T, ...], Strict(strict=False)]
"""A list in the file, a tuple in Python."""


class Section(BaseModel):
    """The base of every part of the configuration: immutable, strict, closed to unknown keys. Validators are made on first use."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True, hide_input_in_errors=True)

    unsupported: ClassVar[Mapping[str, str]] = {}
    """Keys of the same form elsewhere that are refused here, with what to do instead."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, data: Any) -> Any:
        """A key without a value (all below it commented out, for example) counts as absent."""
        if not isinstance(data, dict):
            return data
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {key: value for key, value in data.items() if value is not None or key not in known}

    @classmethod
    def defaults(cls) -> Self:
        """The section without any key, one instance for all; of one whose keys all have defaults."""
        return cast("Self", _without_keys(cls))

    def masked(self) -> dict[str, Any]:
        """The section as plain values, as the file spells them, with secrets masked."""
        return self.model_dump(mode="json", by_alias=True)


@cache
def _without_keys(kind: type[Section]) -> Section:
    return kind.model_construct()


def split(url: str) -> SplitResult:
    """The parts of an http or https *url*; raises a problem that does not repeat it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise problem("is not a valid URL", _URL_FIX) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise problem("is not an http or https URL", _URL_FIX)
    if port == 0 or (literal(parts.hostname) is None and not _HOST.fullmatch(parts.hostname)):
        raise problem("has no valid host or port", _URL_FIX)
    return parts


def check_base_url(url: str) -> str:
    """*url* without its final slash, if it can be the API's: https, or http on loopback, without user, query or fragment."""
    parts = split(url)
    if parts.username or parts.password:
        raise problem("must not contain a user or password", "the API key belongs in accounts")
    if parts.query or parts.fragment:
        raise problem("must not have a query or fragment", "such as https://api.postpost.dev/api/v1")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise problem(
            "is not encrypted: the API key would be readable in transit", "use https:// (http:// is accepted for 127.0.0.1 and localhost)"
        )
    return url.rstrip("/")


def check_page_url(url: str) -> str:
    """*url* without its final slash, if a person can open it; empty stays empty."""
    if not url:
        return url
    if split(url).password:
        raise problem("must not contain a password", "every notification contains this URL")
    return url.rstrip("/")


def check_runbook_url(url: str) -> str:
    """*url*, if the names of alerts can follow it as anchors, and rules can contain it as it is; empty stays empty."""
    page = check_page_url(url)
    if not re.fullmatch(r"[^\s#'\"{}\\]*", page):
        raise problem("must not contain '#', braces, quotes or spaces", "the address of the page; the anchor of each alert is added")
    return page


def check_receiver_url(url: str) -> str:
    """*url*, if it can be the address of a receiver."""
    parts = split(url)
    if parts.fragment:
        raise problem("must not have a fragment", "remove '#' and what follows")
    if is_forbidden(parts.hostname or ""):
        raise problem("points to a link-local or cloud-metadata address", "receivers are never there; check the address")
    return url


def parse_listen(value: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:9840`, `[::1]:9840` or `:9840` (all addresses); port 0 lets the system choose."""
    host, colon, port = value.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535 or (":" in host and not value.startswith("[")):
        raise problem("is not a valid address to listen on", _LISTEN_FIX)
    if host and literal(host) is None and not _HOST.fullmatch(host):
        raise problem("is not a valid address to listen on", _LISTEN_FIX)
    return host or "0.0.0.0", int(port)  # noqa: S104 - the operator wrote a port without a host


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section."""

    name: str
    attribute: str
    field: FieldInfo
    section: type[Section] | None
    shape: Literal["plain", "list", "mapping"]


def keys(section: type[Section]) -> Iterator[Key]:
    """The keys of *section*, in the order of the documentation."""
    for attribute, field in section.model_fields.items():
        if not field.exclude:
            origin = get_origin(field.annotation)
            shape: Literal["plain", "list", "mapping"] = "list" if origin is tuple else "mapping" if origin is Mapping else "plain"
            yield Key(field.alias or attribute, attribute, field, _section_in(field.annotation), shape)


def _section_in(annotation: Any) -> type[Section] | None:
    """The section that *annotation* is, or contains: an optional one, one of a list, one of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)


def section_at(top: type[Section], path: Path) -> type[Section] | None:
    """The section at *path* below *top*, through lists and mappings; None if there is none."""
    if not path:
        return top
    key = next((key for key in keys(top) if key.name == path[0]), None)
    if key is None or key.section is None:
        return None
    return section_at(key.section, path[1:] if key.shape == "plain" else path[2:])
