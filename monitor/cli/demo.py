"""The verb `demo`: the daemon against a simulated API and a receiver."""

import argparse
import asyncio
import base64
import secrets
import shutil
import socket
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from monitor import logs
from monitor.app import App
from monitor.cli.options import duration, port
from monitor.cli.output import paint
from monitor.cli.run import serve
from monitor.cli.verb import ExclusiveGroup, Verb, argument
from monitor.clock import Clock, SystemClock
from monitor.config import Config, load
from monitor.domain.reasons import Health
from monitor.domain.views.snapshot import Snapshot
from monitor.errors import MonitorError
from monitor.notify import templates
from monitor.runtime.signals import Signals
from monitor.simulator.presets import DEMO_KEY, demo_world
from monitor.simulator.receiver import Received, ReceiverServer
from monitor.simulator.server import SimulatorServer
from monitor.text.format import count
from monitor.text.reasons import reason_text

_EPILOG = """\
examples:
  postpost-monitor demo                 play the demo, then keep running until Ctrl-C
  postpost-monitor demo --once          play the demo, then stop
  postpost-monitor demo --duration 2m   stop after two minutes
  postpost-monitor demo --port 0        use any free port
"""
_COLOURS = {"demo": "36", "simulator": "35", "monitor": "90", "on-call": "33"}
_INDENT = 21
_DEFAULT_PORT = 9840


def run(args: argparse.Namespace) -> int:
    """Play the demo; returns 0."""
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
    # Lines of the demo itself have URLs and a command to copy, so they are not wrapped.
    if who == "demo":
        return [text]
    width = shutil.get_terminal_size((120, 24)).columns - _INDENT
    return textwrap.wrap(text, max(width, 40), break_long_words=False, break_on_hyphens=False)


def _port(wanted: int | None) -> int:
    """The port given, else the default port, else any: a daemon may already run on the default port."""
    if wanted is not None:
        return wanted
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", _DEFAULT_PORT))
        except OSError:
            return 0
    return _DEFAULT_PORT


_FAILING = "threads-17841412345678"
_EXPIRING = "linkedin-Tz9W5i6ZYG"

Say = Callable[[str, str], None]
"""Prints one line: the source, and the text."""

_CONFIG = """\
api: {{base_url: "{api}", requests_per_second: 50}}
accounts:
  - {{name: main, api_key: "{key}", discover: connections}}
schedule: {{interval: 2s, recheck: 900ms, discovery: 2s}}
policy:
  platforms: {{linkedin: {{expiry: {{thresholds: [14d, 7d, 1d]}}}}}}
  digest: {{wait: 2s}}
receivers:
  - {{name: on-call, type: webhook, url: "{hook}", secret: "{secret}"}}
database: {{url: "sqlite:///{folder}/monitor.db"}}
web: {{listen: "127.0.0.1:{port}"}}
logging: {{format: json}}
shutdown: {{drain: 5s}}
"""


@dataclass(frozen=True, slots=True)
class DemoStep:
    """One step: when it happens, its text, and what the simulator does."""

    at: timedelta
    text: str
    act: Callable[[], None]


class Demo:
    """
    Plays the steps, then keeps everything running until it is stopped.

    Args:
        folder: for the database and the configuration.
        port: of the metrics and the status page; 0 for any.
        duration: stop after this time; None means never.
    """

    def __init__(self, folder: Path, *, port: int, say: Say, clock: Clock, signals: Signals, duration: timedelta | None) -> None:
        self._folder = folder
        self._port = port
        self._say = say
        self._clock = clock
        self._signals = signals
        self._duration = duration
        self._world = demo_world(clock)
        self.received: list[Received] = []

    async def run(self, serve: Callable[[App, Signals], Awaitable[None]]) -> None:
        """Run until stopped; *serve* runs the daemon as the verb `run` does."""
        async with AsyncExitStack() as stack:
            simulator = SimulatorServer(self._world)
            stack.push_async_callback(simulator.close)
            secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
            receiver = ReceiverServer(secret, clock=self._clock, on_event=self._record)
            stack.push_async_callback(receiver.close)
            api = await simulator.start()
            hook = await receiver.start()
            config = self._configure(api=api, hook=hook, secret=secret)
            app = App(config, clock=self._clock, signals=self._signals, reread=lambda: config)
            player = asyncio.create_task(self._play(app, simulator))
            try:
                await serve(app, self._signals)
            finally:
                player.cancel()
                await asyncio.gather(player, return_exceptions=True)

    def steps(self) -> tuple[DemoStep, ...]:
        """The steps, in order."""
        failing, expiring = self._world.connection(_FAILING), self._world.connection(_EXPIRING)

        def left(days: float) -> Callable[[], None]:
            return lambda: expiring.expire_in(timedelta(days=days))

        return (
            DemoStep(timedelta(seconds=3), f"{_FAILING}: the platform ends the session", failing.fail),
            DemoStep(timedelta(seconds=5), f"{_EXPIRING}: time-lapse, 13 days of its token left", left(13)),
            DemoStep(timedelta(seconds=10), f"{_FAILING}: its owner reconnects it", failing.heal),
            DemoStep(timedelta(seconds=12), f"{_EXPIRING}: time-lapse, 6 days left", left(6)),
            DemoStep(timedelta(seconds=17), f"{_EXPIRING}: time-lapse, 20 hours left", left(20 / 24)),
            DemoStep(timedelta(seconds=22), f"{_EXPIRING}: its owner renews the token", left(60)),
        )

    def _configure(self, *, api: str, hook: str, secret: str) -> Config:
        path = self._folder / "config.yaml"
        path.touch(mode=0o600)
        path.write_text(_CONFIG.format(api=api, hook=hook, secret=secret, key=DEMO_KEY, folder=self._folder, port=self._port))
        return load(path, check_template=templates.problems)

    def _record(self, received: Received) -> None:
        self.received.append(received)
        self._say("on-call", f"{received.type}: {received.summary}")

    async def _play(self, app: App, simulator: SimulatorServer) -> None:
        await app.ready.wait()
        begun = self._clock.monotonic()
        self._say("demo", f"simulated PostPost   {simulator.base_url}")
        self._say("demo", f"status page          {app.url}/")
        self._say("demo", f"metrics              {app.url}/metrics")
        self._say("demo", f"break something      curl -X POST {simulator.control_url}/connections/mastodon-109876543210/break")
        await self._until(begun, timedelta(seconds=2.5))
        self._report(app.snapshot())
        for number, step in enumerate(self.steps()):
            await self._until(begun, step.at)
            self._say("simulator", step.text)
            step.act()
            if number % 2:
                await self._until(begun, step.at + timedelta(seconds=3))
                self._count(app.snapshot())
        await self._until(begun, timedelta(seconds=27))
        if self._duration is None:
            self._say("demo", "end of the demo; everything keeps running until Ctrl-C")
            return
        await self._until(begun, self._duration)
        self._signals.request_stop()

    async def _until(self, begun: float, moment: timedelta) -> None:
        await self._clock.sleep(max(0.0, begun + moment.total_seconds() - self._clock.monotonic()))

    def _report(self, snapshot: Snapshot) -> None:
        for view in snapshot.connections:
            state = view.state
            reason = reason_text(state.reason) if state.reason is not None else "not checked yet"
            self._say("monitor", f"{view.connection.platform_id:<42} {state.health.value:<12} {reason}")

    def _count(self, snapshot: Snapshot) -> None:
        counts = Counter(view.state.health for view in snapshot.connections)
        healths = ", ".join(f"{counts[health]} {health.value}" for health in _ORDER if counts[health])
        incidents, webhooks = count(len(snapshot.incidents), "open incident"), count(len(self.received), "webhook")
        self._say("monitor", f"{healths}; {incidents}, {webhooks} delivered")


_ORDER = (Health.OK, Health.ERROR, Health.MISSING, Health.MISCONFIGURED, Health.UNSUPPORTED, Health.UNKNOWN)
STORY = timedelta(seconds=28)
"""How long the steps take."""

VERB = Verb(
    "Run the daemon against a simulated PostPost and a receiver, and show what happens: half a minute, no set-up.",
    run,
    (
        ExclusiveGroup(
            (
                argument("--once", action="store_true", help="stop after the last step"),
                argument("--duration", type=duration, metavar="TIME", help="stop after this time, such as 60s or 2m"),
            )
        ),
        argument(
            "--port",
            type=port,
            help=f"port of the status page and the metrics, 0 for any (default: {_DEFAULT_PORT}, or any when that is in use)",
        ),
    ),
    epilog=_EPILOG,
)
