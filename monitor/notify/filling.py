"""
Templates of users, filled.

A place is `{path}`, such as `{data.connection.id}`, inside a text of the template. A text that is only a place becomes the value
itself, of any type; elsewhere the value's text is inserted, nothing for an absent one. A JSON template is parsed before it is filled, so
the result is JSON of the template's shape whatever a value holds.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
"""A place, a doubled brace, or a single one."""


def fill(template: str, document: Mapping[str, Any]) -> bytes:
    """Return *template* filled from the stored *document*: UTF-8 JSON. Raises ValueError: *template* is not JSON."""
    return json.dumps(_filled(parsed_json(template), document), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def fill_text(template: str, document: Mapping[str, Any]) -> str:
    """Return *template*, a text and no JSON, filled from the stored *document*."""
    return PLACE.sub(lambda match: _replacement(match, document), template)


def texts(template: str) -> Iterator[str]:
    """Yield the texts of *template* without a place; they may be secrets."""
    return (text for text in all_texts(parsed_json(template)) if not PLACE.search(text))


def parsed_json(template: str) -> Any:
    """Return the JSON in *template*; raises ValueError for anything else, NaN among it."""
    return json.loads(template, parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _filled(part: Any, document: Mapping[str, Any]) -> Any:
    if isinstance(part, dict):
        return {name: _filled(value, document) for name, value in part.items()}
    if isinstance(part, list):
        return [_filled(value, document) for value in part]
    if not isinstance(part, str):
        return part
    whole = PLACE.fullmatch(part)
    if whole and whole[1] is not None:
        return _value(document, whole[1])
    return PLACE.sub(lambda match: _replacement(match, document), part)


def _replacement(match: re.Match[str], document: Mapping[str, Any]) -> str:
    if match[1] is None:
        return match[0][0]
    value = _value(document, match[1])
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _value(document: Any, path: str) -> Any:
    for name in path.strip().split("."):
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document


def all_texts(part: Any) -> Iterator[str]:
    """Yield every text inside *part*, but for names of keys."""
    if isinstance(part, str):
        yield part
    for below in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from all_texts(below)
