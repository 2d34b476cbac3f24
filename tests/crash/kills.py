"""Killing a child again and again before a receiver that behaves as told, and what is to be found afterwards."""

import asyncio
import itertools
import random
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from monitor.clock import Clock, SystemClock
from monitor.simulator import faults
from monitor.simulator.faults import Fault, FaultKind
from monitor.simulator.receiver import Received
from tests.crash.child import SECRET, WHOLE
from tests.crash.fast_clock import FastClock
from tests.crash.truth import CONNECTIONS, FAILED, Finding, Receipt, World, judge
from tests.crash.whole import FACTOR, Outside
from tests.receiving import ReceiverServer

ROOT = Path(__file__).parent.parent.parent
STARTS = 0.2
"""Share of the kills that come early, so that many hit the recovery from the one before."""

EARLY, LONGEST = 20, 150
"""No killed process takes more steps than this; a change on its way to the receiver takes about thirty."""

LONGEST_OF_THE_WHOLE = 150
"""The daemon writes more than is on the way of one change."""

SETTLED_WITHIN_SECONDS = 30.0

SURVIVORS = 4
"""As many processes in a row must be done before the step at which they were to die."""

FRIENDLY: Sequence[tuple[Fault, float]] = ((faults.normal(), 1),)
HOSTILE: Sequence[tuple[Fault, float]] = (
    (faults.normal(), 60),
    (faults.answer(500), 12),
    (faults.drop(), 12),
    (faults.redirect("http://127.0.0.1:9/elsewhere"), 6),
    (faults.answer(429, None, {"Retry-After": "0"}), 5),
    (faults.answer(429, None, {"Retry-After": "1"}), 1),
    (faults.hang(), 4),
)


class Judge:
    """A receiver with moods, which keeps a journal."""

    def __init__(self, moods: Sequence[tuple[Fault, float]], dice: random.Random, clock: Clock | None = None) -> None:
        self.receipts: list[Receipt] = []
        self.server = ReceiverServer(SECRET, clock=clock or SystemClock(), on_event=self._hear, limit=1)
        self._moods = moods
        self._dice = dice
        self._draw()

    def soothe(self) -> None:
        """From now on everything is accepted."""
        self._moods = FRIENDLY
        self._draw()

    def _draw(self) -> None:
        ((self._mood,)) = self._dice.choices([mood for mood, _ in self._moods], [weight for _, weight in self._moods])
        self.server.behave(self._mood)

    def _hear(self, delivery: Received) -> None:
        data, kind = delivery.data, self._mood.kind
        self.receipts.append(
            Receipt(
                webhook_id=delivery.webhook_id,
                connection=int(data["incident"]["subject"]),
                seq=data["seq"],
                type=delivery.type,
                body=delivery.body,
                signed=delivery.signature == "valid",
                processed=kind in (FaultKind.NORMAL, FaultKind.DROP),
                answered=kind is FaultKind.NORMAL,
            )
        )
        self._draw()


class Victim:
    """The child, seen from outside."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    async def do(self, errand: str, *ended: str) -> str:
        """One life, which must have *ended* in one of these ways; returns in which."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{errand}\n".encode())
        heard = await self.heard()
        assert heard in ended, f"{errand}: {heard or 'nothing'}\n{self._log.read_text()[-4000:]}"
        return heard

    async def heard(self) -> str:
        """The next line it prints."""
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()


@asynccontextmanager
async def victim(folder: Path, database: str, url: str, ordering: str, latency: float) -> AsyncIterator[Victim]:
    """A child that has imported everything; it ends with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.crash.child",
        *(str(folder), database, url, ordering, str(latency)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    one = Victim(process, folder / "log")
    try:
        assert await one.heard() == "ready"
        yield one
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


@dataclass(frozen=True, slots=True)
class Run:
    """The run of one database: the kills it took, what was found, and every request that its receiver saw."""

    kills: int
    finding: Finding
    receipts: tuple[Receipt, ...]
    folder: Path
    database: str


@asynccontextmanager
async def a_stage(
    folder: Path, database: str, ordering: str, receiver: Judge, latency: float = 0.0
) -> AsyncIterator[tuple[Victim, Callable[[int], Run]]]:
    """A listening *receiver*, a child that tells it, with its database made, and the judgement of both after so many kills."""
    await receiver.server.start()
    await asyncio.to_thread(folder.mkdir)
    where = database or f"sqlite:///{folder}/monitor.db"

    def judged(kills: int) -> Run:
        return Run(kills, judge(World(folder).changes(), receiver.receipts), tuple(receiver.receipts), folder, where)

    try:
        async with victim(folder, where, receiver.server.url, ordering, latency) as child:
            # What creating the database takes is no part of what a crash may hit.
            await child.do("settle", "exit 0")
            yield child, judged
    finally:
        await receiver.server.close()


async def torture(
    folder: Path,
    ordering: str,
    seed: int,
    *,
    kills: int,
    moods: Sequence[tuple[Fault, float]],
    database: str = "",
    latency: float = 0.0,
    enough: int = 0,
) -> Run:
    """
    Kill a child *kills* times at random instants, let the last one pay what is owed, and judge.

    With *enough* it is also judged every so many kills, and over as soon as something is found. The *database* is a
    new SQLite file unless named.
    """
    dice = random.Random(seed)
    receiver = Judge(moods, dice)
    done = 0
    async with a_stage(folder, database, ordering, receiver, latency) as (child, judged):
        while True:
            for _ in range(min(enough or kills, kills - done)):
                steps = dice.uniform(0, EARLY if dice.random() < STARTS else LONGEST)
                await child.do(f"live {steps:.4f}", "killed")
                done += 1
            if done == kills:
                receiver.soothe()
            await child.do("settle", "exit 0")
            run = judged(done)
            if done == kills or run.finding.violations:
                return run


async def torture_the_whole(folder: Path, seed: int, *, kills: int, database: str = "") -> Run:
    """Kill the whole daemon *kills* times at random instants before a hostile receiver, let the last one settle, and judge."""
    dice, clock = random.Random(seed), FastClock(time.time(), FACTOR)
    receiver = Judge(HOSTILE, dice, clock)
    where = database or f"sqlite:///{folder}/monitor.db"
    await asyncio.to_thread(folder.mkdir, mode=0o700)
    outside = Outside(folder, clock, receiver.receipts, dice)
    await outside.api.start()
    await receiver.server.start()
    outside.write_configuration(receiver.server.url, where, SECRET, clock.origin)
    try:
        async with victim(folder, where, receiver.server.url, WHOLE, 0.0) as child:
            async with outside.changing():
                for _ in range(kills):
                    await child.do(f"live {dice.uniform(0, LONGEST_OF_THE_WHOLE):.4f}", "killed")
            receiver.soothe()
            await asyncio.gather(child.do("settle", "exit 0"), outside.rest())
    finally:
        await receiver.server.close()
        await outside.api.close()
    return Run(kills, judge(outside.world.changes(), receiver.receipts), tuple(receiver.receipts), folder, where)


async def every_step(
    folder: Path, ordering: str, seed: int, *, moods: Sequence[tuple[Fault, float]], database: str = "", stride: int = 1
) -> Run:
    """
    Kill a child at the first step of a change on its way to the receiver, the next one at the second, and so on by *stride*.

    Over when several in a row were done before their turn came: the receiver's moods make some ways longer than others.
    """
    receiver = Judge(moods, random.Random(seed))
    kills = survived = 0
    numbers = itertools.count(1, stride)
    async with a_stage(folder, database, ordering, receiver) as (child, judged):
        while survived < SURVIVORS:
            killed = await child.do(f"die {next(numbers)}", "killed", "exit 0") == "killed"
            kills += killed
            survived = 0 if killed else survived + 1
        receiver.soothe()
        await child.do("settle", "exit 0")
        return judged(kills)


def books(run: Run) -> list[str]:
    """What is wrong with the database that *run* left behind, held against the world and the receiver; nothing if all is well."""
    changes = World(run.folder).changes()
    answered = {one.webhook_id for one in run.receipts if one.answered}
    last_told = {one.connection: one.type for one in run.receipts if one.processed}
    rows, deliveries, healths, integrity = _asked(
        run.database,
        # Of its own trouble the only receiver is not notified.
        "SELECT webhook_id, connection_id, seq FROM notifications WHERE subject NOT LIKE 'receiver:%' ORDER BY id",
        "SELECT state, count(*) FROM deliveries GROUP BY state",
        "SELECT connection_id, health FROM connection_states",
        "PRAGMA integrity_check" if run.database.startswith("sqlite") else "SELECT 'ok'",
    )
    wrong = [] if integrity == [("ok",)] else [f"integrity: {integrity}"]
    if deliveries != [("delivered", len(rows))]:
        wrong.append(f"{len(rows)} notifications, deliveries {deliveries}")
    wrong += [f"{row} was never taken" for row in rows if row[0] not in answered]
    wrong += [f"{one} has no row" for one in answered - {row[0] for row in rows}]
    for number, health in healths:
        seqs = [seq for _, connection, seq in rows if connection == number]
        if seqs != list(range(1, changes[number] + 1)):
            wrong.append(f"connection {number} changed {changes[number]} times, stored {seqs}")
        works = changes[number] % 2 == 0
        if health != ("ok" if works else "error") or (number in last_told and (last_told[number] == FAILED) is works):
            wrong.append(f"connection {number} works: {works}, known as {health}, last told {last_told.get(number)}")
    return wrong if len(healths) == len(CONNECTIONS) else [*wrong, f"states of {len(healths)} connections"]


def _asked(database: str, *questions: str) -> list[list[tuple[Any, ...]]]:
    """The answers of the database, without anything of the program in between."""
    path = database.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path) if path != database else psycopg.connect(database)) as connection:
        return [connection.execute(question).fetchall() for question in questions]
