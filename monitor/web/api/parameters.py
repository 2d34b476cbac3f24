"""Query models, cursors."""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from monitor.text.durations import format_duration, parse_duration
from monitor.web.api.problems import ApiProblem

MOST_LETTERS = 256
MOST_VALUES = 100

_SPAN = r"^(?:[0-9]{1,3}d|[0-9]{1,4}[hms])$"
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_YES, _NO = "true", "false"

Given = Mapping[str, Any]
"""Parameter to its value; every parameter of the route is there."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """
    One parameter.

    Attributes:
        words: what it is for.
        schema: what one value may be, as JSON Schema.
        read: the value that a text stands for; raises ValueError with what is wrong, to complete "<name> ...".
        default: the value when it is not given.
        many: whether it may be given several times; its value is a tuple then.
        in_path: whether it is a part of the path.
        example: a value for the documentation.
    """

    name: str
    words: str
    schema: Mapping[str, object]
    read: Callable[[str], object]
    default: object = None
    many: bool = False
    required: bool = False
    in_path: bool = False
    example: object = None


def text(name: str, words: str, *, most: int = MOST_LETTERS, example: object = None) -> Parameter:
    """A text of at most *most* letters."""

    def read(given: str) -> str:
        if not given:
            raise ValueError("is empty; leave it out instead")
        if len(given) > most:
            raise ValueError(f"is longer than {most} characters")
        if _UNUSABLE.search(given):
            raise ValueError("holds characters that cannot be printed")
        return given

    # Control characters are refused; half characters do not exist in a schema's world.
    schema = {"type": "string", "minLength": 1, "maxLength": most, "pattern": r"^[^\u0000-\u001f\u007f]+$"}
    return Parameter(name, words, schema, read, example=example)


def word(name: str, words: str, kinds: type[StrEnum] | Sequence[str], *, default: str | None = None) -> Parameter:
    """One of a closed list of words."""
    allowed = [str(kind) for kind in kinds]

    def read(given: str) -> str:
        if given not in allowed:
            raise ApiProblem(400, f"{name} must be one of {', '.join(allowed)}", allowed=allowed)
        return given

    return Parameter(name, words, {"type": "string", "enum": allowed}, read, default)


def flag(name: str, words: str) -> Parameter:
    """Yes or no; no when it is not given."""
    parameter = word(name, words, (_YES, _NO))
    return replace(parameter, schema={"type": "boolean"}, read=lambda given: parameter.read(given) == _YES, default=False)


def number(name: str, words: str, *, least: int, most: int, default: int | None = None, in_path: bool = False) -> Parameter:
    """A whole number within bounds."""

    def read(given: str) -> int:
        fits = given.isascii() and given.isdigit() and len(given) <= len(str(most))
        if not fits or not least <= int(given) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(given)

    return Parameter(name, words, {"type": "integer", "minimum": least, "maximum": most}, read, default, in_path=in_path)


def span(name: str, words: str, default: timedelta | None = None) -> Parameter:
    """A length of time, such as `30m`."""

    def read(given: str) -> timedelta:
        if not re.fullmatch(_SPAN, given):
            raise ValueError("must be a length of time in one unit, such as 90s, 15m, 36h or 7d")
        return parse_duration(given)

    schema: dict[str, object] = {"type": "string", "pattern": _SPAN}
    if default is not None:
        schema["default"] = format_duration(default)
    return Parameter(name, words, schema, read, default)


Part = str | int


def cursor(name: str, *kinds: type[Part]) -> Parameter:
    """Where the list *name* goes on."""

    def read(given: str) -> tuple[Part, ...]:
        try:
            return decode(name, kinds, given)
        except ValueError as error:
            raise ValueError(f"{error}; begin again without it") from None

    words = "go on behind this row: `nextCursor` of the page before, as it is"
    return Parameter("cursor", words, {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}, read)


def repeated(parameter: Parameter) -> Parameter:
    """The same, to be given any number of times: one of these."""
    return replace(parameter, many=True, default=(), words=f"{parameter.words}; may be given several times")


def given_by(parameters: Sequence[Parameter], path: Mapping[str, str], query: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """
    The value of every parameter.

    Raises:
        Refused: an unknown one, one that cannot be read, a missing one, one too many; says what is allowed.
    """
    known = {parameter.name: parameter for parameter in parameters}
    texts: dict[str, list[str]] = {name: [value] for name, value in path.items()}
    for name, value in query:
        if name not in known or known[name].in_path:
            raise _unknown(name, parameters)
        texts.setdefault(name, []).append(value)
    return {name: _value(parameter, texts.get(name, [])) for name, parameter in known.items()}


def _value(parameter: Parameter, texts: Sequence[str]) -> object:
    if not texts:
        if parameter.required:
            raise ApiProblem(400, f"{parameter.name} is needed: {parameter.words}")
        return parameter.default
    if len(texts) > (MOST_VALUES if parameter.many else 1):
        most = f"at most {MOST_VALUES} times" if parameter.many else "once"
        raise ApiProblem(400, f"{parameter.name} may be given {most}")
    try:
        values = tuple(parameter.read(text) for text in texts)
    except ValueError as error:
        raise ApiProblem(404 if parameter.in_path else 400, f"{parameter.name} {error}") from None
    return values if parameter.many else values[0]


def _unknown(name: str, parameters: Sequence[Parameter]) -> ApiProblem:
    allowed = [parameter.name for parameter in parameters if not parameter.in_path]
    shown = _UNUSABLE.sub("?", name[:60])
    there_are = f"there are {', '.join(allowed)}" if allowed else "there are none"
    return ApiProblem(400, f"there is no parameter {shown} here; {there_are}", allowed=allowed)


_MOST = 2**63 - 1


def encode(name: str, parts: Sequence[Part]) -> str:
    """The cursor of the list *name* behind the row with these *parts*."""
    text = json.dumps([name, *parts], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(name: str, kinds: Sequence[type[Part]], text: str) -> tuple[Part, ...]:
    """
    What `encode` was given.

    Raises:
        ValueError: it is no cursor of this list.
    """
    try:
        found = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, UnicodeError, ValueError, RecursionError):
        raise ValueError("is no cursor") from None
    if not isinstance(found, list) or found[:1] != [name] or len(found) != len(kinds) + 1:
        raise ValueError("is no cursor of this list")
    parts = found[1:]
    if not all(type(part) is kind for part, kind in zip(parts, kinds, strict=True)):
        raise ValueError("is no cursor of this list")
    if any(isinstance(part, int) and not 0 <= part <= _MOST for part in parts):
        raise ValueError("is no cursor of this list")
    return tuple(parts)
