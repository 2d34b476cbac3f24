"""How single values look in JSON."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

VERSION = "1"


def iso(at: datetime | None) -> str | None:
    """A moment for machines, to the millisecond."""
    return None if at is None else stamp(at)


def stamp(at: datetime) -> str:
    """A moment that is known."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(duration: timedelta | None) -> float | None:
    """A duration for machines."""
    return None if duration is None else duration.total_seconds()


def encode(document: Mapping[str, object]) -> bytes:
    """A document on one line, as UTF-8; half a character becomes a question mark."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(errors="replace") + b"\n"
