"""
Values as JSON text and times as numbers, for the columns that hold them.

Fields with their default value are left out, unknown ones are ignored (an older program may read what a newer one
wrote), and types are strict: a document that does not fit is damage. States keep what they do not know for the newer program.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import SchemaValidator, core_schema

from monitor.clock import from_milliseconds, to_milliseconds
from monitor.domain.cluster.findings import Board, Finding
from monitor.domain.copies import replace
from monitor.domain.delivery.receiver_outages import DISABLED
from monitor.domain.events import Notification
from monitor.domain.expiry.interval import RoundingEvidence
from monitor.domain.reasons import Scope
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.scopes.state import ScopeState
from monitor.domain.states import ConnectionState
from monitor.errors import StoreCorrupt

_Value = TypeVar("_Value")
_State = TypeVar("_State", ConnectionState, ScopeState)


def whole_milliseconds(at: datetime) -> datetime:
    """*at* as it is stored."""
    return from_milliseconds(to_milliseconds(at))


def maybe_millis(at: datetime | None) -> int | None:
    """Milliseconds since 1970 of *at*; None stays None."""
    return None if at is None else to_milliseconds(at)


def maybe_moment(number: int | None) -> datetime | None:
    """The moment *number* milliseconds after 1970; None stays None."""
    return None if number is None else from_milliseconds(number)


def dump_state(state: ConnectionState) -> str:
    """The JSON text of *state*."""
    return _with_unknown(_dump(ConnectionState, state), state.unknown).decode()


def load_state(document: str, where: str) -> ConnectionState:
    """The state in *document*; raises StoreCorrupt naming *where* it was read."""
    return _load_all(ConnectionState, document, where)


def encode_scope(state: ScopeState) -> bytes:
    """The JSON document of *state*, without its key: that is a column of its own."""
    return _with_unknown(_adapter(ScopeState).dump_json(state, exclude_defaults=True, exclude={"key"}), state.unknown)


def decode_scope(name: str, document: bytes) -> ScopeState:
    """The state of the scope *name* in *document*; raises StoreCorrupt."""
    where = f"scopes row {name}"
    fields = _load(dict[str, Any], document, where)
    return _load_all(ScopeState, json.dumps(fields | {"key": ScopeKey.parse(name)}), where)


def dump_findings(entries: tuple[Finding, ...]) -> str:
    """The JSON text of *entries*."""
    return _dump(tuple[Finding, ...], entries).decode()


def load_findings(document: str) -> tuple[Finding, ...]:
    """The findings in *document*; raises StoreCorrupt."""
    return _load(tuple[Finding, ...], document, "findings of a node")


def dump_board(board: Board) -> str:
    """The JSON text of *board*."""
    return _dump(Board, board).decode()


def load_board(document: str | None) -> Board:
    """The board in *document*, or an empty one; raises StoreCorrupt."""
    return _load(Board, document or "{}", "what the node with the shard global tells")


def encode_rounding(evidence: RoundingEvidence) -> str:
    """The JSON text of *evidence*."""
    return _dump(RoundingEvidence, evidence).decode()


def decode_rounding(document: str | None) -> RoundingEvidence:
    """The evidence in *document*, or none; raises StoreCorrupt."""
    return _load(RoundingEvidence, document or "{}", "what is known of the API's rounding")


def dump_notification(notification: Notification) -> str:
    """The JSON text of *notification*."""
    return _dump(Notification, notification).decode()


def load_notification(document: str, where: str) -> Notification:
    """The notification in *document*; raises StoreCorrupt naming *where* it was read."""
    found = _load(Notification, document, where)
    if found.scope is not Scope.RECEIVER:
        return found
    # So a disabled receiver was called up to release 0.1.
    before, after = (DISABLED if level == "gone" else level for level in (found.level_from, found.level_to))
    return replace(found, level_from=before, level_to=after)


def dump_labels(labels: Mapping[str, str]) -> str:
    """The JSON text of labels."""
    return _dump(dict[str, str], dict(labels)).decode()


def load_labels(document: str, where: str) -> dict[str, str]:
    """The labels in *document*; raises StoreCorrupt naming *where* they were read."""
    return _load(dict[str, str], document, where)


def dump_names(names: tuple[str, ...]) -> str:
    """The JSON text of *names*."""
    return _dump(tuple[str, ...], names).decode()


def load_names(document: str, where: str) -> tuple[str, ...]:
    """The names in *document*; raises StoreCorrupt naming *where* they were read."""
    return _load(tuple[str, ...], document, where)


@lru_cache(maxsize=1024)
def message_id(text: str) -> int:
    """The number under which *text* is stored: 64 bits of its SHA-256, signed as both databases want it."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def _dump(kind: type[_Value], value: _Value) -> bytes:
    return _adapter(kind).dump_json(value, exclude_defaults=True)


def _load(kind: type[_Value], document: str | bytes, where: str) -> _Value:
    try:
        value: _Value = _validator(cast("Any", kind)).validate_json(document, strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in problem["loc"]) or "document"
        raise StoreCorrupt(f"{where} can't be read: {place}: {problem['msg']}") from None
    return value


_UNKNOWN = "unexpected_keyword_argument"


def _load_all(kind: type[_State], document: str | bytes, where: str) -> _State:
    """As `_load`, with the fields that a newer program wrote as `unknown`; not those within lists, whose entries move."""
    try:
        return cast("_State", _validator(cast("Any", kind), strict=True).validate_json(document, strict=True))
    except ValidationError as error:
        problems = error.errors(include_url=False)
    value = _load(kind, document, where)
    kept = [(one["loc"], one["input"]) for one in problems if one["type"] == _UNKNOWN and all(isinstance(key, str) for key in one["loc"])]
    return replace(value, unknown=json.dumps(kept))


def _with_unknown(document: bytes, unknown: str) -> bytes:
    """*document* with the fields that a newer program wrote, where it still has their place."""
    if not unknown:
        return document
    fields = json.loads(document)
    fields.pop("unknown", None)
    for path, value in json.loads(unknown):
        place = fields
        for key in path[:-1]:
            place = place.get(key, {}) if isinstance(place, dict) else {}
        if isinstance(place, dict):
            place[path[-1]] = value
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


@cache
def _validator(kind: Any, *, strict: bool = False) -> SchemaValidator:
    """Reads values of *kind* as pydantic does, sharing equal ones: half the memory of many states. *strict*: refuses unknown fields."""
    return SchemaValidator(_sharing(_adapter(kind).core_schema, strict=strict))


def _sharing(schema: Any, *, strict: bool) -> Any:
    """*schema* with equal moments and tuples of names as one object each, and one empty mapping for all."""
    if isinstance(schema, list):
        return [_sharing(part, strict=strict) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "datetime":
        return core_schema.no_info_plain_validator_function(_moment)
    changed = {name: _sharing(part, strict=strict) for name, part in schema.items()}
    if strict and schema.get("type") == "dataclass-args":
        changed["extra_behavior"] = "forbid"
    if changed.get("default_factory") is dict:
        return changed | {"default_factory": lambda: _EMPTY}
    if changed.get("type") == "tuple" and changed["items_schema"][0]["type"] == "str":
        return core_schema.no_info_after_validator_function(_same, changed)
    return changed


_EMPTY: Mapping[Any, Any] = {}
_MOMENT = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.][0-9]{6})?Z")


@lru_cache(maxsize=4096)
def _moment(text: object) -> datetime:
    """The moment in *text*; as written here, with the zone of the standard library, whose arithmetic is several times faster."""
    if isinstance(text, str) and _MOMENT.fullmatch(text):
        return datetime.fromisoformat(text)
    moment: datetime = _adapter(datetime).validate_json(json.dumps(text), strict=True)
    return moment


@lru_cache(maxsize=1024)
def _same(names: tuple[str, ...]) -> tuple[str, ...]:
    return names
