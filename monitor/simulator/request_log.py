"""What a simulated server was asked: the latest requests, and counts of all."""

from collections import Counter, deque
from dataclasses import dataclass
from datetime import datetime
from typing import Any

MAX_PATHS = 100_000


@dataclass(slots=True)
class LoggedRequest:
    """
    One request, without its headers, because the API key is among them.

    Attributes:
        at: when it came, by the server's clock; `came` is the same in monotonic seconds.
        account, user: whose key and which managed user's id it carried, as far as they were recognised.
        seconds: how long it took to answer.
        status: of the response; 0 when there was none.
    """

    at: datetime
    came: float
    method: str
    path: str
    account: str = ""
    user: str = ""
    seconds: float = 0.0
    status: int = 0

    @property
    def key(self) -> tuple[str, str, str]:
        """What must not be in flight twice."""
        return self.account, self.user, self.path


class RequestLog:
    """
    The latest *limit* requests and totals of all.

    Attributes:
        entries: oldest first, in the order they ended.
        paths: requests by `METHOD path`; beyond `MAX_PATHS` different ones, the rest counts as `other`.
        statuses: requests by status.
        in_flight, max_in_flight: how many are being answered now, and were at most.
        overlaps: how often an account and user requested a path while the same request was being answered.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self.entries: deque[LoggedRequest] = deque(maxlen=limit)
        self.in_flight = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything but the requests in flight."""
        self.entries.clear()
        self.paths: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.total = 0
        self.overlaps = 0
        self.max_in_flight = self.in_flight
        self._open: Counter[tuple[str, str, str]] = Counter()

    def begin(self, request: LoggedRequest) -> None:
        """A request has come."""
        self.total += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        name = f"{request.method} {request.path}"
        self.paths[name if name in self.paths or len(self.paths) < MAX_PATHS else "other"] += 1

    def recognised(self, request: LoggedRequest, account: str, user: str) -> None:
        """It is known whose request this is."""
        request.account, request.user = account, user
        self.overlaps += self._open[request.key] > 0
        self._open[request.key] += 1

    def end(self, request: LoggedRequest, status: int, ended: float) -> None:
        """It was answered with *status* (0: not at all) at *ended* monotonic seconds."""
        self.in_flight -= 1
        self.statuses[status] += 1
        self._open[request.key] -= 1
        if self._open[request.key] <= 0:
            del self._open[request.key]
        request.status, request.seconds = status, ended - request.came
        self.entries.append(request)

    def asked(self, part: str = "", *, method: str = "") -> list[LoggedRequest]:
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
            "last": [
                {
                    "at": entry.at.isoformat(),
                    "milliseconds": round(entry.seconds * 1000, 1),
                    "request": f"{entry.method} {entry.path}",
                    "account": entry.account,
                    "user": entry.user,
                    "status": entry.status,
                }
                for entry in (list(self.entries)[-last:] if last > 0 else [])
            ],
        }
