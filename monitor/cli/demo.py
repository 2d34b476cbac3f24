"""The verb `demo`: the whole thing at work, nothing else needed."""

import argparse
import asyncio
import re
import shutil
import socket
import sys
import tempfile
import textwrap
from datetime import timedelta
from pathlib import Path

from monitor import logs
from monitor.cli import Help
from monitor.cli.options import port
from monitor.cli.run import serve
from monitor.cli.tables import paint
from monitor.clock import SystemClock
from monitor.demo import STORY, Demo
from monitor.errors import MonitorError
from monitor.lifecycle import Signals

_EPILOG = """\
examples:
  postpost-monitor demo                 the story, then everything keeps running until Ctrl-C
  postpost-monitor demo --once          the story, then stop
  postpost-monitor demo --duration 2m   stop by itself after two minutes
  postpost-monitor demo --port 0        on any free port
"""
_COLOURS = {"demo": "36", "simulator": "35", "monitor": "90", "on-call": "33"}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)")
_INDENT = 21
_USUAL_PORT = 9840
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="see it at work: a simulated API, a receiver and the real daemon",
        description="Run the real daemon against a simulated PostPost and show what happens: half a minute, nothing to set up.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--once", action="store_true", help="stop when the story is over")
    length.add_argument("--duration", type=_duration, metavar="TIME", help="stop after this long, such as 60s or 2m")
    parser.add_argument(
        "--port", type=port, help=f"of the status page and the metrics, 0 for any (default: {_USUAL_PORT}, or any when that is taken)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the story; returns 0."""
    clock, signals = SystemClock(), Signals()

    def say(who: str, text: str) -> None:
        first, *rest = _lines(who, text)
        print(f"{clock.now():%H:%M:%S}  {paint(f'{who:<9}', _COLOURS[who])}  {first}", flush=True)
        for line in rest:
            print(f"{'':{_INDENT}}{line}", flush=True)

    with tempfile.TemporaryDirectory(prefix="postpost-monitor-demo-") as name:
        folder = Path(name)
        with (folder / "daemon.log").open("w") as log:
            outlet = logs.configure(level="info", log_format="json", stream=log)
            demo = Demo(
                folder, port=_port(args.port), say=say, clock=clock, signals=signals, duration=STORY if args.once else args.duration
            )
            try:
                asyncio.run(demo.run(serve))
            except MonitorError:
                raise
            except Exception:
                outlet.close()
                sys.stderr.write((folder / "daemon.log").read_text())
                raise
            finally:
                outlet.close()
        say("demo", "stopped")
    return 0


def _lines(who: str, text: str) -> list[str]:
    # The demo itself names addresses and a command: broken in two, they could not be copied.
    if who == "demo":
        return [text]
    width = shutil.get_terminal_size((120, 24)).columns - _INDENT
    return textwrap.wrap(text, max(width, 40), break_long_words=False, break_on_hyphens=False)


def _port(asked: int | None) -> int:
    """The port that was asked for, else the usual one; any where that is taken, as it is where a monitor runs already."""
    if asked is not None:
        return asked
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", _USUAL_PORT))
        except OSError:
            return 0
    return _USUAL_PORT


def _duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write 60s, 2m or 1h")
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
