"""
The process that is killed: `python -m tests.crash.child FOLDER DATABASE URL ORDERING LATENCY`.

It imports everything once and then forks a life per line of its standard input: `live NUMBER` is ended by SIGKILL from
outside after so many steps, recovering from the last kill included, and its fraction of 20 ms; `die NUMBER` lets one
connection change, tells of it, and ends itself at that step on the way unless it was done before; `settle` pays what is
owed and ends by itself. How each life ended is printed. ORDERING may also name the whole daemon.

Lives are measured in steps, since on a busy machine a short time is no work at all.
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
from monitor.db import Database, read_connections
from monitor.domain.connections import Connection, ConnectionSpec
from monitor.domain.routing.rules import ReceiverRule
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
from tests import marked
from tests.crash.kill_points import KillableBackend, KillableSender, KillPoint
from tests.crash.orderings import IDENTITY, NAME, ORDERINGS, POLICY, Bench, Ordering
from tests.crash.truth import CONNECTIONS, World
from tests.crash.whole import Whole

SECRET = marked.signing()
WHOLE = "the whole daemon"
_MOST_OWED = 12
_SETTLED_WITHIN_SECONDS = 60
_STARTED_WITHIN_SECONDS = 30
_AT_MOST_LATER_SECONDS = 0.02


class Life:
    """What one forked process does until it is killed."""

    def __init__(self, folder: Path, database: str, url: str, ordering: str, latency: float) -> None:
        self._world = World(folder)
        self._database, self._url, self._ordering, self._latency = database, url, ordering, latency

    async def run(self, errand: str, number: float, report: int) -> None:
        """Look at every connection, then do what the *errand* asks for."""
        clock, kill_point = SystemClock(), KillPoint(int(number) if errand == "die" else 0, report)
        database = Database(self._database, clock=clock, owner="crash")
        database._backend = KillableBackend(database._backend, kill_point)
        await database.start()
        fleet = await _fleet(database, clock)
        receiver = ReceiverSettings(name=NAME, url=Secret(self._url), secrets=(Secret(SECRET),), timeout=timedelta(milliseconds=150))
        bench = Bench(database, fleet, KillableSender(clock, kill_point), receiver, self._latency, clock)
        ordering = ORDERINGS[self._ordering](bench)
        watched = _watched(fleet)[: 1 if errand == "die" else None]
        changes = self._world.changes()
        await asyncio.gather(*(ordering.check(one, works=changes[one.id] % 2 == 0) for one in watched))
        if errand == "live":
            await asyncio.gather(self._change(bench, ordering), _deliver(ordering))
        if errand == "die":
            self._world.change(watched[0].id)
            await ordering.check(watched[0], works=changes[watched[0].id] % 2 == 1)
        while await bench.owed():
            await _work(ordering)
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


async def _fleet(database: Database, clock: SystemClock) -> Registry:
    wanted = [ConnectionSpec("main", "", f"linkedin-page{number}", "linkedin") for number in CONNECTIONS]
    await database.write(lambda store: store.ensure_connections(wanted))
    config = EvaluationConfig(policy=POLICY, api_host="api.example", identity=IDENTITY, receivers=(ReceiverRule(NAME),))
    fleet = Registry(config, clock)
    await database.read(fleet.load)
    fleet.set_connections(await database.read(read_connections))
    return fleet


def _watched(fleet: Registry) -> list[Connection]:
    return [one for one in map(fleet.connection, fleet.ids()) if one is not None]


async def _deliver(ordering: Ordering) -> None:
    while True:
        await _work(ordering)


async def _work(ordering: Ordering) -> None:
    if not await ordering.deliver():
        await asyncio.sleep(0.002)


def main() -> None:
    """Fork a life for each line."""
    folder, database, url, ordering, latency = sys.argv[1:]
    life = Whole(Path(folder)) if ordering == WHOLE else Life(Path(folder), database, url, ordering, float(latency))
    assert threading.active_count() == 1, "a thread would not survive the fork"
    answers = _answers(Path(folder) / "log")
    answers.write("ready\n")
    for line in sys.stdin:
        word, _, number = line.strip().partition(" ")
        answers.write(_live(life, word, float(number or 0)) + "\n")


def _answers(log: Path) -> TextIO:
    """The standard output; whatever else is printed from now on, here or in any life, goes to *log*."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    with log.open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    return answers


def _live(life: Life | Whole, errand: str, number: float) -> str:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be(life, errand, number, writing)
    os.close(writing)
    try:
        if errand == "live":
            _wait_for_steps(reading, int(number))
            time.sleep(number % 1 * _AT_MOST_LATER_SECONDS)
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(reading)
    return "killed" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL else f"exit {os.waitstatus_to_exitcode(status)}"


def _wait_for_steps(reading: int, count: int) -> None:
    while count and select.select([reading], [], [], _STARTED_WITHIN_SECONDS)[0]:
        taken = os.read(reading, count)
        if not taken:
            return
        count -= len(taken)


def _be(life: Life | Whole, errand: str, number: float, report: int) -> None:
    code = 1
    with contextlib.suppress(BaseException):
        try:
            # What neither ends nor is killed must not be left behind.
            signal.alarm(_SETTLED_WITHIN_SECONDS)
            asyncio.run(life.run(errand, number, report))
            code = 0
        except BaseException:
            traceback.print_exc()
            raise
    os._exit(code)


if __name__ == "__main__":
    main()
