"""
YAML with line numbers: plain values out, and for each of them the line it came from.

Built from the parser's events, so nothing in a file can create an object. Scalars follow the YAML 1.2 core rules:
only `true` and `false` are booleans (`off`, `no` and `1:30` are texts), keys are texts. Refused: duplicate keys, tags,
merge keys, a second document, deep nesting, and aliases that would unfold without end.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from monitor.errors import Problem

Path = tuple[str | int, ...]
"""Where a value stands: keys and list positions from the top."""

MAX_DEPTH = 30
MAX_NODES = 1_000_000

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+)")
_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
_TEXT_TAGS = frozenset({None, "!", "tag:yaml.org,2002:str"})


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """
    One parsed file.

    Attributes:
        name: as problems show it.
        data: dicts with text keys, lists, texts, numbers, booleans, None.
        lines: path → line, counted from 1, of everything in *data*.
        problems: what is wrong with the file as YAML.
    """

    name: str
    data: Any
    lines: Mapping[Path, int]
    problems: tuple[Problem, ...] = ()

    def location(self, path: Path) -> str:
        """`file:line` of what stands at *path*, or of the nearest thing around it."""
        for length in range(len(path), -1, -1):
            line = self.lines.get(path[:length])
            if line is not None:
                return f"{self.name}:{line}"
        return self.name

    def at(self, path: Path) -> Any:
        """The value at *path*, None where there is none."""
        value = self.data
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value


def parse(text: str, name: str) -> YamlDocument:
    """The values and lines of a YAML *text*. Never raises: what is wrong with it is in `problems`."""
    builder = _Builder(text, name)
    try:
        data = builder.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        builder.refuse(mark.line + 1 if mark else 1, f"not valid YAML: {error.problem or error.context}", _advice(text, mark))
        data = None
    except (yaml.YAMLError, UnicodeError):
        builder.refuse(1, "not valid YAML: it holds characters that YAML forbids", "save it as plain UTF-8 text")
        data = None
    except _StopReading:
        data = None
    return YamlDocument(name, data, builder.lines, tuple(builder.problems))


def _advice(text: str, mark: yaml.Mark | None) -> str:
    lines = text.split("\n")
    if mark and mark.line < len(lines) and lines[mark.line][: mark.column + 1].lstrip(" ").startswith("\t"):
        return "indent with spaces, not tabs"
    return "check indentation, colons, brackets and quotes on this line and the one before"


class _StopReading(Exception):
    """The rest of the file can't be read sensibly."""


@dataclass(slots=True)
class _Anchor:
    value: Any = None
    size: int = 0
    done: bool = False


class _Builder:
    """Turns the parser's events into values."""

    def __init__(self, text: str, name: str) -> None:
        self._events: Iterator[Event] = yaml.parse(text, Loader=_LOADER)
        self._name = name
        self._anchors: dict[str, _Anchor] = {}
        self._size = 0
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []

    def refuse(self, line: int, message: str, fix: str) -> None:
        """Note a problem at *line*."""
        self.problems.append(Problem(f"{self._name}:{line}", message, fix))

    def document(self) -> Any:
        """The value of the only document; None for an empty file."""
        data, seen = None, False
        for event in self._events:
            if isinstance(event, StreamEndEvent):
                return data
            if isinstance(event, DocumentStartEvent):
                if seen:
                    self.refuse(_line(event), "a second document begins", "remove the line ---; a configuration is one document")
                    return data
                seen = True
                data = self._value(next(self._events), ())
        return data

    def _value(self, event: Event, path: Path) -> Any:
        self.lines.setdefault(path, _line(event))
        self._count(1, event)
        if isinstance(event, AliasEvent):
            return self._alias(event)
        anchor = self._anchor(event)
        before = self._size
        if isinstance(event, ScalarEvent):
            value = self._scalar(event)
        else:
            self._check_collection(event, path)
            value = self._mapping(path) if isinstance(event, MappingStartEvent) else self._sequence(path)
        if anchor is not None:
            anchor.value, anchor.size, anchor.done = value, self._size - before, True
        return value

    def _anchor(self, event: Event) -> _Anchor | None:
        if not isinstance(event, NodeEvent) or event.anchor is None:
            return None
        anchor = self._anchors[event.anchor] = _Anchor()
        return anchor

    def _alias(self, event: AliasEvent) -> Any:
        anchor = self._anchors.get(event.anchor or "")
        if anchor is None or not anchor.done:
            self.refuse(_line(event), "an alias (*name) has no anchor (&name) before it", "put texts that begin with * or & into quotes")
            raise _StopReading
        self._count(anchor.size, event)
        return anchor.value

    def _count(self, nodes: int, event: Event) -> None:
        self._size += nodes
        if self._size > MAX_NODES:
            self.refuse(_line(event), f"the file unfolds to more than {MAX_NODES} values", "write it without nested aliases")
            raise _StopReading

    def _check_collection(self, event: Event, path: Path) -> None:
        if not isinstance(event, MappingStartEvent | SequenceStartEvent):
            raise _StopReading
        if event.tag not in {None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}:
            self.refuse(_line(event), "YAML tags (!name) are not supported", "put texts that begin with ! into quotes")
        if len(path) >= MAX_DEPTH:
            self.refuse(_line(event), f"nested deeper than {MAX_DEPTH} levels", "check the brackets and the indentation")
            raise _StopReading

    def _mapping(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for event in self._events:
            if isinstance(event, MappingEndEvent):
                break
            self._pair(event, path, found)
        return found

    def _pair(self, event: Event, path: Path, found: dict[str, Any]) -> None:
        if not isinstance(event, ScalarEvent):
            self.refuse(_line(event), "a key must be a plain word", "check brackets and braces; put ${...} and *... into quotes")
            raise _StopReading
        key, line = event.value, _line(event)
        child: Path = (*path, key)
        if key == "<<":
            self.refuse(line, "merge keys (<<) are not supported", "write the keys out")
        elif key in found:
            self.refuse(line, f"{dotted(child)} is given twice (first on line {self.lines[child]})", "keep one of the two")
        else:
            self.lines[child] = line
        value = self._value(next(self._events), child)
        if key != "<<":
            found.setdefault(key, value)

    def _sequence(self, path: Path) -> list[Any]:
        found: list[Any] = []
        for event in self._events:
            if isinstance(event, SequenceEndEvent):
                break
            found.append(self._value(event, (*path, len(found))))
        return found

    def _scalar(self, event: ScalarEvent) -> Any:
        if event.tag not in _TEXT_TAGS:
            self.refuse(_line(event), "YAML tags (!name) are not supported", "put texts that begin with ! into quotes")
            return event.value
        return _plain(event.value) if event.implicit[0] else event.value


def _plain(text: str) -> Any:
    """What an unquoted scalar stands for. Long digits stay texts: ids would lose their end."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > 18:
        return text
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _line(event: Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def dotted(path: Path) -> str:
    """*path* as people write it: `accounts[0].api_key`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
