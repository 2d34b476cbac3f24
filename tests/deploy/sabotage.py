"""
A process that runs the real daemon under a service manager and, once it is ready, breaks one thing in it.

Usage: python -m tests.deploy.sabotage FOLDER KIND

KIND is `none` or a function below. The limits are seconds instead of half minutes; everything else is as in production.
"""

import asyncio
import gc
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from monitor.app import App
from monitor.clock import SystemClock
from monitor.config import load
from monitor.notify import templates
from monitor.runtime.loop import Loop, WatchdogLimits
from monitor.runtime.signals import Signals
from monitor.runtime.systemd import ServiceManager
from monitor.simulator.presets import demo_world
from monitor.simulator.server import SimulatorServer
from tests import marked

LIMITS = WatchdogLimits(step=0.5, rest=1.0, scheduler=2.5, writer=2.0)
SILENT_WITHIN_SECONDS = 6.0

CONFIG = """\
api: {{base_url: "{api}", timeout: 1s, connect_timeout: 1s, requests_per_second: 100}}
accounts: [{{name: main, api_key: "{key}"}}]
schedule: {{interval: 1s, recheck: 500ms}}
receivers: [{{name: on-call, url: "http://127.0.0.1:9/{path}", timeout: 1s}}]
database: {{url: "sqlite:///{folder}/monitor.db"}}
web: {{listen: "127.0.0.1:0"}}
"""

T = TypeVar("T")


def _one(kind: type[T], where: Callable[[T], bool] = lambda _: True) -> T:
    return next(thing for thing in gc.get_objects() if isinstance(thing, kind) and where(thing))


def block_the_loop(app: App) -> None:
    """A callback that never comes back."""
    asyncio.get_running_loop().call_soon(time.sleep, 3600)


def stop_the_timer(app: App) -> None:
    """APScheduler's only timer is gone: no beat comes any more, and nothing raises."""
    _one(AsyncIOScheduler)._timeout.cancel()


def raise_in_the_scheduler(app: App) -> None:
    """APScheduler fails while it looks for due jobs: asyncio logs it, and the timer is never set again."""

    def fail() -> NoReturn:
        raise RuntimeError("sabotage")

    _one(AsyncIOScheduler)._process_jobs = fail


def deadlock_the_writer(app: App) -> None:
    """A work that waits for a lock that nobody gives back."""
    lock = threading.Lock()
    lock.acquire()
    app._held = app._database.submit(lambda _: lock.acquire())  # type: ignore[attr-defined]


def hang_a_deliverer(app: App) -> None:
    """A step without an end."""

    async def hang() -> bool:
        await asyncio.Event().wait()
        return False

    _one(Loop, lambda loop: loop.name == "deliverer-on-call")._step = hang


def none(app: App) -> None:
    """Nothing is broken."""


async def main(folder: Path, kind: str) -> None:
    """Run until killed."""
    world = demo_world(SystemClock())
    world.accounts["main"].keys.add(marked.API_KEY)
    simulator = SimulatorServer(world)
    path = folder / "config.yaml"
    path.touch(mode=0o600)
    path.write_text(CONFIG.format(api=await simulator.start(), key=marked.API_KEY, path=marked.PATH, folder=folder))
    config = load(path, check_template=templates.problems)
    manager = ServiceManager.from_environment()
    app = App(config, clock=SystemClock(), signals=Signals(), reread=lambda: config, manager=manager, limits=LIMITS)
    running = asyncio.create_task(app.run())
    await asyncio.wait({running, asyncio.create_task(app.ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(2)
    break_it: Any = globals()[kind]
    break_it(app)
    await running


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
