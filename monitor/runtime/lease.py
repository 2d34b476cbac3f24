"""The end of the lease of an instance of a cluster."""

import math

from monitor.clock import Clock
from monitor.db import Database
from monitor.http.gate import Gate

_LONGEST_REST_SECONDS = 1.0


async def keep_to_lease(database: Database, gate: Gate, clock: Clock) -> None:
    """Break off the requests under way whenever the lease ends; timers do not count the time in which the machine is suspended."""
    while (remaining := database.lease_remaining()) < math.inf:
        if remaining <= 0:
            gate.break_off()
        await clock.sleep(min(remaining, _LONGEST_REST_SECONDS) if remaining > 0 else _LONGEST_REST_SECONDS)
