"""
A process that runs the real daemon with a wall clock that jumps: by so many seconds for each line on standard input.

Usage: python -m tests.deploy.jumping CONFIG

The metronome has a clock of its own; it jumps along.
"""

import asyncio
import sys
import threading
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import apscheduler.executors.base
import apscheduler.schedulers.base
import apscheduler.triggers.interval

from monitor import logs
from monitor.app import App
from monitor.cli.run import serve
from monitor.clock import SystemClock
from monitor.config import load
from monitor.notify import templates
from monitor.runtime.signals import Signals

_offset = timedelta()


class _Jumped(datetime):
    """What the metronome takes for `datetime`."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + _offset


class JumpingClock(SystemClock):
    """The machine's clocks, the wall clock apart."""

    def now(self) -> datetime:
        """The wall clock, as it was set."""
        return super().now() + _offset


def _listen() -> None:
    global _offset  # noqa: PLW0603 - it is the one wall clock of this process
    for line in sys.stdin:
        _offset = timedelta(seconds=float(line))


def main(path: Path) -> None:
    """Run until told to stop."""
    config, signals = load(path, check_template=templates.problems), Signals()
    logs.configure(level="info", log_format="json")
    for module in (apscheduler.executors.base, apscheduler.schedulers.base, apscheduler.triggers.interval):
        module.datetime = _Jumped
    threading.Thread(target=_listen, daemon=True).start()
    asyncio.run(serve(App(config, clock=JumpingClock(), signals=signals, reread=lambda: config), signals))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
