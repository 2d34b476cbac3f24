"""The verb `demo`: the whole thing at work, nothing else needed."""

import argparse
import asyncio
import base64
import secrets
import shutil
import socket
import sys
import tempfile
import textwrap
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
from monitor.cli.verb import Help
from monitor.clock import Clock, SystemClock
from monitor.config import Config, load
from monitor.domain.reasons import Health
from monitor.domain.snapshot import Snapshot
from monitor.errors import MonitorError
from monitor.notify import templates
from monitor.runtime.signals import Signals
from monitor.simulator.presets import DEMO_KEY, demo_world
from monitor.simulator.receiver import Received, ReceiverServer
from monitor.simulator.server import SimulatorServer
from monitor.text.durations import parse_duration
from monitor.text.reasons import reason_text

_EPILOG = """\
examples:
  postpost-monitor demo                 the story, then everything keeps running until Ctrl-C
  postpost-monitor demo --once          the story, then stop
  postpost-monitor demo --duration 2m   stop by itself after two minutes
  postpost-monitor demo --port 0        on any free port
"""
_COLOURS = {"demo": "36", "simulator": "35", "monitor": "90", "on-call": "33"}
_INDENT = 21
_USUAL_PORT = 9840


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
    length.add_argument("--duration", type=duration, metavar="TIME", help="stop after this long, such as 60s or 2m")
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


_BROKEN = "threads-17841412345678"
_AGEING = "linkedin-Tz9W5i6ZYG"

Say = Callable[[str, str], None]
"""Prints one line of the story: who speaks, and what."""

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
    """One turn of the story: when it happens, what the simulator does, and how it is told."""

    at: timedelta
    text: str
    act: Callable[[], None]


class Demo:
    """
    Runs the story, then leaves everything running until the stop is asked for.

    Args:
        folder: where the database and the configuration go.
        port: of the metrics and the status page; 0 for any.
        say: prints a line.
        signals: when to stop.
        duration: stop by itself after this long; None means not at all.
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
        """Run until the stop is asked for; *serve* runs the daemon as the verb `run` does."""
        async with AsyncExitStack() as stack:
            simulator = SimulatorServer(self._world)
            stack.push_async_callback(simulator.close)
            secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
            receiver = ReceiverServer(secret, clock=self._clock, on_event=self._hear)
            stack.push_async_callback(receiver.close)
            api = await simulator.start()
            hook = await receiver.start()
            config = self._configure(api=api, hook=hook, secret=secret)
            app = App(config, clock=self._clock, signals=self._signals, reread=lambda: config)
            narrator = asyncio.create_task(self._narrate(app, simulator))
            try:
                await serve(app, self._signals)
            finally:
                narrator.cancel()
                await asyncio.gather(narrator, return_exceptions=True)

    def scenes(self) -> tuple[DemoStep, ...]:
        """The story, in order."""
        broken, ageing = self._world.connection(_BROKEN), self._world.connection(_AGEING)

        def left(text: str) -> Callable[[], None]:
            return lambda: ageing.expire_in(parse_duration(text))

        return (
            DemoStep(timedelta(seconds=3), f"{_BROKEN}: the platform ends the session", broken.fail),
            DemoStep(timedelta(seconds=5), f"{_AGEING}: time-lapse, 13 days of its token left", left("13d")),
            DemoStep(timedelta(seconds=10), f"{_BROKEN}: somebody reconnects it", broken.heal),
            DemoStep(timedelta(seconds=12), f"{_AGEING}: time-lapse, 6 days left", left("6d")),
            DemoStep(timedelta(seconds=17), f"{_AGEING}: time-lapse, 20 hours left", left("20h")),
            DemoStep(timedelta(seconds=22), f"{_AGEING}: somebody renews the token", left("60d")),
        )

    def _configure(self, *, api: str, hook: str, secret: str) -> Config:
        path = self._folder / "config.yaml"
        path.touch(mode=0o600)
        path.write_text(_CONFIG.format(api=api, hook=hook, secret=secret, key=DEMO_KEY, folder=self._folder, port=self._port))
        return load(path, check_template=templates.problems)

    def _hear(self, received: Received) -> None:
        self.received.append(received)
        self._say("on-call", f"{received.type}: {received.summary}")

    async def _narrate(self, app: App, simulator: SimulatorServer) -> None:
        await app.ready.wait()
        begun = self._clock.monotonic()
        self._say("demo", f"simulated PostPost   {simulator.base_url}")
        self._say("demo", f"status page          {app.url}/")
        self._say("demo", f"metrics              {app.url}/metrics")
        self._say("demo", f"break something      curl -X POST {simulator.control_url}/connections/mastodon-109876543210/break")
        await self._until(begun, timedelta(seconds=2.5))
        self._report(app.snapshot())
        for number, scene in enumerate(self.scenes()):
            await self._until(begun, scene.at)
            self._say("simulator", scene.text)
            scene.act()
            if number % 2:
                await self._until(begun, scene.at + timedelta(seconds=3))
                self._count(app.snapshot())
        await self._until(begun, timedelta(seconds=27))
        if self._duration is None:
            self._say("demo", "that was the story; everything keeps running, Ctrl-C stops it")
            return
        await self._until(begun, self._duration)
        self._signals.ask_to_stop()

    async def _until(self, begun: float, moment: timedelta) -> None:
        await self._clock.sleep(max(0.0, begun + moment.total_seconds() - self._clock.monotonic()))

    def _report(self, snapshot: Snapshot) -> None:
        for view in snapshot.connections:
            state = view.state
            words = reason_text(state.reason) if state.reason is not None else "not checked yet"
            self._say("monitor", f"{view.connection.platform_id:<42} {state.health.value:<12} {words}")

    def _count(self, snapshot: Snapshot) -> None:
        health = [view.state.health for view in snapshot.connections]
        parts = [f"{health.count(one)} {words}" for one, words in _HEALTH_WORDS if health.count(one)]
        incidents, webhooks = len(snapshot.incidents), len(self.received)
        told = f"{incidents} open incident{_plural(incidents)}, {webhooks} webhook{_plural(webhooks)} delivered"
        self._say("monitor", f"{', '.join(parts)}; {told}")


def _plural(count: int) -> str:
    return "" if count == 1 else "s"


_HEALTH_WORDS = (
    (Health.OK, "ok"),
    (Health.ERROR, "broken"),
    (Health.MISSING, "missing"),
    (Health.MISCONFIGURED, "misconfigured"),
    (Health.UNSUPPORTED, "can't be tested"),
    (Health.UNKNOWN, "not known yet"),
)
STORY = timedelta(seconds=28)
"""How long the story takes."""
