"""What a simulated server was asked: the latest requests, and counts of all of them."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

MAX_PATHS = 100_000


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One request. No header is kept: the key among them is nobody's business.

    Attributes:
        at: when it came, by the server's clock; `came` is the same in monotonic seconds.
        seconds: how long it was being answered.
        account, user: whose key and which managed user's id it carried, as far as they were recognised.
        status: of the answer; 0 when there was none.
    """

    at: datetime
    came: float
    seconds: float
    method: str
    path: str
    account: str
    user: str
    status: int


@dataclass(slots=True)
class LoggedRequest:
    """A request that is being answered."""

    at: datetime
    came: float
    method: str
    path: str
    account: str = ""
    user: str = ""


class RequestLog:
    """
    The latest *limit* requests and totals of all.

    Attributes:
        entries: oldest first, in the order they ended.
        paths: requests by `METHOD path`; beyond `MAX_PATHS` different ones, the rest counts as `other`.
        statuses: requests by status.
        in_flight, max_in_flight: how many are being answered now, and were at most.
        overlaps: how often a path was asked for again by the same account and user while it was still being answered.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self.entries: deque[Entry] = deque(maxlen=limit)
        self.clear()

    def clear(self) -> None:
        """Forget everything; requests in flight are counted on."""
        self.entries.clear()
        self.paths: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.total = 0
        self.overlaps = 0
        self.in_flight = getattr(self, "in_flight", 0)
        self.max_in_flight = self.in_flight
        self._open: Counter[tuple[str, str, str]] = Counter()

    def begin(self, visit: LoggedRequest) -> None:
        """A request has come."""
        self.total += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        name = f"{visit.method} {visit.path}"
        if name not in self.paths and len(self.paths) >= MAX_PATHS:
            name = "other"
        self.paths[name] += 1

    def recognised(self, visit: LoggedRequest, account: str, user: str) -> None:
        """It is known whose request this is."""
        visit.account, visit.user = account, user
        key = (account, user, visit.path)
        self.overlaps += self._open[key] > 0
        self._open[key] += 1

    def end(self, visit: LoggedRequest, status: int, came_to_end: float) -> None:
        """It was answered with *status* (0: not at all) at *came_to_end* monotonic seconds."""
        self.in_flight -= 1
        self.statuses[status] += 1
        key = (visit.account, visit.user, visit.path)
        if key in self._open:
            self._open[key] -= 1
            if self._open[key] <= 0:
                del self._open[key]
        seconds = came_to_end - visit.came
        self.entries.append(Entry(visit.at, visit.came, seconds, visit.method, visit.path, visit.account, visit.user, status))

    def asked(self, part: str = "", *, method: str = "") -> list[Entry]:
        """The kept requests whose path contains *part*, oldest first."""
        return [entry for entry in self.entries if part in entry.path and method in ("", entry.method)]

    def document(self, last: int) -> dict[str, Any]:
        """Totals and the *last* requests for the control API."""
        return {
            "total": self.total,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "overlaps": self.overlaps,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "paths": dict(self.paths.most_common(last)),
            "last": list(self._last(last)),
        }

    def _last(self, count: int) -> Iterator[dict[str, Any]]:
        for entry in list(self.entries)[-count:] if count > 0 else []:
            yield {
                "at": entry.at.isoformat(),
                "milliseconds": round(entry.seconds * 1000, 1),
                "request": f"{entry.method} {entry.path}",
                "account": entry.account,
                "user": entry.user,
                "status": entry.status,
            }
