"""`Verb(name, help, run, arguments)`."""

import argparse
import textwrap
from collections.abc import Iterator
from itertools import groupby


class Help(argparse.HelpFormatter):
    """Help whose examples stay as written, whose other texts fit the terminal, and whose verbs stand in two columns."""

    def add_argument(self, action: argparse.Action) -> None:
        """Room for the longest verb: argparse indents verbs, and then forgets that it did."""
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - argparse shows its verbs nowhere else
            self._action_max_length += self._indent_increment

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(
            textwrap.fill(" ".join(lines), width, initial_indent=indent, subsequent_indent=indent) if flows else "\n".join(lines)
            for flows, lines in blocks(text)
        )


def blocks(text: str) -> Iterator[tuple[bool, list[str]]]:
    """The parts of a description or an epilog, each with whether its lines flow: those that are indented or empty stay as written."""
    for flows, lines in groupby(text.splitlines(), key=lambda line: line[:1] not in ("", " ")):
        yield flows, list(lines)
