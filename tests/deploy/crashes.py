"""
A process that runs the real command, and once it is ready lets one thing in each layer raise an error that holds a secret.

Usage: python -m tests.deploy.crashes CONFIG
"""

import asyncio
import gc
import sys
import threading
import time
import warnings
from typing import Any, ClassVar, NoReturn, TypeVar

import monitor.cli.run
from monitor.app import App
from monitor.cli.main import main
from monitor.metrics import Metrics
from monitor.postpost.client import ApiClient
from monitor.runtime.loop import Loop
from monitor.web.server import WebServer
from tests import marked

T = TypeVar("T")

SECRETS = f"{marked.API_KEY} {marked.PATH} {marked.TOKEN} {marked.signing()} {marked.PASSWORD}"


def _all(kind: type[T]) -> list[T]:
    return [thing for thing in gc.get_objects() if isinstance(thing, kind)]


def fail(*arguments: object, **named: object) -> NoReturn:
    """Raise what a careless library would, with the secrets in the text and in local variables."""
    held = SECRETS
    raise RuntimeError(f"can't go on with {held} and {arguments} {named}")


async def fail_later(*arguments: object, **named: object) -> NoReturn:
    """The same of a coroutine."""
    fail(*arguments, **named)


def break_all(app: App) -> None:
    """One error in each layer, every one of which the process survives."""
    for api in _all(ApiClient):
        setattr(api, "_fetch", fail_later)  # noqa: B010 - what the type says is not to be replaced
    for thing, name in ((_all(WebServer)[0]._snapshots, "board"), (_all(Metrics)[0], "chunks")):
        setattr(thing, name, fail)
    loop = asyncio.get_running_loop()
    forgotten = app._database.submit(lambda _store: fail())
    forgotten.add_done_callback(lambda _: loop.call_soon(fail))
    threading.Thread(target=fail).start()
    loop.call_later(0.1, lambda: warnings.warn(SECRETS, UserWarning, stacklevel=1))


def end_it() -> None:
    """An error that nobody catches ends the process."""
    # What was forgotten is reported when it is collected.
    gc.collect()
    loops: list[Any] = [one for one in _all(Loop) if one.name == "evaluator"]
    loops[0]._step = fail_later


class _Known(App):
    """The real one, which can be found without a look at every object of another thread: that breaks what is being built there."""

    latest: ClassVar[list[App]] = []

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.latest.append(self)


def _watch() -> None:
    while not (_Known.latest and _Known.latest[0].ready.is_set()):
        time.sleep(0.05)
    app = _Known.latest[0]
    loop = app._signals.stop._loop  # type: ignore[attr-defined]
    if loop is None:
        loop = app.ready._loop  # type: ignore[attr-defined]
    loop.call_soon_threadsafe(break_all, app)
    # Long enough for the checks and the scrapes that run into it.
    time.sleep(4)
    loop.call_soon_threadsafe(end_it)


if __name__ == "__main__":
    setattr(monitor.cli.run, "App", _Known)  # noqa: B010 - as above
    threading.Thread(target=_watch, daemon=True).start()
    sys.argv = ["postpost-monitor", "run", "--config", sys.argv[1]]
    sys.exit(main())
