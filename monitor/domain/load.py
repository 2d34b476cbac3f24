"""How many requests the checks of an account need, and how many the account may send."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from monitor.domain.connections import ConnectionSpec

_MINUTE = timedelta(minutes=1)
_HEADROOM = 1.1


@dataclass(frozen=True, slots=True)
class AccountLoad:
    """The checks of one account at the configured intervals. *connections*: how many it has; *needed*, *allowed*: requests per second."""

    account: str
    connections: int
    needed: float
    allowed: float

    @property
    def share(self) -> float:
        """The part of the allowed requests that is needed; above 1 checks are late."""
        return self.needed / self.allowed

    @property
    def too_many(self) -> bool:
        """Whether the account may not send so many requests."""
        return self.needed > self.allowed

    @property
    def fitting_interval(self) -> timedelta:
        """An interval at which the checks of all connections fit, with room for confirming checks: a whole number of minutes from 1m on."""
        seconds = self.connections / self.allowed * _HEADROOM
        if seconds <= _MINUTE.total_seconds():
            return timedelta(seconds=math.ceil(seconds))
        return _MINUTE * math.ceil(seconds / 60)


def account_loads(connections: Iterable[ConnectionSpec], allowed: float) -> list[AccountLoad]:
    """Return the load of each account, by name; *allowed* are requests per second and account."""
    counts: dict[str, int] = {}
    needed: dict[str, float] = {}
    for connection in connections:
        counts[connection.account] = counts.get(connection.account, 0) + 1
        needed[connection.account] = needed.get(connection.account, 0.0) + 1 / connection.interval.total_seconds()
    return [AccountLoad(account, counts[account], needed[account], allowed) for account in sorted(counts)]
