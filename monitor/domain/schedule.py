"""
When each connection is checked next, and the queues of what is due.

Every connection has a phase, a share of its interval that follows from its identity. Its regular checks fall on the grid of
wall-clock instants with that phase, so that the load is even, does not drift, and is the same after a restart. Checks are brought
forward or added to confirm a change, to see a threshold of the token's life crossed, and at instants that narrow the token's end.
Connections that the API does not know or cannot test are checked at longer intervals.
"""

import hashlib
import heapq
import itertools
from collections.abc import Container, Iterable, Iterator
from datetime import UTC, datetime, timedelta

from monitor.domain.connections import Connection
from monitor.domain.expiry.interval import next_informative_check
from monitor.domain.expiry.levels import auto_renewing, crossings
from monitor.domain.policy import Policy
from monitor.domain.reasons import UPSTREAM, Health
from monitor.domain.replies.token_life import TokenSays
from monitor.domain.states import ConnectionState
from monitor.errors import Reason

# The grid's origin; any fixed instant would do.
ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)

SHORTEST = timedelta(seconds=1)

# A connection that was never checked is checked this soon after the start, so that an operator sees a result.
FIRST_WITHIN = timedelta(seconds=30)

# Interval factor of a connection that is missing or misconfigured, and the longest interval.
MISSING_FACTOR = 12
MISSING_AT_MOST = timedelta(days=1)

# Interval factor of an unsupported connection; at most this share of the time after which it becomes stale.
UNSUPPORTED_FACTOR = 4
UNSUPPORTED_SHARE = 2 / 3

# A check that ends at most this much after its regular instant was the regular one.
PUNCTUAL = timedelta(minutes=1)

# A check this long after the crossing of a threshold sees it crossed.
CROSSED_BY = timedelta(seconds=5)

# After a recovery, one extra check comes this many re-check pauses later.
RECOVERY_PAUSES = 4

# A check that precedes a reminder comes this long after that is due.
_AFTER_DUE = timedelta(seconds=1)

# Inconclusive results that are worth a second try.
_RETRIED = frozenset({Reason.API_VALIDATOR_FAILED, Reason.API_TIMEOUT, Reason.API_DISCONNECTED})


def phase(key: str) -> float:
    """Return a share in [0, 1) that is constant for a *key* and evenly spread over many keys."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest()) / 2**48


def first_due(connection: Connection, state: ConnectionState, now: datetime, policy: Policy) -> timedelta:
    """Return the time from the start to a connection's first check: its regular instant, sooner when one was missed or is pending."""
    wait = _until_regular(connection, state, now, policy, at_least=timedelta(0))
    if state.last_check_at is None:
        return max(SHORTEST, min(wait, phase_of(connection) * FIRST_WITHIN))
    if state.last_check_at + _regular_gap(connection, policy) <= now + wait - pace(connection, state, policy):
        return timedelta(0)
    if state.pending is not None or state.pending_cause is not None:
        wait = min(wait, _recheck_pause(connection, policy))
    return max(SHORTEST, wait)


def next_check_in(
    connection: Connection,
    state: ConnectionState,
    now: datetime,
    policy: Policy,
    *,
    verdict_reason: Reason | None,
    reminders: Iterable[datetime] = (),
) -> timedelta:
    """
    Return the time from the end of one check to the next.

    Args:
        now: when the check ended, wall clock.
        verdict_reason: the reason of the check's verdict; None when there is no verdict.
        reminders: when reminders are due; each is preceded by a check.

    Returns:
        At least one second; at least the re-check pause for an extra check.
    """
    gap = _regular_gap(connection, policy)
    regular = on_grid = _until_regular(connection, state, now, policy, at_least=gap)
    if state.pending is not None:
        return max(SHORTEST, _until_confirmed(connection, state, now, policy, regular))
    lasts_at = lasting_at(connection, state, policy)
    if lasts_at is not None and now < lasts_at:
        # One more check when the platform's trouble has lasted long enough to be notified, if it still lasts.
        regular = min(regular, max(lasts_at + CROSSED_BY - now, gap))
    least = _least_gap(policy)
    extras = _extras(connection, state, now, policy, verdict_reason, on_grid)
    for wait in itertools.chain(extras, [due - now + _AFTER_DUE for due in reminders]):
        if least <= wait < regular:
            regular = wait
    return max(SHORTEST, regular)


def lasting_at(connection: Connection, state: ConnectionState, policy: Policy) -> datetime | None:
    """Return when trouble of the platform itself has lasted, at every check, long enough to be notified; None when there is none."""
    if state.health is not Health.ERROR or state.cause not in UPSTREAM or state.since is None:
        return None
    return max(state.since, state.last_passed_at or state.since) + policy.upstream_for(connection.platform, connection.interval)


def pace(connection: Connection, state: ConnectionState, policy: Policy) -> timedelta:
    """Return the interval of a connection's regular checks at its current health."""
    interval = connection.interval
    if state.health in (Health.MISSING, Health.MISCONFIGURED):
        return max(interval, min(MISSING_FACTOR * interval, MISSING_AT_MOST))
    if state.health is Health.UNSUPPORTED:
        return max(interval, min(UNSUPPORTED_FACTOR * interval, UNSUPPORTED_SHARE * policy.stale_for(interval)))
    return interval


def _pause_before_extra(connection: Connection, policy: Policy) -> timedelta:
    return max(_recheck_pause(connection, policy), _least_gap(policy))


def _extras(
    connection: Connection, state: ConnectionState, now: datetime, policy: Policy, reason: Reason | None, regular: timedelta
) -> Iterator[timedelta]:
    if state.pending_cause is not None and state.pending_cause.last_at == state.last_check_at:
        yield _pause_before_extra(connection, policy)
    if not _was_regular(connection, state, policy, regular):
        return
    if reason in _RETRIED or state.pending_cause is not None:
        yield _pause_before_extra(connection, policy)
    if state.health is Health.OK and len(state.changes) > 1 and now - state.changes[-1] < connection.interval / 2:
        yield RECOVERY_PAUSES * _pause_before_extra(connection, policy)
    expiry = policy.expiry_for(connection.platform)
    if state.health is not Health.OK or state.token.says is not TokenSays.LEFT or not expiry.thresholds:
        return
    for moment in crossings(state.token, expiry):
        yield moment + CROSSED_BY - now
    if state.token.exact_at is None and not auto_renewing(state.token):
        informative_at = next_informative_check(state.token, now + _least_gap(policy))
        if informative_at is not None:
            yield informative_at - now


def _until_confirmed(connection: Connection, state: ConnectionState, now: datetime, policy: Policy, regular: timedelta) -> timedelta:
    """Return the wait until a check that can confirm the pending health; one within the spacing would not count."""
    pause = _recheck_pause(connection, policy)
    pending = state.pending
    if pending is not None and pending.health is Health.MISSING and pending.count >= policy.confirm.missing - 1:
        pause = max(pause, pending.first_at + policy.confirm.missing_over - now)
    return max(policy.spacing, min(pause, regular))


def regular_at(connection: Connection, state: ConnectionState, after: datetime, policy: Policy) -> datetime:
    """Return the first regular instant of a connection that is not before *after*."""
    every = pace(connection, state, policy)
    return after + (ORIGIN + phase_of(connection) * every - after) % every


def _until_regular(connection: Connection, state: ConnectionState, now: datetime, policy: Policy, *, at_least: timedelta) -> timedelta:
    """Return the wait from *now* to the first regular instant that is at least *at_least* away."""
    return regular_at(connection, state, now + at_least, policy) - now


def _was_regular(connection: Connection, state: ConnectionState, policy: Policy, regular: timedelta) -> bool:
    """Whether the check that just ended was a regular one, as is that after *regular*: an extra check is not followed by another."""
    every = pace(connection, state, policy)
    return -regular % every <= min(PUNCTUAL, every / 2)


def _recheck_pause(connection: Connection, policy: Policy) -> timedelta:
    """Return the pause before a re-check: two to four thirds of `recheck`, to spread the load."""
    return policy.recheck * (2 + 2 * phase("recheck\x1f" + "\x1f".join(connection.key))) / 3


def _least_gap(policy: Policy) -> timedelta:
    return max(policy.recheck, policy.spacing)


def _regular_gap(connection: Connection, policy: Policy) -> timedelta:
    """Return the minimum time between a check and a regular one: a regular instant within it passes."""
    return min(_least_gap(policy), connection.interval / 2)


def phase_of(connection: Connection) -> float:
    """Where in its interval a connection is checked, from 0 to 1: the same in every process."""
    return phase("\x1f".join(connection.key))


class DueQueue:
    """Connection ids ordered by due time (monotonic seconds), then by insertion; putting an id again moves it, taking removes it."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int]] = []
        self._due: dict[int, tuple[float, int, int]] = {}
        self._order = 0

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, connection_id: int) -> bool:
        return connection_id in self._due

    def put(self, connection_id: int, due: float) -> None:
        """Make *connection_id* due at *due*; replaces its previous due time."""
        self._order += 1
        entry = self._due[connection_id] = (due, self._order, connection_id)
        heapq.heappush(self._heap, entry)

    def discard(self, connection_id: int) -> None:
        """Remove *connection_id* if it is queued."""
        self._due.pop(connection_id, None)

    def keep(self, connection_ids: Container[int]) -> None:
        """Remove every queued id that is not among *connection_ids*."""
        for connection_id in [queued for queued in self._due if queued not in connection_ids]:
            self.discard(connection_id)

    def take(self, now: float) -> tuple[int, float] | None:
        """Remove and return the longest overdue id with its due time; None when nothing is due at *now*."""
        self._skip_moved()
        if not self._heap or self._heap[0][0] > now:
            return None
        due, _, connection_id = heapq.heappop(self._heap)
        del self._due[connection_id]
        return connection_id, due

    def next_due(self) -> float | None:
        """Return the earliest due time; None when the queue is empty."""
        self._skip_moved()
        return self._heap[0][0] if self._heap else None

    def due_of(self, connection_id: int) -> float | None:
        """Return when *connection_id* is due; None while it is not queued."""
        entry = self._due.get(connection_id)
        return entry[0] if entry is not None else None

    def hasten(self, connection_ids: Iterable[int], due: float) -> None:
        """Make the queued ones among *connection_ids* due at *due*, in the given order."""
        for connection_id in connection_ids:
            if connection_id in self._due:
                self.put(connection_id, due)

    def _skip_moved(self) -> None:
        while self._heap and self._due.get(self._heap[0][2]) is not self._heap[0]:
            heapq.heappop(self._heap)


class EvaluationQueue:
    """Connection ids ordered by the moment of their next evaluation; outdated heap entries are skipped when they come up."""

    def __init__(self) -> None:
        self._moments: dict[int, datetime] = {}
        self._queued: dict[int, datetime] = {}
        self._heap: list[tuple[datetime, int]] = []
        self._taken: list[int] = []

    def put(self, connection_id: int, moment: datetime | None) -> None:
        """Make *connection_id* due at *moment*; replaces its previous moment. None removes it."""
        if moment is None:
            self._moments.pop(connection_id, None)
            return
        self._moments[connection_id] = moment
        queued = self._queued.get(connection_id)
        if queued is None or moment < queued:
            self._queued[connection_id] = moment
            heapq.heappush(self._heap, (moment, connection_id))

    def first(self) -> datetime | None:
        """Return a lower bound of the earliest due moment; None when the queue is empty."""
        heap = self._heap
        return heap[0][0] if heap else None

    def due(self, now: datetime, limit: int | None) -> list[int]:
        """Return the ids due at *now*, longest overdue first, at most *limit*; they are returned again until `put` moves them."""
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
