"""The kinds of values a configuration is made of: durations, names, counts, and the base of every section."""

import math
import re
from datetime import timedelta
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, Strict, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

T = TypeVar("T")

# Longest first, so that formatting prefers the larger unit; a year is 365 days, never a calendar year.
_UNITS = {
    "y": timedelta(days=365),
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_SIZES = {"B": 1, "MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZE = r"([0-9]{1,15}) ?(B|[MGT]i?B)?"
_PRINTED = ("d", "h", "m", "s", "ms")
_DURATION = r"(?:[0-9]+y)?(?:[0-9]+w)?(?:[0-9]+d)?(?:[0-9]+h)?(?:[0-9]+m)?(?:[0-9]+s)?(?:[0-9]+ms)?"
_PART = re.compile(r"([0-9]+)(ms|[ywdhms])")
_LONGEST = timedelta(days=3650)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def problem(message: str, fix: str = "") -> PydanticCustomError:
    """The error a validator raises: *message* completes "<key>: ...", *fix* says what to do."""
    return PydanticCustomError("problem", "{message}", {"message": message, "fix": fix})


def parse_duration(value: object) -> timedelta:
    """
    The duration that `15m`, `7d`, `36h` or `1d12h` stands for; a timedelta stays as it is.

    Units, largest first, each at most once: y (365 days), w, d, h, m (minutes), s, ms.

    Raises:
        PydanticCustomError: for anything else, with a hint.
    """
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise problem("needs a unit", f'write "{value}s" for seconds, "{value}m" for minutes')
    if not isinstance(value, str):
        raise problem("must be a duration", "such as 15m, 36h or 7d")
    text = value.strip()
    if not text or not re.fullmatch(_DURATION, text):
        raise problem("is not a duration", "such as 30s, 15m, 36h, 7d or 1d12h: largest unit first, no blanks")
    try:
        total = sum((int(count) * _UNITS[unit] for count, unit in _PART.findall(text)), timedelta())
    except (OverflowError, ValueError):
        total = _LONGEST * 2
    if total > _LONGEST:
        raise problem("is longer than ten years", "write a shorter duration")
    return total


def format_duration(duration: timedelta) -> str:
    """*duration* as the configuration writes it, in days and smaller units: `1d12h`, `15m`, `0s`."""
    left, parts = duration, []
    for unit in _PRINTED:
        count, left = divmod(left, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_size(value: object) -> int:
    """
    The bytes that `500MB`, `2GB` or `1GiB` stands for; a whole number is bytes.

    Raises:
        PydanticCustomError: for anything else, and for less than a megabyte.
    """
    found = re.fullmatch(_SIZE, str(value).strip()) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if found is None:
        raise problem("is not a size", "such as 500MB, 2GB or 1GiB")
    size = int(found[1]) * _SIZES[found[2] or "B"]
    if size < _SIZES["MB"]:
        raise problem("must be at least 1MB")
    return size


def off_or_duration(value: object) -> object:
    """`off` as a duration of nothing; anything else unchanged."""
    return timedelta(0) if value == "off" else value


def number_from_text(value: object) -> object:
    """The number a text spells, as `${VAR}` gives it; anything else unchanged."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value.strip()):
        return int(value)
    return value


def decimal_from_text(value: object) -> object:
    """The number a text spells, or a whole number, as a float; anything else unchanged."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value.strip()):
        return float(value)
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def flag_from_text(value: object) -> object:
    """True or False for the words `true` and `false`, as `${VAR}` gives them; anything else unchanged."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def _check_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise problem("is no usable name", "use up to 64 letters, digits, '.', '_' and '-', starting with a letter or digit")
    return value


def _check_text(value: str) -> str:
    if not value.strip() or len(value) > 100 or not value.isprintable():
        raise problem("must be one line of 1 to 100 printable characters")
    return value.strip()


def _check_label(value: str) -> str:
    if not _LABEL.fullmatch(value):
        raise problem("is no usable label name", "use letters, digits and '_', not starting with a digit")
    return value


def _check_finite(value: float) -> float:
    if not math.isfinite(value):
        raise problem("must be a number")
    return value


def between(least: timedelta, most: timedelta = _LONGEST) -> AfterValidator:
    """Accepts durations from *least* to *most*, both included."""

    def judge(value: timedelta) -> timedelta:
        if value < least:
            raise problem(f"must be at least {format_duration(least)}")
        if value > most:
            raise problem(f"must be at most {format_duration(most)}")
        return value

    return AfterValidator(judge)


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION}$", "examples": ["30s", "15m", "36h", "7d"]}),
]
"""A length of time, a timedelta in Python."""

Size = Annotated[
    int, BeforeValidator(parse_size), WithJsonSchema({"type": ["string", "integer"], "pattern": f"^{_SIZE}$", "examples": ["500MB", "2GB"]})
]
"""A number of bytes."""

Period = Annotated[Duration, between(timedelta(milliseconds=1))]
"""A duration longer than nothing."""

Switch = Annotated[bool, BeforeValidator(flag_from_text)]
Count = Annotated[int, BeforeValidator(number_from_text), Field(ge=1, le=1_000_000)]
Share = Annotated[float, BeforeValidator(decimal_from_text), AfterValidator(_check_finite), Field(ge=0, le=1)]
Rate = Annotated[float, BeforeValidator(decimal_from_text), AfterValidator(_check_finite), Field(gt=0, le=1000)]
Name = Annotated[str, AfterValidator(_check_name)]
Text = Annotated[str, AfterValidator(_check_text)]
LabelName = Annotated[str, AfterValidator(_check_label)]
Items = Annotated[tuple[T, ...], Strict(strict=False)]
"""A list in the file, a tuple in Python."""


class Section(BaseModel):
    """The base of every part of the configuration: immutable, strict, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, data: Any) -> Any:
        """A key without a value (all below it commented out, say) is as good as no key."""
        if not isinstance(data, dict):
            return data
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {key: value for key, value in data.items() if value is not None or key not in known}

    def masked(self) -> dict[str, Any]:
        """The section as plain values, in the words of the file, with secrets masked."""
        return self.model_dump(mode="json", by_alias=True)
