"""Pydantic's errors as problems with a line. No message repeats a value: it may be a secret in the wrong place."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from monitor.config.types import Section, keys, section_at
from monitor.config.yaml import Path, YamlDocument, dotted
from monitor.errors import Problem

_MAPPING = ("must be keys with values", "one 'key: value' per line, indented")
_PLAIN: Mapping[str, tuple[str, str]] = {
    "missing": ("is missing", "add it"),
    "string_type": ("must be text", "put it in quotes"),
    "int_type": ("must be a whole number", "such as 5, without quotes or unit"),
    "int_from_float": ("must be a whole number", "such as 5"),
    "float_type": ("must be a number", "such as 0.5, without quotes or unit"),
    "bool_type": ("must be true or false", ""),
    "tuple_type": ("must be a list", "write [one, two], or one '- item' per line"),
    "dict_type": _MAPPING,
    "mapping_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
}
_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("must be more than {}", "gt"),
    "greater_than_equal": ("must be at least {}", "ge"),
    "less_than": ("must be less than {}", "lt"),
    "less_than_equal": ("must be at most {}", "le"),
    "too_long": ("must have at most {} items", "max_length"),
    "too_short": ("must have at least {} items", "min_length"),
    "string_too_long": ("must have at most {} characters", "max_length"),
}


_WORD = re.compile(r"[A-Za-z0-9_.*/ -]{1,40}")


def translate(error: ErrorDetails, at: Path, document: YamlDocument, top: type[Section]) -> Problem:
    """
    One of pydantic's errors as a problem.

    Args:
        error: its own location continues from *at*.
        at: the place of the validated value.
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
        return _unknown_choice(error["input"], str(context["expected"]))
    if kind in _BOUNDS:
        text, bound = _BOUNDS[kind]
        return text.format(context[bound]), ""
    if kind == "string_type" and "match" in path[:-1]:
        choices = error["input"]
        if isinstance(choices, list) and choices and all(isinstance(choice, str) and _WORD.fullmatch(choice) for choice in choices):
            return "must be text", f"separate alternatives by |: {'|'.join(choices)}"
    return _PLAIN.get(kind, ("is not valid", "see docs/reference/configure.md"))


def _unknown_key(path: Path, top: type[Section]) -> tuple[str, str]:
    section, name = section_at(top, path[:-1]), str(path[-1])
    if section is not None and name in section.unsupported:
        return "is not supported", section.unsupported[name]
    known = [key.name for key in keys(section)] if section else []
    return "is an unknown key", suggest(name, known, "known keys")


def _unknown_choice(given: Any, expected: str) -> tuple[str, str]:
    choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")]
    close = nearest(given, choices) if isinstance(given, str) else None
    return f"must be one of: {', '.join(choices)}", f"did you mean {close}?" if close else ""


def nearest(text: str, known: Sequence[str], cutoff: float = 0.6) -> str | None:
    """The one of *known* that *text* is probably a misspelling of; None if nothing is similar."""
    lowered = {each.lower(): each for each in reversed(known)}
    return next((lowered[each] for each in difflib.get_close_matches(text.lower(), lowered, n=1, cutoff=cutoff)), None)


def suggest(text: str, known: list[str], what: str) -> str:
    """Advice for an unknown *text*: the nearest known one, else all of them."""
    close = nearest(text, known)
    if close:
        return f"did you mean {close}?"
    return f"{what}: {', '.join(known)}" if known else "remove it"
