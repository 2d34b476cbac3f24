"""The verb `run`: the daemon."""

import argparse
import asyncio
import os
import resource
import signal

from monitor import logs
from monitor.app import App
from monitor.cli.options import CONFIG, load_config
from monitor.cli.verb import Verb
from monitor.clock import SystemClock
from monitor.errors import AnotherInstance, MonitorError
from monitor.runtime.signals import Signals
from monitor.runtime.systemd import ServiceManager

_EPILOG = """\
examples:
  postpost-monitor run --config /etc/postpost-monitor/config.yaml
  POSTPOST_API_KEY=sk_... postpost-monitor run        no file: discover and monitor every connection of that account

signals:
  SIGTERM, SIGINT   drain, then stop; a second one stops at once
  SIGHUP            reload the configuration; an invalid one changes nothing

exit codes: 0 clean stop, 1 unexpected error, 2 usage, 74 corrupt database,
75 another instance holds the database, 78 configuration or schema
"""


def run(args: argparse.Namespace) -> int:
    """Run until stopped; returns 0. Raises MonitorError with the exit code."""
    # A core dump would contain every key.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signals = Signals()
    signals.remember_reload()
    config = load_config(args)
    logs.configure(level=config.logging.level, log_format=config.logging.format, journal_stream=os.environ.get("JOURNAL_STREAM", ""))
    logs.log_config_warnings(config.warnings)
    app = App(config, clock=SystemClock(), signals=signals, reread=lambda: load_config(args), manager=ServiceManager.from_environment())
    try:
        asyncio.run(serve(app, signals))
    finally:
        # While the interpreter shuts down, a signal that is not ignored would kill the process.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return 0


async def serve(app: App, signals: Signals) -> None:
    """Run *app* with signal handlers installed; of a group of our own errors the first is raised."""
    with signals.installed():
        try:
            await app.run()
        except BaseExceptionGroup as group:
            ours, others = group.split(MonitorError)
            if ours is None or others is not None:
                raise
            raise _first(ours) from group


def _first(group: BaseExceptionGroup[MonitorError]) -> MonitorError:
    # What fails beside it is a consequence: an instance that was replaced loses its database.
    error: MonitorError | BaseExceptionGroup[MonitorError] = group.subgroup(AnotherInstance) or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


VERB = Verb(
    "Monitor every configured or discovered connection, export metrics, and send notifications.",
    run,
    (CONFIG,),
    epilog=_EPILOG,
)
