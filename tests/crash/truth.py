"""
What really happened, kept outside of the program under test, and the judgement of what the receiver made of it.

The world is a file: one line per change of a connection, written by a child before its program can know of it. A line
that was written survives the child, so each change must be told exactly once, as the connection's next number.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = range(1, 9)
FAILED, RECOVERED = "connection.failed", "connection.recovered"


class World:
    """Which connections work; every second change of one mends it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "world"

    def changes(self) -> Counter[int]:
        """How often each connection has changed."""
        return Counter(int(line) for line in self._path.read_text().split()) if self._path.exists() else Counter()

    def change(self, number: int) -> None:
        """Break connection *number*, or mend it."""
        # One write: a killed process has done all of it or nothing.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, f"{number}\n".encode())
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Receipt:
    """
    One request as the receiver saw it.

    Attributes:
        processed: the receiver has acted on it, whatever the sender got to hear.
        answered: the sender was told so.
    """

    webhook_id: str
    connection: int
    seq: int
    type: str
    body: bytes
    signed: bool
    processed: bool
    answered: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """Violations by kind, each with a line for people, and what the run amounted to."""

    lost: tuple[str, ...]
    second_id: tuple[str, ...]
    out_of_order: tuple[str, ...]
    wrong: tuple[str, ...]
    changes: int
    repeated: int

    @property
    def violations(self) -> tuple[str, ...]:
        """All of them."""
        return self.lost + self.second_id + self.out_of_order + self.wrong


def judge(changes: Counter[int], receipts: Sequence[Receipt]) -> Finding:
    """Hold what the receiver processed against what happened. To be asked when nothing more is owed."""
    processed = [one for one in receipts if one.processed]
    told: dict[tuple[int, int], list[Receipt]] = {}
    for one in processed:
        told.setdefault((one.connection, one.seq), []).append(one)
    due = [(number, seq) for number, count in changes.items() for seq in range(1, count + 1)]
    return Finding(
        lost=tuple(f"change {seq} of connection {number}" for number, seq in due if (number, seq) not in told),
        second_id=tuple(
            f"{key}: {ids}" for key, ids in ((key, {one.webhook_id for one in same}) for key, same in told.items()) if len(ids) > 1
        ),
        out_of_order=tuple(_out_of_order(told)),
        wrong=tuple(_wrong(told, set(due), receipts)),
        changes=len(due),
        repeated=len(processed) - len({one.webhook_id for one in processed}),
    )


def _out_of_order(told: Iterable[tuple[int, int]]) -> Iterable[str]:
    """The first receipts of each connection, in order of arrival, must count upwards; *told* keeps that order."""
    last: Counter[int] = Counter()
    for number, seq in told:
        if seq < last[number]:
            yield f"connection {number}: {seq} after {last[number]}"
        last[number] = max(seq, last[number])


def _wrong(told: dict[tuple[int, int], list[Receipt]], due: set[tuple[int, int]], receipts: Sequence[Receipt]) -> Iterable[str]:
    for (number, seq), same in told.items():
        if (number, seq) not in due:
            yield f"connection {number}: {seq} never happened"
        if {one.type for one in same} != {FAILED if seq % 2 else RECOVERED}:
            yield f"connection {number}: {seq} told as {same[0].type}"
    bodies: dict[str, bytes] = {}
    for one in receipts:
        if not one.signed or bodies.setdefault(one.webhook_id, one.body) != one.body:
            yield f"{one.webhook_id}: not the same signed bytes each time"
