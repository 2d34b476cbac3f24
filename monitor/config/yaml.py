"""
YAML with line numbers: plain values, and for each of them the line it came from.

Scalars follow the YAML 1.2 core schema: only `true` and `false` are booleans (`off`, `no` and `1:30` are text), keys are text.
Refused: duplicate keys, tags, merge keys, a second document, deep nesting, and aliases that unfold to too many values.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.composer import Composer, ComposerError

from monitor.errors import Problem

Path = tuple[str | int, ...]
"""The place of a value: keys and list positions from the top."""

MAX_DEPTH = 30
MAX_NODES = 1_000_000

_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+)")
_CONSTANTS: dict[str, bool | None] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_CONSTANTS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
_PLAIN, _QUOTED = "plain", "quoted"
_TAGS = {yaml.ScalarNode: "tag:yaml.org,2002:str", yaml.MappingNode: "tag:yaml.org,2002:map", yaml.SequenceNode: "tag:yaml.org,2002:seq"}

_ALIAS = ("an alias (*name) has no anchor (&name) before it", "quote text that starts with * or &")
_TOO_MANY = (f"the file unfolds to more than {MAX_NODES} values", "write it without nested aliases")


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """
    One parsed file.

    Attributes:
        name: as problems show it.
        data: dicts with text keys, lists, texts, numbers, booleans, None.
        lines: path → line, counted from 1, of everything in *data*.
        files: path → file, of everything that came from another file than *name*, see `merged`.
    """

    name: str
    data: Any
    lines: Mapping[Path, int]
    problems: tuple[Problem, ...] = ()
    files: Mapping[Path, str] = field(default_factory=dict)

    def location(self, path: Path) -> str:
        """`file:line` of the value at *path*, or of the nearest value around it."""
        for length in range(len(path), -1, -1):
            line = self.lines.get(path[:length])
            if line is not None:
                return f"{self.files.get(path[:length], self.name)}:{line}"
        return self.name

    def relative(self, path: Path, other: Path) -> str:
        """`line N` of the value at *path*, with its file when the value at *other* is in another one."""
        file, _, line = self.location(path).rpartition(":")
        return f"line {line}" if file == self.file(other) else f"line {line} of {file}"

    def file(self, path: Path) -> str:
        """The file that the value at *path*, or the nearest value around it, came from."""
        return next((self.files[path[:length]] for length in range(len(path), 0, -1) if path[:length] in self.files), self.name)

    def at(self, path: Path) -> Any:
        """The value at *path*, None if there is none."""
        value = self.data
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def items(self, name: str) -> list[tuple[int, dict[str, Any]]]:
        """The mappings in the list called *name*, with their positions; empty if there is no such list."""
        value = self.at((name,))
        return [(index, item) for index, item in enumerate(value) if isinstance(item, dict)] if isinstance(value, list) else []


def merged(main: YamlDocument, more: Iterable[YamlDocument]) -> YamlDocument:
    """
    *main* with the files *more* put over it, in this order.

    Mappings are merged key by key, lists of entries are appended, an empty list empties what came before it, and any other value
    replaces the earlier one. Each value keeps the file and line it came from.
    """
    lines, files, data = dict(main.lines), dict(main.files), main.data
    problems = [*main.problems]
    for document in more:
        problems += document.problems
        if isinstance(document.data, dict):
            moved: dict[Path, Path] = {}
            data = _put_over(data if isinstance(data, dict) else {}, document.data, (), moved)
            for path, line in document.lines.items():
                target = _moved_path(path, moved)
                if path:
                    lines[target], files[target] = line, document.name
        elif document.data is not None:
            problems.append(Problem(document.location(()), "must be keys with values", "such as connections: with a list below it"))
    return YamlDocument(main.name, data, lines, tuple(problems), files)


def _put_over(below: dict[str, Any], above: dict[str, Any], path: Path, moved: dict[Path, Path]) -> dict[str, Any]:
    """*above* over *below*; where an entry of a list moves is noted in *moved*."""
    result = dict(below)
    for key, value in above.items():
        old, place = below.get(key), (*path, key)
        if isinstance(old, dict) and isinstance(value, dict):
            result[key] = _put_over(old, value, place, moved)
        elif isinstance(old, list) and isinstance(value, list) and value and _has_entries(value, place):
            moved |= {(*place, index): (*place, len(old) + index) for index in range(len(value))}
            result[key] = [*old, *value]
        elif value is not None or key not in below:
            result[key] = value
    return result


def _has_entries(value: list[Any], path: Path) -> bool:
    """Whether a list is one of entries, which are appended; a list of plain values within a section is one value."""
    return len(path) == 1 or all(isinstance(item, dict) for item in value)


def _moved_path(path: Path, moved: Mapping[Path, Path]) -> Path:
    for length in range(1, len(path) + 1):
        if path[:length] in moved:
            return (*moved[path[:length]], *path[length:])
    return path


def parse(text: str, name: str) -> YamlDocument:
    """The values and lines of a YAML *text*. Never raises: what is wrong with it is in `problems`."""
    reader = _Reader(name)
    data = None
    try:
        node = _Loader(text).get_single_node()
        data = None if node is None else reader.value(node, ())
    except _Refused as error:
        reader.refuse(*error.args)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reader.refuse(mark.line + 1 if mark else 1, *_syntax_error(text, error, mark))
    except (yaml.YAMLError, UnicodeError):
        reader.refuse(1, "not valid YAML: it contains characters that YAML forbids", "save it as plain UTF-8 text")
    return YamlDocument(name, data, reader.lines, tuple(reader.problems))


def _syntax_error(text: str, error: yaml.MarkedYAMLError, mark: yaml.Mark | None) -> tuple[str, str]:
    if isinstance(error, ComposerError):
        if error.context is None:
            return _ALIAS
        return "a second document starts", "remove the line ---; a configuration is one document"
    lines = text.split("\n")
    tab = mark is not None and mark.line < len(lines) and lines[mark.line][: mark.column + 1].lstrip(" ").startswith("\t")
    fix = "indent with spaces, not tabs" if tab else "check indentation, colons, brackets and quotes on this line and the one before"
    return f"not valid YAML: {error.problem or error.context}", fix


def dotted(path: Path) -> str:
    """*path* as people write it: `accounts[0].api_key`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


class _Refused(Exception):
    """The file cannot be read further; the arguments are line, message and fix."""


class _Alias(yaml.Node):
    """A place at which another node is repeated."""

    id = "alias"


class _Loader(Composer, yaml.CSafeLoader):
    """PyYAML's composer in Python over the parser of libyaml: libyaml's own composer overflows the stack on deep nesting."""

    def __init__(self, stream: str) -> None:
        yaml.CSafeLoader.__init__(self, stream)
        Composer.__init__(self)
        self._depth = self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _Refused(_line(event), *_TOO_MANY)
        if self._depth > MAX_DEPTH:
            raise _Refused(_line(event), f"nested deeper than {MAX_DEPTH} levels", "check the brackets and the indentation")
        if isinstance(event, yaml.AliasEvent):
            return _Alias("", super().compose_node(parent, index), event.start_mark, event.end_mark)  # type: ignore[arg-type]
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            # YAML 1.2: an anchor may be given again.
            self.anchors.pop(event.anchor, None)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:  # noqa: ARG002 - the composer's interface
        """Marks unquoted scalars, whose value is decided later, in place of a tag."""
        return _PLAIN if kind is yaml.ScalarNode and implicit[0] else _QUOTED


class _Reader:
    """Turns nodes into values."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._finished: dict[yaml.Node, tuple[Any, int]] = {}
        self._size = 0
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []

    def refuse(self, line: int, message: str, fix: str) -> None:
        """Record a problem at *line*."""
        self.problems.append(Problem(f"{self._name}:{line}", message, fix))

    def value(self, node: yaml.Node, path: Path) -> Any:
        """The value of *node*, at *path*."""
        self.lines.setdefault(path, _line(node))
        self._size += 1
        before = self._size
        if isinstance(node, _Alias):
            if node.value not in self._finished:
                raise _Refused(_line(node), *_ALIAS)
            value, size = self._finished[node.value]
            self._size += size
            if self._size > MAX_NODES:
                raise _Refused(_line(node), *_TOO_MANY)
            return value
        if node.tag not in (_PLAIN, _QUOTED, _TAGS[type(node)]):
            self.refuse(_line(node), "YAML tags (!name) are not supported", "quote text that starts with !")
        if isinstance(node, yaml.MappingNode):
            value = self._mapping(node, path)
        elif isinstance(node, yaml.SequenceNode):
            value = [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        else:
            value = _plain(node.value) if node.tag == _PLAIN else node.value
        self._finished[node] = (value, self._size - before)
        return value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = _line(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                raise _Refused(line, "a key must be a plain word", "check brackets and braces; quote ${...} and *...")
            key: str = key_node.value
            child = (*path, key)
            if key == "<<":
                self.refuse(line, "merge keys (<<) are not supported", "write the keys out")
                self.value(value_node, child)
                continue
            if key in values:
                self.refuse(line, f"{dotted(child)} is given twice (first on line {self.lines[child]})", "keep one of the two")
            self.lines.setdefault(child, line)
            value = self.value(value_node, child)
            values.setdefault(key, value)
        return values


def _plain(text: str) -> Any:
    """The value of an unquoted scalar. Long digits stay text: ids would lose their end."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if len(text) > 18:
        return text
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _line(position: Any) -> int:
    return int(position.start_mark.line) + 1 if position.start_mark else 1
