"""
When each connection is checked next; the queues of what is due.

Every connection has a phase, a share of its interval that follows from its identity. Its regular checks fall on
the grid of wall-clock instants with that phase, so the load is even, does not drift, and is the same after a restart.
Three things bring a check forward or add one: something to confirm, a threshold of the token's life being crossed,
and an instant at which one print of the token's life tells much. Two slow it down: a connection that the API
does not know or cannot test.
"""

import hashlib
import heapq
from collections.abc import Container, Iterable, Iterator
from datetime import UTC, datetime, timedelta

from monitor.domain.connections import Connection
from monitor.domain.expiry.interval import next_informative_check
from monitor.domain.expiry.levels import auto_renewing, crossings
from monitor.domain.policy import Policy
from monitor.domain.reasons import Health
from monitor.domain.states import ConnectionState
from monitor.domain.token_life import TokenSays
from monitor.errors import Reason

# The grid's origin; any fixed instant would do.
ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)

SHORTEST = timedelta(seconds=1)

# A connection that was never checked is checked this soon after the start, so that a person sees something.
FIRST_WITHIN = timedelta(seconds=30)

# After a long absence nothing waits longer than this, however long its interval is.
CATCH_UP = timedelta(minutes=15)

# A connection that is gone, or whose id is wrong, is asked about so much more rarely, but daily at least.
GONE_FACTOR = 12
GONE_AT_MOST = timedelta(days=1)

# One that the API cannot test, so much more rarely; and often enough not to become stale.
UNSUPPORTED_FACTOR = 4
UNSUPPORTED_SHARE = 2 / 3

# A check that began this much after its regular instant (or sooner) still was the regular one.
PUNCTUAL = timedelta(minutes=1)

# A check this long after the crossing of a threshold surely sees it crossed.
CROSSED_BY = timedelta(seconds=5)

# After a recovery, one check this many recheck pauses later looks whether it lasts.
RECOVERY_PAUSES = 4

# Answers that told nothing about this one connection and are worth a second try.
_TRY_AGAIN = frozenset({Reason.API_VALIDATOR_FAILED, Reason.API_TIMEOUT, Reason.API_DISCONNECTED})


def phase(key: str) -> float:
    """A share from 0 up to, but not including, 1 that always is the same for the same *key*, and even over many keys."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest()) / 2**48


def first_due(connection: Connection, state: ConnectionState, now: datetime, policy: Policy) -> timedelta:
    """
    From the start of the daemon to a connection's first check.

    The regular instant, so that a restart neither bursts nor shifts anything. Sooner for one that was never checked, for one
    that waits for confirmation, and for one that is overdue while its interval is long.
    """
    share = _phase_of(connection)
    wait = _until_regular(connection, state, now, policy, at_least=timedelta(0))
    if state.last_check_at is None:
        return max(SHORTEST, min(wait, share * FIRST_WITHIN))
    if state.pending is not None:
        wait = min(wait, _recheck_pause(connection, policy))
    if now - state.last_check_at >= pace(connection, state, policy):
        wait = min(wait, share * CATCH_UP) if connection.interval > CATCH_UP else wait
    return max(SHORTEST, wait)


def next_due(connection: Connection, state: ConnectionState, now: datetime, policy: Policy, *, verdict_reason: Reason | None) -> timedelta:
    """
    From the end of one check to the next.

    Args:
        connection: which one.
        state: as the check left it.
        now: when the check ended, wall clock.
        policy: with the pauses.
        verdict_reason: what the check told; None when it could not be judged.

    Returns:
        At least one second; never less than the recheck pause for anything that is not regular.
    """
    gap = min(_least_gap(policy), connection.interval / 2)
    regular = _until_regular(connection, state, now, policy, at_least=gap)
    if state.pending is not None:
        return max(SHORTEST, _until_confirmed(connection, state, now, policy, regular))
    extras = _extras(connection, state, now, policy, verdict_reason)
    return max(SHORTEST, min((wait for wait in extras if _least_gap(policy) <= wait < regular), default=regular))


def pace(connection: Connection, state: ConnectionState, policy: Policy) -> timedelta:
    """How far apart the regular checks of a connection are, in the health it has."""
    interval = connection.interval
    if state.health in (Health.MISSING, Health.MISCONFIGURED):
        return max(interval, min(GONE_FACTOR * interval, GONE_AT_MOST))
    if state.health is Health.UNSUPPORTED:
        return max(interval, min(UNSUPPORTED_FACTOR * interval, UNSUPPORTED_SHARE * policy.stale_for(interval)))
    return interval


def _extras(connection: Connection, state: ConnectionState, now: datetime, policy: Policy, reason: Reason | None) -> Iterator[timedelta]:
    """Waits after which a check would be worth more than a regular one."""
    if not _was_regular(connection, state, now, policy):
        return
    pause = max(_recheck_pause(connection, policy), _least_gap(policy))
    if reason in _TRY_AGAIN:
        yield pause
    if state.health is Health.OK and len(state.changes) > 1 and now - state.changes[-1] < connection.interval / 2:
        yield RECOVERY_PAUSES * pause
    expiry = policy.expiry_for(connection.platform)
    if state.health is not Health.OK or state.token.says is not TokenSays.LEFT or not expiry.thresholds:
        return
    for moment in crossings(state.token, expiry):
        yield moment + CROSSED_BY - now
    if state.token.exact_at is None and not auto_renewing(state.token):
        telling_at = next_informative_check(state.token, now + _least_gap(policy))
        if telling_at is not None:
            yield telling_at - now


def _until_confirmed(connection: Connection, state: ConnectionState, now: datetime, policy: Policy, regular: timedelta) -> timedelta:
    """The wait while contrary evidence wants confirmation; a check within the spacing would not count."""
    pause = _recheck_pause(connection, policy)
    pending = state.pending
    if pending is not None and pending.health is Health.MISSING and pending.count >= policy.confirm.missing - 1:
        pause = max(pause, pending.first_at + policy.confirm.missing_over - now)
    return max(policy.spacing, min(pause, regular))


def _until_regular(connection: Connection, state: ConnectionState, now: datetime, policy: Policy, *, at_least: timedelta) -> timedelta:
    """From *now* to the first instant of the connection's grid that is not nearer than *at_least*."""
    every = pace(connection, state, policy)
    offset = _phase_of(connection) * every
    return at_least + (ORIGIN + offset - now - at_least) % every


def _was_regular(connection: Connection, state: ConnectionState, now: datetime, policy: Policy) -> bool:
    """Whether the check that just ended was a regular one: an extra one never begets another."""
    every = pace(connection, state, policy)
    late = (now - ORIGIN - _phase_of(connection) * every) % every
    return late <= min(PUNCTUAL, every / 2)


def _recheck_pause(connection: Connection, policy: Policy) -> timedelta:
    """The pause before a fast re-check: two to four thirds of `recheck`, so that many at once spread."""
    share = phase("recheck\x1f" + "\x1f".join(connection.key))
    return policy.recheck * (2 + 2 * share) / 3


def _least_gap(policy: Policy) -> timedelta:
    """No extra check comes sooner after another."""
    return max(policy.recheck, policy.spacing)


def _phase_of(connection: Connection) -> float:
    return phase("\x1f".join(connection.key))


class DueQueue:
    """
    Connection ids ordered by due time (monotonic seconds), first come first served among equals.

    Putting an id again moves it; taking one removes it until it is put back, so no connection is in flight twice.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int]] = []
        self._due: dict[int, tuple[float, int]] = {}
        self._order = 0

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, connection_id: int) -> bool:
        return connection_id in self._due

    def put(self, connection_id: int, due: float) -> None:
        """Make *connection_id* due at *due*, wherever it stood before."""
        self._order += 1
        self._due[connection_id] = (due, self._order)
        heapq.heappush(self._heap, (due, self._order, connection_id))

    def discard(self, connection_id: int) -> None:
        """Forget *connection_id* if it is waiting."""
        self._due.pop(connection_id, None)

    def keep(self, connection_ids: Container[int]) -> None:
        """Forget every waiting id that is not among *connection_ids*."""
        for connection_id in [one for one in self._due if one not in connection_ids]:
            self.discard(connection_id)

    def take(self, now: float) -> tuple[int, float] | None:
        """Remove and return the id that is due longest, with its due time; None when nothing is due at *now*."""
        self._skip_moved()
        if not self._heap or self._heap[0][0] > now:
            return None
        due, _, connection_id = heapq.heappop(self._heap)
        del self._due[connection_id]
        return connection_id, due

    def next_due(self) -> float | None:
        """When the first one is due; None when nothing waits."""
        self._skip_moved()
        return self._heap[0][0] if self._heap else None

    def due_of(self, connection_id: int) -> float | None:
        """When *connection_id* is due; None while it is not waiting."""
        entry = self._due.get(connection_id)
        return entry[0] if entry is not None else None

    def hasten(self, connection_ids: Iterable[int], due: float) -> None:
        """Make the waiting ones among *connection_ids* due at *due*, in the order given."""
        for connection_id in connection_ids:
            if connection_id in self._due:
                self.put(connection_id, due)

    def _skip_moved(self) -> None:
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][:2]:
            heapq.heappop(self._heap)


class Agenda:
    """Connection ids by the moment of their next evaluation; one entry each, moved lazily."""

    def __init__(self) -> None:
        self._moments: dict[int, datetime] = {}
        self._queued: dict[int, datetime] = {}
        self._heap: list[tuple[datetime, int]] = []
        self._taken: list[int] = []

    def put(self, connection_id: int, moment: datetime | None) -> None:
        """Evaluate *connection_id* at *moment*, whatever was planned before; None: not at all."""
        if moment is None:
            self._moments.pop(connection_id, None)
            return
        self._moments[connection_id] = moment
        queued = self._queued.get(connection_id)
        if queued is None or moment < queued:
            self._queued[connection_id] = moment
            heapq.heappush(self._heap, (moment, connection_id))

    def first(self) -> datetime | None:
        """No evaluation is due before it; None when there is none at all."""
        heap = self._heap
        return heap[0][0] if heap else None

    def due(self, now: datetime, limit: int | None) -> list[int]:
        """The ids that are due at *now*, at most *limit*, the longest overdue first; they are given again until put anew."""
        for connection_id in self._taken:
            if connection_id not in self._queued:
                self.put(connection_id, self._moments.get(connection_id))
        self._taken = []
        while self._heap and self._heap[0][0] <= now and (limit is None or len(self._taken) < limit):
            moment, connection_id = heapq.heappop(self._heap)
            if self._queued.get(connection_id) != moment:
                continue
            del self._queued[connection_id]
            planned = self._moments.get(connection_id)
            if planned is not None and planned > now:
                self.put(connection_id, planned)
            elif planned is not None:
                self._taken.append(connection_id)
        return list(self._taken)
