"""kill -9 at random instants: what is owed is told, under one id and in order, and a wrong order of steps is noticed."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.kills import FRIENDLY, HOSTILE, books, torture
from tests.crash.truth import FAILED, RECOVERED, Receipt, judge

DATABASES = 2
KILLS = 300
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


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_kills(tmp_path: Path) -> None:
    """300 kills before a hostile receiver: nothing lost, nothing under a second id, nothing out of order, the books balance."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(torture(tmp_path / str(number), "outbox", number, kills=KILLS // DATABASES, moods=HOSTILE))
            for number in range(DATABASES)
        ]
    runs = [task.result() for task in tasks]

    assert [run.finding.violations for run in runs] == [()] * DATABASES
    assert [books(run) for run in runs] == [[]] * DATABASES
    print(  # noqa: T201 - shown with `pytest -s`: the numbers of docs/reliability.md
        f"\n{sum(run.kills for run in runs)} kills, {sum(run.finding.changes for run in runs)} changes, "
        f"{sum(len(run.receipts) for run in runs)} requests, {sum(run.finding.repeated for run in runs)} told again under the same id"
    )
    assert sum(run.finding.changes for run in runs) > KILLS // 2, "too little happened between the kills"
    assert sum(run.finding.repeated for run in runs) > 0, "no kill and no lost answer was ever made good"


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("ordering", ["claim-then-send", "send-then-store", "store-only-success"])
async def test_wrong_order_is_noticed(tmp_path: Path, ordering: str) -> None:
    """Each wrong order of the same steps is found out by the same judgement, even before a perfect receiver."""
    run = await torture(tmp_path / "db", ordering, 1, kills=MOST_KILLS_OF_A_CONTROL, moods=FRIENDLY, latency=LATENCY, enough=5)

    finding = run.finding
    print(f"\n{ordering}: {run.kills} kills, {finding.changes} changes, {len(finding.lost)} lost, {len(finding.second_id)} twice")  # noqa: T201
    assert finding.lost or finding.second_id


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_controls_can_pass(tmp_path: Path) -> None:
    """The program itself passes what the wrong orders fail: same receiver, same kills, same judgement."""
    run = await torture(tmp_path / "db", "outbox", 1, kills=30, moods=FRIENDLY, enough=5)

    assert run.finding.violations == ()
    assert books(run) == []
