"""
The judge of a cluster: reads every row, every request at the API and every POST at the receivers, and says what is broken.

It knows nothing of how the nodes share the work.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tests.cluster.nodes import Cluster
from tests.waiting import scaled

_BURST = 2
# How much later than it was sent a request may come to the simulator, which shares its CPU with all nodes.
_JITTER_SECONDS = 1.0


def findings(cluster: Cluster, *, interval: float, longest_pause: float | None = None, seconds: float | None = None) -> list[str]:
    """
    Everything that is broken; *interval* is that of the checks in seconds.

    *seconds*: for so long the cluster ran; shorter than it takes to check every connection, not all of them need a check.
    """
    pause = scaled(longest_pause if longest_pause is not None else interval + cluster.lease + 10.0)
    checks = _checks(cluster, pause, every=seconds is None or seconds > pause)
    return [*_posts(cluster), *_requests(cluster), *checks, *_rest(cluster)]


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


def _checks(cluster: Cluster, longest: float, *, every: bool) -> Iterator[str]:
    """A connection that was not checked for long; or not at all, where *every* one is to be."""
    rows: dict[int, list[int]] = defaultdict(list)
    for connection_id, at in cluster.rows("SELECT connection_id, at FROM checks ORDER BY connection_id, at"):
        rows[connection_id].append(at)
    count = sum(1 for _ in cluster.api.world.every())
    if every and len(rows) != count:
        yield f"{len(rows)} of {count} connections were checked"
    for connection_id, moments in rows.items():
        pause = max((after - before for before, after in pairwise(moments)), default=0) / 1000
        if pause > longest:
            yield f"connection {connection_id} was not checked for {pause:.1f} s"


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
