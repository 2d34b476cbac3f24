"""
JSON Schema of the shapes.

What is known is the part of Python's types that the shapes use; anything else is an error, so that nothing is published
that says less than the type.

Source: OpenAPI 3.1.1, 4.8.24 (its schemas are JSON Schema 2020-12); PEP 589, PEP 593.
"""

import builtins
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

from monitor.schemas.shapes import Format

Schema = dict[str, Any]

_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


class Schemas:
    """The named schemas that were needed so far, each once: `components.schemas` of an OpenAPI document."""

    def __init__(self) -> None:
        self.named: dict[str, Schema] = {}
        self._kinds: dict[str, type] = {}

    def of(self, kind: Any) -> Schema:
        """
        The schema of a type; shapes and closed vocabularies become references.

        Raises:
            TypeError: no shape may hold that type.
        """
        if kind in _SIMPLE:
            return {"type": _SIMPLE[kind]}
        if is_typeddict(kind) or (isinstance(kind, type) and issubclass(kind, StrEnum)):
            return self._reference(kind)
        return self._composed(kind)

    def _composed(self, kind: Any) -> Schema:
        match get_origin(kind), get_args(kind):
            case typing.Annotated, (one, *notes):
                return self._annotated(one, *notes)
            case ((typing.Union | types.UnionType), choices):
                return self._maybe([self.of(one) for one in choices])
            case typing.NotRequired, (one,):
                return self.of(one)
            case builtins.list, (one,):
                return {"type": "array", "items": self.of(one)}
            case builtins.dict, (_, one):
                return {"type": "object", "additionalProperties": self.of(one)}
        raise TypeError(f"no shape may hold {kind!r}")

    def _annotated(self, kind: Any, *notes: object) -> Schema:
        schema = self.of(kind)
        for note in notes:
            schema = {**schema, "format": note.name} if isinstance(note, Format) else {**schema, "description": note}
        return schema

    def _maybe(self, choices: list[Schema]) -> Schema:
        """A value or null; other unions do not occur."""
        first, last = choices
        if last != {"type": "null"}:
            raise TypeError("no shape may hold a choice but that of null")
        return {**first, "type": [first["type"], "null"]} if "type" in first else {"anyOf": choices}

    def _reference(self, kind: type) -> Schema:
        name = kind.__name__
        if self._kinds.setdefault(name, kind) is not kind:
            raise TypeError(f"two shapes are called {name}")
        if name not in self.named:
            self.named[name] = {}  # a shape may hold itself
            self.named[name] = _words(kind) if issubclass(kind, StrEnum) else self._shape(kind)
        return {"$ref": f"#/components/schemas/{name}"}

    def _shape(self, kind: type) -> Schema:
        fields: Mapping[str, Any] = get_type_hints(kind, include_extras=True)
        properties = {name: self.of(hint) for name, hint in fields.items()}
        required: frozenset[str] = kind.__required_keys__  # type: ignore[attr-defined]
        return {
            "type": "object",
            "description": _summary(kind),
            "properties": properties,
            "required": [name for name in fields if name in required],
        }


def _words(kind: type[StrEnum]) -> Schema:
    return {"type": "string", "description": _summary(kind), "enum": [word.value for word in kind]}


def _summary(kind: type) -> str:
    """The first sentence of the docstring."""
    return " ".join((kind.__doc__ or "").strip().split("\n\n")[0].split())
