"""What pydantic found, in plain words. No text repeats a value: it may be a secret in the wrong place."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from monitor.config.types import Section, keys, section_at
from monitor.config.yaml import Path, YamlDocument, dotted
from monitor.errors import Problem

_LIST = "write [one, two], or one '- item' per line"
_PLAIN: Mapping[str, tuple[str, str]] = {
    "missing": ("is missing", "add it"),
    "string_type": ("must be text", "put it in quotes"),
    "int_type": ("must be a whole number", "such as 5, without quotes or unit"),
    "int_from_float": ("must be a whole number", "such as 5"),
    "float_type": ("must be a number", "such as 0.5, without quotes or unit"),
    "bool_type": ("must be true or false", ""),
    "tuple_type": ("must be a list", _LIST),
    "dict_type": ("must be keys with values", "one 'key: value' per line, indented"),
    "mapping_type": ("must be keys with values", "one 'key: value' per line, indented"),
    "model_type": ("must be keys with values", "one 'key: value' per line, indented"),
    "model_attributes_type": ("must be keys with values", "one 'key: value' per line, indented"),
}
_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("must be more than", "gt"),
    "greater_than_equal": ("must be at least", "ge"),
    "less_than": ("must be less than", "lt"),
    "less_than_equal": ("must be at most", "le"),
    "too_long": ("must have at most so many items:", "max_length"),
    "too_short": ("must have at least so many items:", "min_length"),
    "string_too_long": ("must have at most so many characters:", "max_length"),
}


def translate(error: ErrorDetails, at: Path, document: YamlDocument, top: type[Section]) -> Problem:
    """
    One of pydantic's errors as a problem with its line.

    Args:
        error: its own location continues from *at*.
        at: where the value stands that it was found in.
        document: tells the lines.
        top: the model of the whole document, for suggesting keys.
    """
    path: Path = (*at, *error["loc"])
    if path and path[-1] == "[key]":
        path = path[:-1]
    message, fix = _explain(error, path, top)
    return Problem(document.location(path), f"{dotted(path)} {message}" if path else message, fix)


def _explain(error: ErrorDetails, path: Path, top: type[Section]) -> tuple[str, str]:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "problem":
        return str(context["message"]), str(context["fix"])
    if kind == "extra_forbidden":
        return _unknown_key(path, top)
    if kind == "literal_error":
        return _suggest_word(error, context)
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return f"{words} {context[bound]}", ""
    if kind == "value_error":
        return str(context["error"]), ""
    return _PLAIN.get(kind, ("is not valid", "see docs/reference/configure.md"))


def _unknown_key(path: Path, top: type[Section]) -> tuple[str, str]:
    section, name = section_at(top, path[:-1]), str(path[-1])
    if section is not None and name in section.unsupported:
        return "is not supported", section.unsupported[name]
    known = [key.name for key in keys(section)] if section else []
    return "is an unknown key", suggest(name, known, "known keys")


def _suggest_word(error: ErrorDetails, context: Mapping[str, Any]) -> tuple[str, str]:
    words = [word.strip("'") for word in str(context["expected"]).replace(" or ", ", ").split(", ")]
    given = error["input"]
    close = difflib.get_close_matches(given.lower(), words, n=1) if isinstance(given, str) else []
    return f"must be one of: {', '.join(words)}", f"did you mean {close[0]}?" if close else ""


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The one of *known* that was probably meant by *word*; None when nothing is like it."""
    return next(iter(difflib.get_close_matches(word.lower(), known, n=1)), None)


def suggest(word: str, known: list[str], what: str) -> str:
    """Advice for an unknown *word*: the nearest known one, else all of them."""
    close = nearest(word, known)
    if close:
        return f"did you mean {close}?"
    return f"{what}: {', '.join(known)}" if known else "remove it"
