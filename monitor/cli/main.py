"""
Parser, dispatch, exit codes.

Only here do errors become exit codes.
"""

import argparse
import importlib
import signal
import sys
from collections.abc import Iterator, Sequence

from monitor import __version__
from monitor.cli.verb import Help
from monitor.errors import EXIT_USAGE, ConfigError, MonitorError

_VERBS = {
    "run": "watch every connection until stopped",
    "demo": "see it at work: a simulated API, a receiver and the real daemon",
    "simulate": "serve a simulated PostPost API to rehearse with",
    "check": "test connections once, now",
    "preflight": "say whether connections can be relied on for a post",
    "status": "show every connection, the worst first",
    "history": "list the checks of one connection",
    "incidents": "list what was, or is, in trouble",
    "explain": "say why somebody, or nobody, was told",
    "silence": "do not be told of something for a while",
    "ack": "stop the reminders of an incident",
    "deliveries": "list what receivers were sent, or send it again",
    "receivers": "send a receiver a test",
    "replay": "show what another policy would have told",
    "export": "write the history as CSV or JSON Lines",
    "config": "check or show the configuration",
    "db": "upgrade, check or back up the database",
    "completion": "print what a shell needs to complete this command",
}
"""Verb -> its help, so that a verb's module is only loaded when it is asked for: all of them together take a second."""

_EPILOG = """\
examples:
  postpost-monitor demo                         see the whole thing at work, nothing else needed
  postpost-monitor config check                 every problem of the configuration at once
  postpost-monitor run                          watch every connection until stopped
  postpost-monitor check linkedin-Tz9W5i6ZYG    test one connection now
  postpost-monitor explain linkedin-Tz9W5i6ZYG  why somebody, or nobody, was told

exit codes of run: 0 clean stop, 1 unexpected, 2 usage, 74 corrupt database,
75 another instance holds the database, 78 configuration or schema
"""


def build_parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """
    The parser of the whole command line.

    With *words*, those of a command, only the verb that they name knows its options; all the others are only named.
    """
    parser = argparse.ArgumentParser(
        prog="postpost-monitor",
        description="Finds out first when a PostPost connection breaks or its token nears its end, and tells on-call.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    parser.add_argument("--version", action="version", version=f"postpost-monitor {__version__}")
    subparsers = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    named = None if words is None else next(iter(words), "")
    for verb, help_text in _VERBS.items():
        if named in (None, verb):
            importlib.import_module(f"monitor.cli.{verb}").register(subparsers)
        else:
            subparsers.add_parser(verb, help=help_text)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    try:
        return _run(sys.argv[1:] if argv is None else argv, alone=argv is None)
    except MonitorError as error:
        _explain(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        sys.stderr.close()
        return 128 + signal.SIGPIPE


def _run(words: Sequence[str], *, alone: bool) -> int:
    """Run the verb that *words* name; *alone* says that the process is ours."""
    args = build_parser(words).parse_args(words)
    if alone:
        # A terminal that knows few letters gets the others as question marks, not an error.
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        # Only once a verb runs, for it takes a while to load; help and usage are there at once.
        importlib.import_module("monitor.logs").configure(level="warning", log_format="auto")
    return int(args.run(args))


def _explain(error: MonitorError) -> None:
    problems = error.problems if isinstance(error, ConfigError) else (error,)
    for problem in problems:
        print(f"postpost-monitor: {problem}", file=sys.stderr)


def usage_error(text: str) -> int:
    """Say what is wrong with the words of a command; returns the exit code for it."""
    print(f"postpost-monitor: {text}", file=sys.stderr)
    return EXIT_USAGE


def verbs_of(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every verb below *parser* by its full name, in order, and verbs within verbs after them."""
    for action in parser._actions:  # noqa: SLF001 - argparse shows its parsers nowhere else
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for name, verb in action.choices.items():
                yield f"{prefix}{name}", verb
                yield from verbs_of(verb, f"{prefix}{name} ")
