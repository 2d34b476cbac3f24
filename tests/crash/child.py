"""
The process that is killed: `python -m tests.crash.child FOLDER URL ORDERING LATENCY`.

It imports everything once and then forks a life per line of its standard input: `live SECONDS` is ended by SIGKILL
that long after its first look at all connections; `start SECONDS` that long after its first instruction, so that
recovering from the last kill is killed too; `settle` pays what is owed and ends by itself. How each life ended is printed.
"""

import asyncio
import contextlib
import os
import select
import signal
import sys
import threading
import time
import traceback
from datetime import timedelta
from pathlib import Path
from typing import TextIO

from monitor.clock import SystemClock
from monitor.config import ReceiverSettings, Secret
from monitor.db import Database, NewConnection
from monitor.domain.model import Connection
from monitor.domain.routes import ReceiverRule
from monitor.fleet import Fleet, Plan
from monitor.webhook import Sender
from tests import marked
from tests.crash.orderings import IDENTITY, NAME, ORDERINGS, POLICY, Bench, Ordering
from tests.crash.truth import CONNECTIONS, World

SECRET = marked.signing()
_MOST_OWED = 12
_SETTLED_WITHIN_SECONDS = 60
_STARTED_WITHIN_SECONDS = 30


class Life:
    """What one forked process does until it is killed."""

    def __init__(self, folder: Path, url: str, ordering: str, latency: float) -> None:
        self._world = World(folder)
        self._url, self._ordering, self._latency = url, ordering, latency
        self._database_url = f"sqlite:///{folder}/monitor.db"

    async def run(self, errand: str, report: int) -> None:
        """Look at every connection, then let them change and tell of it, for ever; or, to `settle`, only tell what is owed."""
        clock = SystemClock()
        database = Database(self._database_url, clock=clock, owner="crash")
        if errand == "start":
            os.write(report, b"!")
        await database.start()
        fleet = await _fleet(database, clock)
        receiver = ReceiverSettings(name=NAME, url=Secret(self._url), secrets=(Secret(SECRET),), timeout=timedelta(milliseconds=150))
        bench = Bench(database, fleet, Sender(clock=clock, user_agent="crash"), receiver, self._latency, clock)
        ordering = ORDERINGS[self._ordering](bench)
        changes = self._world.changes()
        await asyncio.gather(*(ordering.check(one, works=changes[one.id] % 2 == 0) for one in _watched(fleet)))
        if errand == "live":
            os.write(report, b"!")
        if errand == "settle":
            while await bench.owed():
                await _work(ordering)
        else:
            await asyncio.gather(self._change(bench, ordering), _deliver(ordering))
        await bench.sender.close()
        await database.close()

    async def _change(self, bench: Bench, ordering: Ordering) -> None:
        changes = self._world.changes()
        connections = _watched(bench.fleet)
        while True:
            connection = bench.dice.choice(connections)
            changes[connection.id] += 1
            self._world.change(connection.id)
            await ordering.check(connection, works=changes[connection.id] % 2 == 0)
            await bench.clock.sleep(bench.dice.uniform(0, 0.01))
            while await bench.owed() > _MOST_OWED:
                await bench.clock.sleep(0.005)


async def _fleet(database: Database, clock: SystemClock) -> Fleet:
    wanted = [NewConnection("main", "", f"linkedin-page{number}", "linkedin") for number in CONNECTIONS]
    await database.write(lambda store: store.ensure_connections(wanted))
    fleet = Fleet(Plan(POLICY, "api.example", timedelta(days=1), IDENTITY, receivers=(ReceiverRule(NAME),)), clock)
    await database.read(fleet.load)
    fleet.put_connections(await database.read(lambda reader: reader.connections()))
    return fleet


def _watched(fleet: Fleet) -> list[Connection]:
    return [one for one in map(fleet.connection, fleet.ids()) if one is not None]


async def _deliver(ordering: Ordering) -> None:
    while True:
        await _work(ordering)


async def _work(ordering: Ordering) -> None:
    if not await ordering.deliver():
        await asyncio.sleep(0.002)


def main() -> None:
    """Fork a life for each line."""
    folder, url, ordering, latency = sys.argv[1:]
    life = Life(Path(folder), url, ordering, float(latency))
    assert threading.active_count() == 1, "a thread would not survive the fork"
    answers = _answers(Path(folder) / "log")
    answers.write("ready\n")
    for line in sys.stdin:
        word, _, seconds = line.strip().partition(" ")
        answers.write(_live(life, word, float(seconds or 0)) + "\n")


def _answers(log: Path) -> TextIO:
    """The standard output; whatever else is printed from now on, here or in any life, goes to *log*."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    with log.open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    return answers


def _live(life: Life, errand: str, seconds: float) -> str:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be(life, errand, writing)
    os.close(writing)
    try:
        if seconds:
            select.select([reading], [], [], _STARTED_WITHIN_SECONDS)
            time.sleep(seconds)
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(reading)
    return "killed" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL else f"exit {os.waitstatus_to_exitcode(status)}"


def _be(life: Life, errand: str, report: int) -> None:
    code = 1
    with contextlib.suppress(BaseException):
        try:
            # What neither ends nor is killed must not be left behind.
            signal.alarm(_SETTLED_WITHIN_SECONDS)
            asyncio.run(life.run(errand, report))
            code = 0
        except BaseException:
            traceback.print_exc()
            raise
    os._exit(code)


if __name__ == "__main__":
    main()
