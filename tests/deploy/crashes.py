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
from typing import Any, NoReturn, TypeVar

import httpx

from monitor.app import App
from monitor.cli import main
from monitor.lifecycle import Loop
from monitor.metrics import Metrics
from monitor.web import WebServer
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
    clients: list[Any] = _all(httpx.AsyncClient)
    for client in clients:
        client.send = client.request = client.build_request = fail_later
    for thing, name in ((_all(WebServer)[0]._pictures, "board"), (_all(Metrics)[0], "chunks")):
        setattr(thing, name, fail)
    loop = asyncio.get_running_loop()
    forgotten = app._database.submit(lambda _store: fail())
    forgotten.add_done_callback(lambda _: loop.call_soon(fail))
    threading.Thread(target=fail).start()
    loop.call_later(0.1, lambda: warnings.warn(SECRETS, UserWarning, stacklevel=1))


def end_it() -> None:
    """An error that nobody catches ends the process."""
    loops: list[Any] = [one for one in _all(Loop) if one.name == "reviewer"]
    loops[0]._step = fail_later


def _watch() -> None:
    while not (found := [app for app in _all(App) if app.ready.is_set()]):
        time.sleep(0.05)
    app = found[0]
    loop = app._signals.stop._loop  # type: ignore[attr-defined]
    if loop is None:
        loop = app.ready._loop  # type: ignore[attr-defined]
    loop.call_soon_threadsafe(break_all, app)
    # Long enough for the checks and the scrapes that run into it.
    time.sleep(4)
    loop.call_soon_threadsafe(end_it)


if __name__ == "__main__":
    threading.Thread(target=_watch, daemon=True).start()
    sys.argv = ["postpost-monitor", "run", "--config", sys.argv[1]]
    sys.exit(main())
