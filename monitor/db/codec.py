"""
Values as JSON text and times as numbers, for the columns that hold them.

Fields with their default value are left out, unknown ones are ignored (an older program may read what a newer one
wrote), and types are strict: a document that does not fit is damage, not something to guess about.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from monitor.clock import from_milliseconds, to_milliseconds
from monitor.domain.events import Notification
from monitor.domain.expiry.interval import RoundingEvidence
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.scopes.state import ScopeState
from monitor.domain.states import ConnectionState
from monitor.errors import StoreCorrupt

_Value = TypeVar("_Value")


def millis(at: datetime) -> int:
    """Milliseconds since 1970 of *at*, rounded down."""
    return to_milliseconds(at)


def moment(number: int) -> datetime:
    """The time that `millis` made *number* of."""
    return from_milliseconds(number)


def whole_milliseconds(at: datetime) -> datetime:
    """*at* as it is stored."""
    return moment(millis(at))


def maybe_millis(at: datetime | None) -> int | None:
    """As `millis`; None stays None."""
    return None if at is None else millis(at)


def maybe_moment(number: int | None) -> datetime | None:
    """As `moment`; None stays None."""
    return None if number is None else moment(number)


def dump_state(state: ConnectionState) -> str:
    """The JSON text of *state*."""
    return _adapter(ConnectionState).dump_json(state, exclude_defaults=True).decode()


def load_state(document: str, where: str) -> ConnectionState:
    """The state in *document*; raises StoreCorrupt naming *where* it was read."""
    value: ConnectionState = _load(_adapter(ConnectionState), document, where)
    return value


def encode_scope(state: ScopeState) -> bytes:
    """The JSON document of *state*, without its key: that is a column of its own."""
    return _adapter(ScopeState).dump_json(state, exclude_defaults=True, exclude={"key"})


def decode_scope(name: str, document: bytes) -> ScopeState:
    """The state of the scope *name* in *document*; raises StoreCorrupt."""
    fields = _load(_adapter(dict[str, Any]), document.decode(), f"scopes row {name}")
    with_key = json.dumps(fields | {"key": ScopeKey.parse(name)})
    value: ScopeState = _load(_adapter(ScopeState), with_key, f"scopes row {name}")
    return value


def encode_rounding(evidence: RoundingEvidence) -> str:
    """The JSON text of *evidence*."""
    return _adapter(RoundingEvidence).dump_json(evidence, exclude_defaults=True).decode()


def decode_rounding(document: str | None) -> RoundingEvidence:
    """The evidence in *document*, none without one; raises StoreCorrupt."""
    value: RoundingEvidence = _load(_adapter(RoundingEvidence), document or "{}", "what is known of the API's rounding")
    return value


def dump_notification(notification: Notification) -> str:
    """The JSON text of *notification*."""
    return _adapter(Notification).dump_json(notification, exclude_defaults=True).decode()


def load_notification(document: str, where: str) -> Notification:
    """The notification in *document*; raises StoreCorrupt naming *where* it was read."""
    value: Notification = _load(_adapter(Notification), document, where)
    return value


def dump_labels(labels: Mapping[str, str]) -> str:
    """The JSON text of a connection's labels."""
    return _adapter(dict[str, str]).dump_json(dict(labels)).decode()


def load_labels(document: str, where: str) -> dict[str, str]:
    """The labels in *document*; raises StoreCorrupt naming *where* they were read."""
    return _load(_adapter(dict[str, str]), document, where)


def dump_names(names: tuple[str, ...]) -> str:
    """The JSON text of a list of words."""
    return _adapter(tuple[str, ...]).dump_json(names).decode()


def load_names(document: str, where: str) -> tuple[str, ...]:
    """The words in *document*; raises StoreCorrupt naming *where* they were read."""
    return _load(_adapter(tuple[str, ...]), document, where)


def message_id(text: str) -> int:
    """The number under which *text* is stored: 64 bits of its SHA-256, signed as both databases want it."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _load(adapter: TypeAdapter[_Value], document: str, where: str) -> _Value:
    try:
        value = adapter.validate_json(document, strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in problem["loc"]) or "document"
        raise StoreCorrupt(f"{where} can't be read: {place}: {problem['msg']}") from None
    return value
