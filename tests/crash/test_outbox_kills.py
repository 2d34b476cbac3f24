"""kill -9 at random instants: what is owed is told, under one id and in order, and a wrong order of steps is noticed."""

import os
from collections import Counter
from pathlib import Path

import pytest

from monitor.simulator import faults
from tests.crash.kills import FRIENDLY, HOSTILE, Run, books, every_step, torture, torture_the_whole
from tests.crash.truth import FAILED, RECOVERED, Receipt, judge

KILLS = max(300, int(os.environ.get("KILLS", "300")))
"""How many in all; `make kills` asks for more."""

SHARES = {"SQLite, 1": 0.3, "SQLite, 2": 0.3, "SQLite, 3": 0.3, "PostgreSQL": 0.1}
"""Which part of them each database takes; several, so that they can be killed side by side."""

WHOLE_KILLS = int(os.environ.get("KILLS", "100")) // 10
"""How often the whole daemon is killed besides: each of its lives begins with a whole start."""

MOODS = {
    "takes": FRIENDLY,
    "drops": ((faults.normal(), 1), (faults.drop(), 1)),
    "refuses": ((faults.normal(), 1), (faults.answer(500), 1)),
}
LEAST_STEPS = 14
MOST_KILLS_OF_A_CONTROL = 120
# One way; the controls' windows are as wide as a network makes them.
LATENCY = 0.01


def _receipt(seq: int, webhook_id: str = "", *, processed: bool = True) -> Receipt:
    kind = FAILED if seq % 2 else RECOVERED
    return Receipt(webhook_id or f"msg_{seq}", 1, seq, kind, b"", signed=True, processed=processed, answered=processed)


@pytest.mark.parametrize(
    ("receipts", "found"),
    [
        ([_receipt(1), _receipt(1), _receipt(2), _receipt(1)], ()),
        ([_receipt(1), _receipt(2, processed=False)], ("lost",)),
        ([_receipt(1), _receipt(2), _receipt(2, "msg_other")], ("second_id",)),
        ([_receipt(2), _receipt(1)], ("out_of_order",)),
        ([_receipt(1), _receipt(2), _receipt(3)], ("wrong",)),
    ],
)
def test_judgement(receipts: list[Receipt], found: tuple[str, ...]) -> None:
    """Of two changes each violation is found by its own name; a repetition under the same id is none."""
    finding = judge(Counter({1: 2}), receipts)

    assert tuple(name for name in ("lost", "second_id", "out_of_order", "wrong") if getattr(finding, name)) == found


def report(name: str, *runs: Run) -> None:
    """The numbers of docs/explanation/reliability.md, shown with `pytest -s`."""
    print(  # noqa: T201
        f"\n{name}: {sum(run.kills for run in runs)} kills, {sum(run.finding.changes for run in runs)} changes, "
        f"{sum(len(run.receipts) for run in runs)} requests, {sum(run.finding.repeated for run in runs)} told again under the same id"
    )


def judged(name: str, run: Run) -> None:
    report(name, run)
    assert run.finding.violations == ()
    assert books(run) == []


@pytest.mark.slow
@pytest.mark.timeout(900 + 2 * KILLS)
@pytest.mark.parametrize("name", SHARES)
async def test_kills(request: pytest.FixtureRequest, tmp_path: Path, name: str) -> None:
    """300 kills in all, before a hostile receiver: nothing lost, nothing under a second id, nothing out of order, the books balance."""
    database = request.getfixturevalue("postgres_url") if name == "PostgreSQL" else ""
    run = await torture(
        tmp_path / "db", "outbox", list(SHARES).index(name), kills=round(KILLS * SHARES[name]), moods=HOSTILE, database=database
    )
    judged(name, run)
    assert run.finding.changes > run.kills // 2, "too little happened between the kills"
    assert run.finding.repeated > 0, "no kill and no lost answer was ever made good"


@pytest.mark.slow
@pytest.mark.timeout(900 + 2 * WHOLE_KILLS)
async def test_kills_of_the_whole(tmp_path: Path) -> None:
    """The daemon as the program itself puts it together, killed: the same judgement, and the books balance."""
    run = await torture_the_whole(tmp_path / "db", 1, kills=WHOLE_KILLS)
    judged("SQLite, the whole daemon", run)
    assert run.finding.changes > run.kills // 2, "too little happened between the kills"


def test_kills_add_up() -> None:
    """The databases take all of the kills between them."""
    assert sum(round(KILLS * share) for share in SHARES.values()) >= KILLS


@pytest.mark.slow
@pytest.mark.parametrize("mood", MOODS)
async def test_every_step(tmp_path: Path, mood: str) -> None:
    """A process that dies at any step between a check and the receiver's answer leaves everything to the next one."""
    run = await every_step(tmp_path / "db", "outbox", 1, moods=MOODS[mood], stride=1 if mood == "takes" else 2)
    judged(f"SQLite, every step, {mood}", run)
    assert run.kills >= LEAST_STEPS


@pytest.mark.slow
async def test_every_step_on_postgres(tmp_path: Path, postgres_url: str) -> None:
    """The same with the rows in PostgreSQL, before a receiver that drops, refuses and takes."""
    moods = [*MOODS["drops"], *MOODS["refuses"]]
    run = await every_step(tmp_path / "db", "outbox", 1, moods=moods, database=postgres_url, stride=3)
    judged("PostgreSQL, every step", run)
    assert run.kills >= LEAST_STEPS


@pytest.mark.slow
async def test_every_step_finds_a_wrong_order(tmp_path: Path) -> None:
    """Dying at every step finds a wrong order out, too: there is a step between the mark and the request at which it loses."""
    run = await every_step(tmp_path / "db", "claim-then-send", 1, moods=FRIENDLY, stride=2)
    report("claim-then-send, every second step", run)
    assert run.finding.lost


@pytest.mark.slow
@pytest.mark.parametrize("ordering", ["claim-then-send", "send-then-store", "store-only-success"])
async def test_wrong_order_is_noticed(tmp_path: Path, ordering: str) -> None:
    """Each wrong order of the same steps is found out by the same judgement, even before a perfect receiver."""
    run = await torture(tmp_path / "db", ordering, 1, kills=MOST_KILLS_OF_A_CONTROL, moods=FRIENDLY, latency=LATENCY, enough=5)

    finding = run.finding
    print(f"\n{ordering}: {run.kills} kills, {finding.changes} changes, {len(finding.lost)} lost, {len(finding.second_id)} twice")  # noqa: T201
    assert finding.lost or finding.second_id
