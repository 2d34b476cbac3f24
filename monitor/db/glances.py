"""What the pages ask: a little about many at once."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, select

from monitor.db.codec import moment
from monitor.db.reader import Reader
from monitor.db.rows import AttemptRow, IncidentRow
from monitor.db.rowtypes import to_attempt, to_incident
from monitor.db.tables import attempts, checks, incidents
from monitor.errors import Reason

_LATENCIES = (
    select(checks.c.at, checks.c.duration_ms, checks.c.reason)
    .where(checks.c.connection_id == bindparam("connection_id"))
    .order_by(checks.c.at.desc())
    .limit(bindparam("limit"))
)
_CLOSED = (
    select(incidents)
    .where(incidents.c.closed_at.is_not(None), incidents.c.id < bindparam("before"))
    .order_by(incidents.c.id.desc())
    .limit(bindparam("limit"))
)
_LAST = 2**63 - 1
_ATTEMPTS = select(attempts).where(attempts.c.delivery_id.in_(bindparam("ids", expanding=True))).order_by(attempts.c.id)


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """How long one check took, in milliseconds, and what it told."""

    at: datetime
    duration_ms: int
    reason: Reason


def latencies(reader: Reader, connection_ids: Collection[int], limit: int) -> dict[int, tuple[LatencyRow, ...]]:
    """Connection number to its last *limit* checks, oldest first."""
    # One question per connection reads `limit` rows by the primary key; one question for all would read every check.
    return {
        one: tuple(
            LatencyRow(moment(row.at), row.duration_ms, Reason(row.reason))
            for row in reversed(reader.rows(_LATENCIES, {"connection_id": one, "limit": limit}))
        )
        for one in connection_ids
    }


def attempts_of(reader: Reader, delivery_ids: Collection[int]) -> dict[int, list[AttemptRow]]:
    """Delivery number to its attempts, oldest first."""
    found: dict[int, list[AttemptRow]] = defaultdict(list)
    for row in reader.rows(_ATTEMPTS, {"ids": list(delivery_ids)}):
        found[row.delivery_id].append(to_attempt(row))
    return found


def closed_incidents(reader: Reader, limit: int, before_id: int | None = None) -> list[IncidentRow]:
    """The incidents that are over, newest first, at most *limit*; page with *before_id*, the `id` of the last one seen."""
    before = _LAST if before_id is None else before_id
    return [to_incident(row) for row in reader.rows(_CLOSED, {"before": before, "limit": limit})]
