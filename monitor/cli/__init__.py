"""
The command line: one verb per module, each of which calls an object that tests call too.

Only here do errors become exit codes.
"""

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence

from monitor import __version__
from monitor.errors import EXIT_USAGE, ConfigError, MonitorError

_VERBS = ("run", "demo", "simulate", "check", "config", "db")

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


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="postpost-monitor",
        description="Finds out first when a PostPost connection breaks or its token nears its end, and tells on-call.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"postpost-monitor {__version__}")
    subparsers = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in _VERBS:
        importlib.import_module(f"monitor.cli.{verb}").register(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    # Python dies of a SIGHUP that comes before there is a handler; a reload asked for this early has nothing to reload.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args))
    except MonitorError as error:
        _explain(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        sys.stderr.close()
        return 128 + signal.SIGPIPE


def _explain(error: MonitorError) -> None:
    problems = error.problems if isinstance(error, ConfigError) else (error,)
    for problem in problems:
        print(f"postpost-monitor: {problem}", file=sys.stderr)


def usage_error(text: str) -> int:
    """Say what is wrong with the words of a command; returns the exit code for it."""
    print(f"postpost-monitor: {text}", file=sys.stderr)
    return EXIT_USAGE
