"""
A fleet that a database knows, and an API that answers for it from a process of its own: `python -m tests.bench.known PORT SIZE ACCOUNTS`.

The answers say what the database knows already, as in life. `monitor simulate` knows one account and remembers every request.
"""

import asyncio
import json
import re
import sqlite3
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from monitor.db.codec import dump_state
from monitor.domain import schedule
from monitor.domain.policy import Policy
from monitor.domain.reasons import Health
from monitor.domain.replies.token_life import TokenSays
from monitor.errors import Reason
from tests.builders import DAY, HOUR, MINUTE, a_connection, a_state, a_token_belief
from tests.databases import migrated_sqlite

PLATFORMS = ("linkedin", "x", "instagram", "facebook", "youtube", "tiktok", "threads", "pinterest", "bluesky", "mastodon")
_RENEWED = ("youtube", "tiktok")
"""Of these the API tells no date: it renews their tokens by itself."""

_PERMISSIONS = ("r_liteprofile", "w_member_social")
_TEXT = "Connection is working"
_WORKING = a_state(Health.OK)

_CONFIG = """\
api: {{base_url: "http://127.0.0.1:{api}/api/v1", requests_per_second: 50}}
accounts: [{accounts}]
schedule: {{interval: {interval}}}
database: {{url: "sqlite:///{folder}/state/monitor.db"}}
web: {{listen: "127.0.0.1:{web}"}}
"""


@dataclass(frozen=True)
class Fleet:
    """So many connections, numbered from 1, spread evenly over so many accounts. All tokens end at the same moment."""

    size: int
    accounts: int

    def platform_id(self, number: int) -> str:
        """The id of one connection."""
        return f"{PLATFORMS[number % len(PLATFORMS)]}-{number:08d}"

    def account_name(self, account: int) -> str:
        """The name of an account, by its number."""
        return f"account-{account:03}"

    def account_of(self, number: int) -> int:
        """The number of the account of one connection."""
        return (number - 1) * self.accounts // self.size

    def numbers(self, account: int) -> Sequence[int]:
        """The connections of one account."""
        return range(self.size * account // self.accounts + 1, self.size * (account + 1) // self.accounts + 1)


def ends_at(now: datetime) -> datetime:
    """When all tokens end: in a month, half an hour after a full hour from *now*, so that what is left reads the same for a while."""
    return now.replace(minute=0, second=0, microsecond=0) + 30 * DAY + HOUR / 2


def prepare(folder: Path, fleet: Fleet, *, interval: timedelta, api: int, web: int) -> Path:
    """A database that knows *fleet*, each checked when it was due within the last interval, and a configuration; returns the path of that."""
    names = [fleet.account_name(number) for number in range(fleet.accounts)]
    migrated_sqlite(folder / "state" / "monitor.db")
    now = datetime.now(UTC)
    numbers = range(1, fleet.size + 1)
    checked_at = {number: _checked_at(fleet, number, now, interval) for number in numbers}
    with sqlite3.connect(folder / "state" / "monitor.db") as database:
        database.executemany(
            "INSERT INTO connections VALUES (?, ?, '', ?, ?, NULL, '{}', ?, 'auto', '[]', 1, NULL, NULL)",
            (
                (number, names[fleet.account_of(number)], fleet.platform_id(number), PLATFORMS[number % len(PLATFORMS)], _ms(interval))
                for number in numbers
            ),
        )
        database.executemany(
            "INSERT INTO connection_states VALUES (?, 3, 'ok', ?)",
            ((number, _document(number, now, checked_at[number])) for number in numbers),
        )
        database.executemany(
            "INSERT INTO checks (connection_id, at, reason, duration_ms) VALUES (?, ?, 'ok', 120)",
            ((number, int(checked_at[number].timestamp() * 1000)) for number in numbers),
        )
    path = folder / "config.yaml"
    path.touch(mode=0o600)
    keys = ", ".join(f"{{name: {name}, api_key: sk_{number:032}}}" for number, name in enumerate(names))
    path.write_text(_CONFIG.format(api=api, accounts=keys, interval=f"{interval.total_seconds():g}s", folder=folder, web=web))
    return path


def _ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)


def _checked_at(fleet: Fleet, number: int, now: datetime, interval: timedelta) -> datetime:
    account = fleet.account_name(fleet.account_of(number))
    connection = a_connection(number, account=account, platform_id=fleet.platform_id(number), interval=interval)
    return schedule.regular_at(connection, _WORKING, now - interval, Policy())


def _document(number: int, now: datetime, checked_at: datetime) -> str:
    """The state as it was stored a few checks earlier: usual checks change no document."""
    seen = checked_at - MINUTE
    end = ends_at(now)
    if PLATFORMS[number % len(PLATFORMS)] in _RENEWED:
        token = a_token_belief(None, status="valid", nulls=2, observed_at=seen)
    else:
        token = a_token_belief(
            None, says=TokenSays.LEFT, status="valid", earliest_at=end - MINUTE, latest_at=end, observed_at=seen, unit=HOUR
        )
    return dump_state(
        a_state(
            Health.OK,
            reason=Reason.OK,
            since=now - 30 * DAY,
            username=f"user{number}",
            display_name=f"User {number}",
            permissions=_PERMISSIONS,
            detail=_TEXT,
            last_detail=_TEXT,
            last_check_at=seen,
            first_evidence_at=now - 30 * DAY,
            last_evidence_at=seen,
            last_passed_at=seen,
            last_successful_post_at=now - DAY,
            token=token,
            next_evaluation_at=seen + 21 * DAY,
        )
    )


class _Api:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._end = ends_at(datetime.now(UTC))
        self.checks = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self._answer(head.decode(), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _answer(self, head: str, writer: asyncio.StreamWriter) -> None:
        left = self._end - datetime.now(UTC)
        end = f"{left.days}d {left.seconds // 3600}h"
        found = re.match(r"\S+ /api/v1/test-connection/\w+-0*(\d+) ", head)
        key = re.search(r"(?im)^x-api-key: *sk_0*(\d+)", head)
        if found:
            self.checks += 1
            number = int(found[1])
            platform, _, _ = (platform_id := self._fleet.platform_id(number)).partition("-")
            document: dict[str, object] = {
                "platform": platform,
                "platformId": platform_id,
                "username": f"user{number}",
                "status": "ok",
                "message": _TEXT,
                "permissions": _PERMISSIONS,
                "tokenExpiresIn": None if platform in _RENEWED else end,
                "lastSuccessfulPost": None,
                "lastError": None,
            }
        elif key:
            rows = [
                {
                    "platformId": self._fleet.platform_id(number),
                    "username": f"user{number}",
                    "displayName": f"User {number}",
                    "accessTokenExpiresAt": None,
                    "tokenStatus": "valid",
                    "tokenExpiresIn": None if PLATFORMS[number % len(PLATFORMS)] in _RENEWED else end,
                    "lastSuccessfulPost": None,
                    "lastError": None,
                }
                for number in self._fleet.numbers(int(key[1] or "0"))
            ]
            document = {"success": True, "connections": rows}
        else:
            document = {"checks": self.checks}
        body = json.dumps(document).encode()
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: {date}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )


async def _main(port: int, fleet: Fleet) -> None:
    async with await asyncio.start_server(_Api(fleet).serve, "127.0.0.1", port) as server:
        print("listening", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), Fleet(int(sys.argv[2]), int(sys.argv[3]))))
