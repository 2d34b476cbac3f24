"""Checks a document against the part of JSON Schema that our published schemas use; refuses the rest, so that nothing goes unchecked."""

import re
from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
_FORMATS = {"date-time": r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z", "date": r"\d{4}-\d{2}-\d{2}"}
_NOTES = frozenset({"$schema", "$id", "$defs", "title", "description", "examples"})


def problems(document: Any, schema: Any, root: Any = None, where: str = "$") -> Iterator[str]:
    """Everything in *document* that *schema* does not allow."""
    root = schema if root is None else root
    for keyword, value in schema.items():
        if keyword not in _NOTES:
            yield from _CHECKS[keyword](document, value, schema, root, where)


def _ref(document: Any, value: Any, _: Any, root: Any, where: str) -> Iterator[str]:
    found = root
    for name in value.removeprefix("#/").split("/"):
        found = found[name]
    yield from problems(document, found, root, where)


def _type(document: Any, value: Any, _: Any, __: Any, where: str) -> Iterator[str]:
    names = [value] if isinstance(value, str) else value
    # In Python True is an int; in JSON it is not.
    fits = any(isinstance(document, _TYPES[name]) and (isinstance(document, bool) == (name == "boolean")) for name in names)
    if not fits:
        yield f"{where} is not {' or '.join(names)}: {document!r}"


def _enum(document: Any, value: Any, _: Any, __: Any, where: str) -> Iterator[str]:
    if document not in value:
        yield f"{where} is none of {value}: {document!r}"


def _const(document: Any, value: Any, _: Any, __: Any, where: str) -> Iterator[str]:
    if document != value:
        yield f"{where} is not {value!r}: {document!r}"


def _required(document: Any, value: Any, _: Any, __: Any, where: str) -> Iterator[str]:
    yield from (f"{where} lacks {name}" for name in value if isinstance(document, dict) and name not in document)


def _properties(document: Any, value: Any, _: Any, root: Any, where: str) -> Iterator[str]:
    for name in value.keys() & (document if isinstance(document, dict) else {}):
        yield from problems(document[name], value[name], root, f"{where}.{name}")


def _additional(document: Any, value: Any, schema: Any, root: Any, where: str) -> Iterator[str]:
    for name in (document if isinstance(document, dict) else {}).keys() - schema.get("properties", {}).keys():
        if value is False:
            yield f"{where} has an unknown {name}"
        else:
            yield from problems(document[name], value, root, f"{where}.{name}")


def _items(document: Any, value: Any, _: Any, root: Any, where: str) -> Iterator[str]:
    for index, item in enumerate(document if isinstance(document, list) else []):
        yield from problems(item, value, root, f"{where}[{index}]")


def _any_of(document: Any, value: Any, _: Any, root: Any, where: str) -> Iterator[str]:
    found = [list(problems(document, choice, root, where)) for choice in value]
    if all(found):
        yield from min(found, key=len)


def _pattern(document: Any, value: Any, _: Any, __: Any, where: str) -> Iterator[str]:
    if isinstance(document, str) and not re.search(value, document):
        yield f"{where} does not fit {value}: {document!r}"


def _max(document: Any, value: Any, _: Any, __: Any, where: str) -> Iterator[str]:
    if isinstance(document, str | list) and len(document) > value:
        yield f"{where} is longer than {value}"


def _format(document: Any, value: Any, _: Any, __: Any, where: str) -> Iterator[str]:
    if isinstance(document, str) and not re.fullmatch(_FORMATS[value], document):
        yield f"{where} is no {value}: {document!r}"


_CHECKS = {
    "format": _format,
    "$ref": _ref,
    "type": _type,
    "enum": _enum,
    "const": _const,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "anyOf": _any_of,
    "pattern": _pattern,
    "maxLength": _max,
    "maxItems": _max,
}
