"""The verb `run`: the daemon."""

import argparse
import asyncio
import gc
import resource
import signal

from monitor import logs
from monitor.app import App
from monitor.cli.options import add_config, load_config
from monitor.cli.verb import Help
from monitor.clock import SystemClock
from monitor.errors import MonitorError
from monitor.runtime.signals import Signals
from monitor.runtime.systemd import ServiceManager

# Almost everything that a check makes is gone when it ends, without cycles: to look for them after every 700 new objects, among
# those of ten thousand connections now and then, is a twentieth of the CPU.
_GC = (20_000, 20, 20)

_EPILOG = """\
examples:
  postpost-monitor run --config /etc/postpost-monitor/config.yaml
  POSTPOST_API_KEY=sk_... postpost-monitor run        no file: discover and watch every connection of that account

signals:
  SIGTERM, SIGINT   finish what is in hand, then stop; a second one stops at once
  SIGHUP            read the configuration again; a bad one changes nothing

exit codes: 0 clean stop, 1 unexpected, 2 usage, 74 corrupt database,
75 another instance holds the database, 78 configuration or schema
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "run",
        help="watch every connection until stopped",
        description="Watch every configured or discovered connection, export metrics, and tell on-call what changes.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    add_config(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until stopped; returns 0. Raises MonitorError with the exit code to end with."""
    # A core dump would hold every key.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signals = Signals()
    signals.remember_reload()
    gc.set_threshold(*_GC)
    config = load_config(args)
    logs.configure(level=config.logging.level, log_format=config.logging.format)
    logs.log_config_warnings(config.warnings)
    app = App(config, clock=SystemClock(), signals=signals, reread=lambda: load_config(args), manager=ServiceManager.from_environment())
    try:
        asyncio.run(serve(app, signals))
    finally:
        # While Python tidies up only a signal that is ignored ends nothing.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return 0


async def serve(app: App, signals: Signals) -> None:
    """Run *app* under the process's signals; of several errors at once the first of ours is raised."""
    with signals.installed():
        try:
            await app.run()
        except BaseExceptionGroup as group:
            ours, others = group.split(MonitorError)
            if ours is None or others is not None:
                raise
            raise _first(ours) from group


def _first(group: BaseExceptionGroup[MonitorError]) -> MonitorError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, MonitorError):
        raise TypeError(f"{error!r} is not one of our errors")
    return error
