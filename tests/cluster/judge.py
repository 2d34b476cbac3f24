"""
The judge of a cluster: reads every row, every request at the API and every POST at the receivers, and says what is broken.

It knows nothing of how the nodes share the work.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from monitor.domain.schedule import ORIGIN, phase
from tests.cluster.nodes import Cluster
from tests.waiting import scaled

_BURST = 2
# How much later than it was sent a request may come to the simulator, which shares its CPU with all nodes.
_JITTER_SECONDS = 1.0
TAKEOVER_SECONDS = 10.0
"""So long after the end of a lease all is tended again, on a quiet machine."""


@dataclass(frozen=True, slots=True)
class Failure:
    """
    What happened to the cluster, and when (seconds since 1970).

    Attributes:
        accounts: those whose node it hit.
        away: for how many seconds the server of the database was away, for all accounts.
    """

    at: float
    accounts: Collection[str] = ()
    away: float = 0.0


def findings(cluster: Cluster, *, interval: float, longest_pause: float | None = None) -> list[str]:
    """Everything that is broken; *interval* is that of the checks in seconds."""
    pause = scaled(longest_pause if longest_pause is not None else interval + cluster.lease + TAKEOVER_SECONDS)
    return [*_posts(cluster), *_requests(cluster), *_checks(cluster, pause), *_rest(cluster)]


def verdicts(
    cluster: Cluster, *, interval: float, span: tuple[float, float], failures: Sequence[Failure], first_round: float, recheck: str
) -> dict[str, list[str]]:
    """
    Rule to what breaks it, of a cluster that was hurt.

    Args:
        span: when it ran (seconds since 1970).
        first_round: in so many seconds the rate of an account allows the first checks of all its connections.
        recheck: the platform whose connections are checked out of turn, because some of them break.
    """
    posts = list(_posts(cluster))
    return {
        "no check is missing for longer than one lease + 10 s after each failure": list(
            _late(cluster, interval, span, failures, first_round)
        ),
        "no check is made twice for one instant of its grid": list(_twice(cluster, interval, recheck)),
        "no news is out of order": [one for one in posts if not one.startswith("under")],
        "no news has two ids": [one for one in posts if one.startswith("under")],
        "no account is over its rate": list(_requests(cluster)),
        "all that is to be delivered is delivered": list(_rest(cluster)),
    }


def told(cluster: Cluster) -> list[str]:
    """What the first receiver was told, once per id, as type and summary, in order."""
    deliveries = [delivery for delivery in cluster.posts() if delivery.path == "/first"]
    return [f"{delivery.type} {delivery.data.get('scope', '')}" for delivery in deliveries]


def _posts(cluster: Cluster) -> Iterator[str]:
    """One news under two ids, or out of order about one incident."""
    ids: dict[tuple[str, ...], set[str]] = defaultdict(set)
    last: dict[tuple[str, str], int] = {}
    for delivery in cluster.posts():
        data = delivery.data
        incident, sequence = str(data.get("incident", {}).get("key", "")), int(data.get("seq", 0))
        ids[delivery.path, incident, delivery.type, str(sequence)].add(delivery.webhook_id)
        if sequence and sequence < last.get((delivery.path, incident), 0):
            yield f"out of order: {delivery.path} {incident} {delivery.type}"
        last[delivery.path, incident] = sequence
    for news, under in ids.items():
        if len(under) > 1:
            yield f"under {len(under)} ids: {news}"


def _requests(cluster: Cluster) -> Iterator[str]:
    """One request twice at the same time, or more of an account than its budget."""
    journal = cluster.api.journal
    if journal.overlaps:
        yield f"{journal.overlaps} requests were made while the same one was being answered"
    came: dict[str, list[float]] = defaultdict(list)
    for entry in journal.entries:
        came[entry.account].append(entry.came)
    for account, moments in came.items():
        excess = _excess(sorted(moments), cluster.rate)
        if excess > _BURST + cluster.rate * scaled(_JITTER_SECONDS):
            yield f"account {account}: {excess:.1f} requests at once"


def _excess(moments: Sequence[float], rate: float) -> float:
    """By how many requests any span has more than its *rate* allows."""
    least, most = float("inf"), 0.0
    for number, at in enumerate(moments):
        level = number - rate * at
        least = min(least, level)
        most = max(most, level - least + 1)
    return most


def _moments(cluster: Cluster) -> dict[int, list[float]]:
    """Connection to when it was checked, in order."""
    moments: dict[int, list[float]] = defaultdict(list)
    for connection_id, at in cluster.rows("SELECT connection_id, at FROM checks ORDER BY connection_id, at"):
        moments[connection_id].append(at / 1000)
    return moments


def _checks(cluster: Cluster, longest: float) -> Iterator[str]:
    """A connection that was not checked at all, or not for long."""
    checked, count = _moments(cluster), sum(1 for _ in cluster.api.world.every())
    if len(checked) != count:
        yield f"{len(checked)} of {count} connections were checked"
    for connection_id, moments in checked.items():
        pause = max((after - before for before, after in pairwise(moments)), default=0.0)
        if pause > longest:
            yield f"connection {connection_id} was not checked for {pause:.1f} s"


def _late(cluster: Cluster, interval: float, span: tuple[float, float], failures: Sequence[Failure], first_round: float) -> Iterator[str]:
    """
    A connection that was not checked for longer than its interval and a takeover.

    Each failure that hits its account meanwhile costs a takeover, and while the server is away nothing can be taken over. In the first
    round the rate of the account is what delays a check.
    """
    checked, accounts = _moments(cluster), dict(cluster.rows("SELECT id, account FROM connections"))
    takeover = cluster.lease + scaled(TAKEOVER_SECONDS)
    for connection_id, account in accounts.items():
        for number, (before, after) in enumerate(pairwise(sorted([*span, *checked.get(connection_id, ())]))):
            if after - before <= interval + takeover:
                continue
            met = [failure for failure in failures if before <= failure.at <= after]
            hits = sum(account in failure.accounts for failure in met)
            away = sum(failure.away for failure in met)
            longest = interval + max(1, hits) * takeover + away + (first_round if number <= 1 else 0.0)
            if after - before > longest:
                pause = f"was not checked for {after - before:.1f} s, {longest:.1f} s are allowed"
                yield f"connection {connection_id} of {account} {pause} ({hits} failures, the server away for {away:.1f} s)"


def _twice(cluster: Cluster, interval: float, recheck: str) -> Iterator[str]:
    """
    A connection that was checked twice between two instants of its grid; not of the platform whose failures others are checked for.

    A check that is late by less than an interval is still that of its instant, and the one after it is due at the next. Clocks differ.
    """
    clocks_seconds = 0.5
    keys = {
        number: phase("\x1f".join(key)) * interval + ORIGIN.timestamp() - clocks_seconds
        for number, *key in cluster.rows(
            "SELECT id, account, user_id, platform_id FROM connections JOIN checks ON id = connection_id"
            f" WHERE platform <> '{recheck}' GROUP BY id HAVING bool_and(reason = 'ok')"
        )
    }
    for connection_id, moments in _moments(cluster).items():
        if connection_id in keys:
            counted = Counter(int((at - keys[connection_id]) // interval) for at in moments)
            for instant, count in counted.items():
                if count > 1:
                    seconds = [round(at - keys[connection_id] - clocks_seconds - instant * interval, 1) for at in moments]
                    yield f"connection {connection_id} was checked {count} times for one instant: {seconds} s after it"


def _rest(cluster: Cluster) -> Iterator[str]:
    """Deliveries that were not made, notifications without one, incidents of which two are open."""
    for state, count in cluster.rows("SELECT state, count(*) FROM deliveries WHERE state <> 'delivered' GROUP BY state"):
        yield f"{count} deliveries are {state}"
    for subject, count in cluster.rows(
        "SELECT subject, count(*) FROM incidents WHERE closed_at IS NULL GROUP BY subject, topic HAVING count(*) > 1"
    ):
        yield f"{count} incidents of {subject} are open"
    posted = {delivery.webhook_id for delivery in cluster.posts()}
    # Of its own trouble the only receiver is not notified.
    for (webhook_id,) in cluster.rows("SELECT webhook_id FROM notifications WHERE subject NOT LIKE 'receiver:%'"):
        if webhook_id not in posted:
            yield f"{webhook_id} was never posted"
