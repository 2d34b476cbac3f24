"""The manual page, made from the parsers, so that it is never out of date: `python -m monitor.cli.manual deploy/man/postpost-monitor.1`."""

import argparse
import re
import sys
import textwrap
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from monitor import __version__
from monitor.cli.main import build_parser, verbs_of
from monitor.cli.reference import shown, spoken
from monitor.cli.verb import blocks

NAME = "postpost-monitor"
# The page's own text; it changes with the page, not with the day it is made.
WRITTEN = date(2026, 11, 25)

_FILES = {
    "/etc/postpost-monitor/config.yaml": "The configuration, unless $POSTPOST_MONITOR_CONFIG or --config names another one.",
    "/etc/postpost-monitor/credentials": "The API key and the secrets of receivers, as the installed service reads them.",
    "/var/lib/postpost-monitor/monitor.db": "The database, unless the configuration names another one.",
}
_ENVIRONMENT = {
    "POSTPOST_MONITOR_CONFIG": "The configuration file.",
    "POSTPOST_API_KEY": "Without any configuration file: the key of the account whose connections are watched.",
    "NO_COLOR": "When set, nothing is coloured.",
}
_CODES = {
    "0": "Done; every connection passed, or is ready.",
    "1": "Unexpected trouble; or some connection failed, or is not ready.",
    "2": "Words that make no sense.",
    "3": "check and preflight: it could not be found out.",
    "74": "The database is damaged.",
    "75": "Another instance holds the database.",
    "78": "Something is wrong with the configuration, or the database has the schema of a newer program.",
}


def manual() -> str:
    """The page in the language of man(7)."""
    return "\n".join(_lines(build_parser())) + "\n"


def _lines(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f'.\\" Made by `python -m monitor.cli.manual deploy/man/{NAME}.1`; do not edit.'
    yield f'.TH {NAME.upper()} 1 "{WRITTEN:%Y-%m-%d}" "{NAME} {__version__}" "User Commands"'
    yield from (".SH NAME", f"{escaped(NAME)} \\- watches PostPost connections and tells on-call what breaks")
    yield from (".SH SYNOPSIS", f".B {escaped(NAME)}", ".I VERB", "[OPTION ...]")
    yield from (".SH DESCRIPTION", flowing(parser.description or ""))
    yield from _example(parser.epilog)
    yield ".SH VERBS"
    for name, verb in verbs_of(parser):
        yield from _verb(name, verb)
    for title, rows in (("EXIT STATUS", _CODES), ("ENVIRONMENT", _ENVIRONMENT), ("FILES", _FILES)):
        yield f".SH {title}"
        for term, text in rows.items():
            yield from (".TP", f".B {escaped(term)}", flowing(text))
    yield from (
        ".SH SEE ALSO",
        flowing("The documents beside the program, docs/reference/command-line.md first: they describe the JSON of every verb."),
    )


def _verb(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f'.SS "{escaped(name)}"'
    yield flowing(parser.description or "")
    for action in parser._actions:  # noqa: SLF001 - argparse shows its options nowhere else
        if not isinstance(action, argparse._HelpAction | argparse._SubParsersAction):  # noqa: SLF001
            yield from (".TP", f".B {escaped(shown(action))}", flowing(spoken(action, parser)))
    yield from _example(parser.epilog)


def _example(epilog: str | None) -> Iterator[str]:
    for flows, lines in blocks(epilog or ""):
        written = [line for line in lines if line]
        if flows:
            yield from (".PP", flowing(" ".join(written)))
        elif written:
            yield from (".PP", ".nf", ".RS 2", *(escaped(line[2:]) for line in written), ".RE", ".fi")


def flowing(text: str) -> str:
    """A paragraph in short lines; the reader's terminal decides about its width."""
    return "\n".join(escaped(line) for line in textwrap.wrap(" ".join(text.split()), 72, break_long_words=False, break_on_hyphens=False))


def escaped(text: str) -> str:
    """*text* as roff shows it to the letter; hyphens stay what a shell understands."""
    plain = (
        text.replace("\\", "\\(rs")
        .replace("-", "\\-")
        .replace("'", "\\(aq")
        .replace("`", "\\(ga")
        .replace("^", "\\(ha")
        .replace("~", "\\(ti")
    )
    return re.sub(r"^([.'])", r"\\&\1", plain)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(manual(), encoding="utf-8")
