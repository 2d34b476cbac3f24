"""`Verb`: what the parser knows of a verb, as a value; each module of a verb has one as `VERB`."""

import argparse
import difflib
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Argument:
    """The arguments of one call of `add_argument`."""

    names: tuple[str, ...]
    options: Mapping[str, Any]


def argument(*names: str, **options: Any) -> Argument:
    """An option or a positional, as `ArgumentParser.add_argument` takes it."""
    return Argument(names, options)


@dataclass(frozen=True, slots=True)
class ExclusiveGroup:
    """Options that exclude each other."""

    arguments: tuple[Argument, ...]
    required: bool = False


@dataclass(frozen=True, slots=True)
class Verb:
    """
    One verb, or a group of verbs.

    Attributes:
        run: takes the parsed arguments, returns the exit code; None for a group.
        help: its line in the help of its group; that of the top-level verbs is in `main`.
    """

    description: str
    run: Callable[[argparse.Namespace], int] | None = None
    arguments: tuple[Argument | ExclusiveGroup, ...] = ()
    verbs: Mapping[str, "Verb"] = field(default_factory=dict)
    help: str = ""
    epilog: str | None = None

    def fill(self, parser: argparse.ArgumentParser) -> None:
        """Make *parser* the parser of this verb."""
        parser.description, parser.epilog, parser.formatter_class = self.description, self.epilog, Help
        for item in self.arguments:
            _add(parser, item)
        if self.run is not None:
            parser.set_defaults(run=self.run)
        if self.verbs:
            parser.add_argument(
                "--config",
                metavar="PATH",
                type=Path,
                default=argparse.SUPPRESS,
                help="configuration file; may also be given after the verb",
            )
            group = parser.add_subparsers(metavar="VERB", required=True)
            for name, verb in self.verbs.items():
                verb.fill(group.add_parser(name, help=verb.help))


def _add(parser: argparse.ArgumentParser, item: Argument | ExclusiveGroup) -> None:
    if isinstance(item, Argument):
        parser.add_argument(*item.names, **item.options)
        return
    group = parser.add_mutually_exclusive_group(required=item.required)
    for choice in item.arguments:
        group.add_argument(*choice.names, **choice.options)


class VerbParser(argparse.ArgumentParser):
    """A parser that answers an unknown verb with the nearest one."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:  # noqa: SLF001 - argparse has no public access to its verbs
            near = difflib.get_close_matches(str(value), list(action.choices), 1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(action.choices)}"
            raise argparse.ArgumentError(None, f"unknown verb {value!r}; {hint}")
        super()._check_value(action, value)


class Help(argparse.HelpFormatter):
    """Keeps examples as written, wraps everything else, and lists verbs in two columns."""

    def add_argument(self, action: argparse.Action) -> None:
        """Widen the first column for the longest verb: argparse forgets that it indents verbs."""
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - argparse has no public access to its verbs
            self._action_max_length += self._indent_increment

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(
            textwrap.fill(" ".join(lines), width, initial_indent=indent, subsequent_indent=indent)
            if flows
            else "\n".join(fitting for line in lines for fitting in _example(line, width))
            for flows, lines in blocks(text)
        )


# The indent of a continued command, and the backslash.
_CONTINUED = 9


def _example(line: str, width: int) -> Iterator[str]:
    """An example that fits into *width*: its remark on a line of its own, its command continued on further lines."""
    if len(line) <= width:
        yield line
        return
    command, gap, remark = re.fullmatch(r" *(\S.*?)(?:( {2,})(\S.*))?", line).groups()  # type: ignore[union-attr]
    parts = [""]
    for word in re.findall(r"""(?:'[^']*'|"[^"]*"|\S)+""", command):
        if parts[-1] and len(parts[-1]) + len(word) > width - _CONTINUED:
            parts.append("")
        parts[-1] = f"{parts[-1]} {word}".lstrip()
    for number, part in enumerate(parts):
        yield f"{'    ' if number else ''}  {part}{' ' + chr(92) if number < len(parts) - 1 else ''}"
    if gap:
        yield from textwrap.wrap(remark, width, initial_indent="      # ", subsequent_indent="      # ")


def blocks(text: str) -> Iterator[tuple[bool, list[str]]]:
    """The parts of a description or an epilog, each with whether it is wrapped; indented and empty lines stay as written."""
    for flows, lines in groupby(text.splitlines(), key=lambda line: line[:1] not in ("", " ")):
        yield flows, list(lines)
