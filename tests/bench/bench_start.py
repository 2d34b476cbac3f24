"""How soon a daemon that knows its connections gives a complete scrape, what it holds then, and what it costs to idle."""

import gzip
import sqlite3
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from monitor.db.codec import dump_state
from monitor.domain.reasons import Health
from monitor.errors import Reason
from tests.bench.fleet import Measured
from tests.bench.result import Result
from tests.builders import DAY, HOUR, MINUTE, a_state, a_token_belief
from tests.databases import migrated_sqlite
from tests.e2e.processes import free_port, running, wait_until

PLATFORMS = ("linkedin", "x", "instagram", "facebook", "youtube", "tiktok", "threads", "pinterest", "bluesky", "mastodon")
SIZES = ((10_000, 40, 2.5, 130.0), (100_000, 400, 15.0, 600.0))
"""Connections, accounts, and at most so many seconds and megabytes."""
IDLE_SECONDS = 20.0

_CONFIG = """\
api: {{base_url: "http://127.0.0.1:{api}/api/v1"}}
accounts: [{accounts}]
schedule: {{interval: 7d, discovery: 7d}}
database: {{url: "sqlite:///{folder}/state/monitor.db"}}
web: {{listen: "127.0.0.1:{port}"}}
"""
_LAST_CHECK = b"\npostpost_connection_last_check_timestamp_seconds{"


def measure() -> Iterator[Result]:
    """Seconds from the start of the process to its first scrape of all connections; memory then; CPU while nothing is due."""
    for connections, accounts, seconds, megabytes in SIZES:
        with tempfile.TemporaryDirectory() as name:
            yield from _measure(Path(name), connections, accounts, (seconds, megabytes))


def _measure(folder: Path, connections: int, accounts: int, limits: tuple[float, float]) -> Iterator[Result]:
    names = [f"account-{number:03}" for number in range(accounts)]
    _fill(folder, connections, names)
    port = free_port()
    path = folder / "config.yaml"
    path.touch(mode=0o600)
    keys = ", ".join(f"{{name: {name}, api_key: sk_{number:032}}}" for number, name in enumerate(names))
    path.write_text(_CONFIG.format(api=free_port(), accounts=keys, folder=folder, port=port))
    began = time.perf_counter()
    with running(Path(sys.executable), "-m", "monitor", "run", "--config", str(path), log=folder / "daemon.log") as command:
        monitor = Measured(command, f"http://127.0.0.1:{port}")
        wait_until("the first scrape", lambda: _known(monitor) == connections, alive=command, within=240)
        took, cpu = time.perf_counter() - began, monitor.cpu_seconds()
        yield Result(f"start to first scrape, {connections:,} connections", took, "s", limit=limits[0])
        yield Result("CPU until then", cpu, "s")
        yield Result("memory then", monitor.resident_mb(), "MB", limit=limits[1])
        time.sleep(IDLE_SECONDS / 2)
        before = monitor.cpu_seconds()
        time.sleep(IDLE_SECONDS)
        yield Result("CPU a second with nothing due", (monitor.cpu_seconds() - before) / IDLE_SECONDS * 1e3, "ms")
        yield Result("memory then", monitor.resident_mb(), "MB", limit=limits[1])


def _known(monitor: Measured) -> int:
    request = urllib.request.Request(f"{monitor.url}/metrics", headers={"Accept-Encoding": "gzip"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return gzip.decompress(answer.read()).count(_LAST_CHECK)
    except OSError:
        return 0


def _fill(folder: Path, connections: int, accounts: Sequence[str]) -> None:
    """A database that knows *connections*, each checked within the last hour."""
    migrated_sqlite(folder / "state" / "monitor.db")
    now = datetime.now(UTC)
    with sqlite3.connect(folder / "state" / "monitor.db") as database:
        rows = [_row(number, accounts, connections) for number in range(1, connections + 1)]
        database.executemany("INSERT INTO connections VALUES (?, ?, '', ?, ?, NULL, '{}', ?, 'auto', '[]', 1, NULL)", rows)
        states = [(number, 3, "ok", _document(number, now)) for number in range(1, connections + 1)]
        database.executemany("INSERT INTO connection_states VALUES (?, ?, ?, ?)", states)
        checks = [(number, _checked_at(number, now), "ok", 120) for number in range(1, connections + 1)]
        database.executemany("INSERT INTO checks (connection_id, at, reason, duration_ms) VALUES (?, ?, ?, ?)", checks)


def _row(number: int, accounts: Sequence[str], connections: int) -> tuple[object, ...]:
    platform = PLATFORMS[number % len(PLATFORMS)]
    account = accounts[(number - 1) * len(accounts) // connections]
    return number, account, f"{platform}-{number:08d}", platform, 7 * DAY // timedelta(milliseconds=1)


def _checked_at(number: int, now: datetime) -> int:
    return int((now - number % 3600 * timedelta(seconds=1)).timestamp() * 1000)


def _document(number: int, now: datetime) -> str:
    seen = datetime.fromtimestamp(_checked_at(number, now) / 1000, UTC)
    token = a_token_belief(None, earliest_at=seen + 30 * DAY, latest_at=seen + 30 * DAY + MINUTE, observed_at=seen, unit=HOUR)
    return dump_state(
        a_state(
            Health.OK,
            reason=Reason.OK,
            since=now - 30 * DAY,
            username=f"user{number}",
            display_name=f"User {number}",
            permissions=("r_liteprofile", "w_member_social"),
            last_check_at=seen,
            last_evidence_at=seen,
            last_passed_at=seen,
            last_successful_post_at=seen - DAY,
            token=token,
            next_evaluation_at=seen + 21 * DAY,
        )
    )
