"""Parser and dispatch; only here do errors become exit codes."""

import argparse
import importlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from monitor import __version__
from monitor.cli.verb import Help, Verb, VerbParser
from monitor.errors import EXIT_UNEXPECTED, EXIT_USAGE, ConfigError, MonitorError

VERBS = {
    "run": "run the daemon",
    "demo": "run the daemon against a simulated API and a receiver",
    "simulate": "serve a simulated PostPost API for rehearsals",
    "check": "test connections once, now",
    "preflight": "check whether connections are ready for a post",
    "status": "list connections, worst first",
    "forecast": "show what is notified if nobody does anything",
    "history": "list the checks of one connection",
    "incidents": "list open and past incidents",
    "explain": "explain a connection's status and its notifications",
    "silence": "add, list or end silences",
    "ack": "acknowledge incidents: their reminders stop",
    "permissions": "accept that a connection lost permissions",
    "deliveries": "list deliveries, or send them again",
    "receivers": "send a test to a receiver, or enable a disabled one",
    "heartbeat": "try the address of the heartbeat",
    "routes": "show who would be notified, and why",
    "replay": "replay the history against another policy",
    "export": "write the history as CSV or JSON Lines",
    "config": "check or show the configuration",
    "cluster": "show the nodes that share the work, drain them",
    "db": "upgrade, check, back up or copy the database",
    "completion": "print a shell completion script",
}
"""Verb to its help. The rest is in `VERB` of the module of that name, which is imported for that verb only: all of them take a second."""

COMPLETE = "__complete"
"""The first argument of what completion scripts call: it is no verb."""

_EPILOG = """\
examples:
  postpost-monitor demo                         see it at work, without set-up
  postpost-monitor config check                 list every problem
  postpost-monitor run                          run the daemon
  postpost-monitor check linkedin-Tz9W5i6ZYG    test one connection now
  postpost-monitor explain linkedin-Tz9W5i6ZYG  its status and notifications

exit codes of run: 0 clean stop, 1 unexpected error, 2 usage, 74 corrupt database,
75 another instance holds the database, 78 configuration or schema
"""


def build_parser(command: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The parser of the whole command line; with *command*, only the verb that it names has its options."""
    parser = VerbParser(
        prog="postpost-monitor",
        description="Monitors PostPost connections and notifies on-call when one breaks or its token is about to expire.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    parser.add_argument("--version", action="version", version=f"postpost-monitor {__version__}")
    parser.add_argument("--config", metavar="PATH", type=Path, default=None, help="configuration file; may also be given after the verb")
    subparsers = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    named = None if command is None else _verb_in(command)
    for name, help_text in VERBS.items():
        verb_parser = subparsers.add_parser(name, help=help_text)
        if named in (None, name):
            _load(name).fill(verb_parser)
    return parser


def _verb_in(command: Sequence[str]) -> str:
    """The verb that *command* names; empty without one."""
    words = iter(command)
    for word in words:
        if word == "--config":
            next(words, "")
        elif not word.startswith("-"):
            return word
    return ""


def _load(name: str) -> Verb:
    verb: Verb = importlib.import_module(f"monitor.cli.{name}").VERB
    return verb


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    try:
        if argv is None:
            _open_closed_streams()
        if argv is None and sys.argv[1:2] == [COMPLETE]:
            return int(importlib.import_module("monitor.cli.candidates").run(sys.argv[2:]))
        return _run(sys.argv[1:] if argv is None else argv, owns_process=argv is None)
    except MonitorError as error:
        for problem in error.problems if isinstance(error, ConfigError) else (error,):
            print(_on_terminal(str(problem)), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        sys.stderr.close()
        return 128 + signal.SIGPIPE
    except OSError as error:
        # Of an exception group, such as the daemon's, the traceback is logged; this one is a file that a person named.
        print(f"postpost-monitor: {error.filename or 'the output'}: {error.strerror or error}", file=sys.stderr)
        return EXIT_UNEXPECTED


def _on_terminal(text: str) -> str:
    """An error, wrapped for a terminal; programs get one line."""
    if not sys.stderr.isatty():
        return f"postpost-monitor: {text}"
    from monitor.cli.output import wrapped  # noqa: PLC0415 - without an error it is not needed

    return wrapped(text, shutil.get_terminal_size().columns, "postpost-monitor: ", "  ")


def _open_closed_streams() -> None:
    """Discard what is written to a standard stream that the caller has closed."""
    # Not closed again: a file that is opened later must not get the number of a standard stream.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def _run(command: Sequence[str], *, owns_process: bool) -> int:
    parser = build_parser(command)
    if not command:
        parser.print_help()
        return EXIT_USAGE
    args = parser.parse_args(command)
    if owns_process:
        # On a terminal with a small character set, other characters are shown as question marks instead of raising an error.
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        # Imported here: help and usage errors do not need it.
        importlib.import_module("monitor.logs").configure_on_use(level="warning", log_format="auto")
    exit_code = int(args.run(args))
    # Here and not while the interpreter shuts down, where a full disk would be reported as an ignored exception.
    sys.stdout.flush()
    return exit_code


def verbs_of(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every verb below *parser* by its full name, each followed by the verbs within it."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no public access to its parsers
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for name, verb in action.choices.items():
                yield f"{prefix}{name}", verb
                yield from verbs_of(verb, f"{prefix}{name} ")
