"""
The Prometheus text formats: lines, headers, numbers.

Byte for byte what the official client library prints, but without a second object per sample.

Source: Prometheus, "Exposition formats", text format 0.0.4; OpenMetrics 1.0, "Text format".
"""

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from monitor.metrics.families import Family, Kind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ODD = re.compile(r'[\\\n"]')
_MILLION = 1_000_000
# Microseconds since 1970 with sixteen digits, of which a float holds every one: the years 2001 to 2242.
_SIXTEEN_DIGITS = range(10**15, 2**33 * _MILLION)

YES = "1.0"
NO = "0.0"


def header(family: Family, *, openmetrics: bool) -> bytes:
    """The lines that introduce *family*. Before OpenMetrics an info is a gauge, and units are not told."""
    if not openmetrics:
        kind = Kind.GAUGE if family.kind is Kind.INFO else family.kind
        return f"# HELP {family.name} {family.help}\n# TYPE {family.name} {kind}\n".encode()
    name = family.name.removesuffix("_info") if family.kind is Kind.INFO else family.name
    unit = f"# UNIT {name} {family.unit}\n" if family.unit else ""
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n{unit}".encode()


def escape(value: str) -> str:
    """A label's value between its quotes."""
    if _ODD.search(value) is None:
        return value
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def pairs(labels: Iterable[tuple[str, str]]) -> str:
    """Labels, ordered by name, as they stand between the braces."""
    return ",".join(f'{name}="{escape(value)}"' for name, value in sorted(labels))


def number(value: float) -> str:
    """A number as Go prints it."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    text = repr(float(value))
    dot = text.find(".")
    if value > 0 and dot > 6:
        mantissa = f"{text[0]}.{text[1:dot]}{text[dot + 1 :]}".rstrip("0.")
        return f"{mantissa}e+{dot - 1:02d}"
    return text


def whole(value: int) -> str:
    """`number` for whole numbers, several times faster."""
    if value < _MILLION:
        return f"{value}.0"
    text = str(value)
    mantissa = f"{text[0]}.{text[1:]}".rstrip("0.")
    return f"{mantissa}e+{len(text) - 1:02d}"


def timestamp(at: datetime) -> str:
    """`number` for a moment, in seconds since 1970."""
    microseconds = (at - _EPOCH) // _MICROSECOND
    if microseconds not in _SIXTEEN_DIGITS:
        return number(microseconds / _MILLION)
    text = str(microseconds)
    mantissa = f"{text[0]}.{text[1:]}".rstrip("0").rstrip(".")
    return f"{mantissa}e+09"


def seconds_since_1970(at: datetime) -> int:
    """A moment in whole seconds, rounded down."""
    return (at - _EPOCH) // timedelta(seconds=1)
