import random
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.clock import SystemClock
from monitor.db import CheckRow, Database
from monitor.domain.connections import ConnectionSpec
from monitor.errors import Reason
from tests.builders import START

_LIMIT = 80
"""Bytes of one check on disk, indexes included."""

_FAILURES = (Reason.CREDENTIAL_REJECTED, Reason.TOKEN_EXPIRED, Reason.API_TIMEOUT, Reason.API_FAILED)


@pytest.mark.slow
async def test_bytes_of_a_check(sqlite_url: str) -> None:
    """A check in the history takes at most 80 bytes, with a token text and a message, as they come in over days."""
    database = Database(sqlite_url, clock=SystemClock(), owner="test")
    await database.start()
    wanted = [ConnectionSpec("main", "", f"linkedin-{n:05}", "linkedin") for n in range(500)]
    ids = list((await database.write(lambda store: store.ensure_connections(wanted))).values())
    await database.tidy()
    before = _size(sqlite_url)

    rng = random.Random(1)
    rounds = 400
    for number in range(rounds):
        rows = [_row(rng, connection_id, number) for connection_id in ids]
        rng.shuffle(rows)
        await database.write(lambda store, rows=rows: store.record_checks(rows))  # type: ignore[misc]
    await database.tidy()
    each = (_size(sqlite_url) - before) / (rounds * len(ids))
    await database.close()
    assert 20 < each <= _LIMIT


def _size(url: str) -> int:
    return Path(url.removeprefix("sqlite:///")).stat().st_size


def _row(rng: random.Random, connection_id: int, number: int) -> CheckRow:
    at = START + timedelta(minutes=15 * number, milliseconds=rng.randrange(900_000))
    if rng.random() < 0.05:
        return CheckRow(connection_id, at, rng.choice(_FAILURES), rng.randrange(100, 30_000), 200, None, f"went wrong {rng.randrange(50)}")
    return CheckRow(
        connection_id,
        at,
        Reason.OK,
        rng.randrange(100, 2_000),
        200,
        f"{59 - number // 96}d {23 - number // 4 % 24}h",
        "Connection is working",
    )
