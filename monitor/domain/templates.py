"""
Bodies in a form that somebody else prescribes: a JSON document with places to fill in. Pure.

A place is `{path}`, such as `{data.connection.id}`, inside a text of the template. A text that is nothing but one place
becomes the value itself, whatever it is; elsewhere the value's text is put in, and nothing for an absent one. The template is
read as JSON first and filled in afterwards, so whatever a value holds, the result is JSON of the template's shape.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from monitor.domain.examples import examples

MAX_TEMPLATE = 20_000

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_LABELS = "data.connection.labels."


def fill(template: str, document: Mapping[str, Any]) -> bytes:
    """
    The body that *template* makes of the stored *document*: UTF-8 JSON.

    Raises:
        ValueError: *template* is no JSON.
    """
    return json.dumps(_filled(_parsed(template), document), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def problems(template: str, nearest: Callable[[str, Sequence[str]], str | None]) -> Iterator[tuple[str, str]]:
    """
    What is wrong with *template*, each with what to do; it was tried on every type of body when there is nothing.

    *nearest* gives the one of several words that was probably meant by another, or None.
    """
    if len(template) > MAX_TEMPLATE:
        yield f"is longer than {MAX_TEMPLATE} characters", "shorten it"
        return
    try:
        parsed = _parsed(template)
    except json.JSONDecodeError as error:
        yield (
            f"is no JSON: {error.msg} in its line {error.lineno}, column {error.colno}",
            "write a JSON document with {places} in its texts",
        )
        return
    except (ValueError, RecursionError):
        yield "is no JSON that can be sent", "remove NaN, Infinity and deep nesting"
        return
    if not isinstance(parsed, dict | list):
        yield "must be a JSON object or list", 'such as {"text": "{summary}"}'
        return
    documents = [json.loads(body) for body in examples().values()]
    known = sorted({path for document in documents for path in _paths(document)})
    yield from dict.fromkeys(_odd_places(parsed, known, nearest))
    for document in documents:
        json.loads(fill(template, document))


def texts(template: str) -> Iterator[str]:
    """The texts of *template* that hold no place: what it says by itself, secrets included."""
    return (text for text in _texts(_parsed(template)) if not _PART.search(text))


def _parsed(template: str) -> Any:
    return json.loads(template, parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _filled(part: Any, document: Mapping[str, Any]) -> Any:
    if isinstance(part, dict):
        return {name: _filled(value, document) for name, value in part.items()}
    if isinstance(part, list):
        return [_filled(value, document) for value in part]
    if not isinstance(part, str):
        return part
    whole = _PART.fullmatch(part)
    if whole and whole[1] is not None:
        return _value(document, whole[1])
    return _PART.sub(lambda match: _replacement(match, document), part)


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


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    for below in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _texts(below)


def _odd_places(template: Any, known: Sequence[str], nearest: Callable[[str, Sequence[str]], str | None]) -> Iterator[tuple[str, str]]:
    for text in _texts(template):
        for match in _PART.finditer(text):
            if match[0] in {"{", "}"}:
                yield f"has a single {match[0]} in a text", f"write {2 * match[0]} for the character itself"
            path = (match[1] or "").strip()
            if match[1] is not None and path not in known and not path.startswith(_LABELS):
                close = nearest(path, known)
                advice = f"did you mean {{{close}}}?" if close else "docs/reference/webhook.md shows what a body holds"
                yield f"has an unknown place {{{path}}}", advice


def _paths(part: Any, before: str = "") -> Iterator[str]:
    for name, value in part.items() if isinstance(part, dict) else ():
        yield before + name
        yield from _paths(value, f"{before}{name}.")
