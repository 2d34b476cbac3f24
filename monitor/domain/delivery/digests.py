"""
Which deliveries of a receiver are sent next, and which ones are merged into digests first.

The first few of a burst are sent at once; the rest is collected for a moment and becomes digests, in each of which every subject
appears once. Two invariants hold, also over a crash:

- A delivery that may have been sent is never merged, or the receiver would get it again under another id. That is every attempted
  one, and those that were in flight when the process died: at most `policy.after` of the oldest, which are the first ones that
  a new process sends singly.
- No delivery overtakes an older one about the same subject: of each subject only the oldest is sent, while a digest is pending
  no collected delivery is sent singly, and digests are sent one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.domain.events import FINE, EventType, IncidentRef, Notification, NotificationReason, Severity, Topic
from monitor.domain.policy import DigestPolicy
from monitor.domain.reasons import Scope


@dataclass(frozen=True, slots=True)
class PendingDelivery:
    """
    A pending delivery of one receiver.

    Attributes:
        id: deliveries are ordered by it.
        subject: of its incident; deliveries about the same subject keep their order.
        due: its own next attempt is not in the future.
        mergeable: it may become part of a digest, because it is about a single connection.
    """

    id: int
    subject: str
    decided_at: datetime
    attempts: int = 0
    due: bool = True
    mergeable: bool = True
    digest: bool = False


@dataclass(frozen=True, slots=True)
class NextDelivery:
    """
    What to do next with the pending deliveries of one receiver.

    Attributes:
        groups: each is replaced by one digest; nothing is sent before that.
        now: the deliveries to send now, at the same time: each about another subject, oldest first.
        counted: the ids of those that count towards `policy.after`.
        wait: how long the collected ones still wait; None when none are.
    """

    groups: tuple[tuple[PendingDelivery, ...], ...] = ()
    now: tuple[PendingDelivery, ...] = ()
    counted: frozenset[int] = frozenset()
    wait: timedelta | None = None


@dataclass(slots=True)
class _DigestDraft:
    """*singles* is how many mergeable deliveries may still be sent singly, *room* how many more may be sent at all."""

    singles: int
    room: int
    now: list[PendingDelivery] = field(default_factory=list)
    counted: set[int] = field(default_factory=set)
    blocked: set[str] = field(default_factory=set)
    collected: dict[str, list[PendingDelivery]] = field(default_factory=dict)
    digest_seen: bool = False


def plan(
    pending: Sequence[PendingDelivery], recent: int, now: datetime, policy: DigestPolicy, *, collecting: bool = False, room: int = 1
) -> NextDelivery:
    """
    Return what to do with *pending*, the pending deliveries of one receiver, oldest first.

    *pending* holds at least the oldest ones and every digest. *recent* is the number of mergeable ones that were sent singly within
    the last `policy.wait`; *collecting*, whether the last plan was collecting: then they stay together even if *recent* has fallen.
    *room* is how many may be sent at the same time.
    """
    no_digest = not any(delivery.digest for delivery in pending)
    allowed = no_digest and not collecting and recent < policy.after
    draft = _DigestDraft(singles=policy.after - recent if allowed else 0, room=room)
    for delivery in pending:
        if delivery.subject not in draft.blocked:
            _place(draft, delivery)
    if allowed:
        return NextDelivery(now=tuple(draft.now), counted=frozenset(draft.counted))
    groups, wait = _groups(list(draft.collected.values()), now, policy, no_digest=no_digest)
    if groups and len(draft.collected) == 1 and policy.after > 0:
        # A digest about one subject saves nothing: its deliveries are sent one after the other.
        chosen = sorted([*draft.now, groups[0][0]], key=_by_id)
        return NextDelivery(now=tuple(chosen[:room]))
    return NextDelivery(groups, () if groups else tuple(draft.now), wait=wait)


def build_digest(receiver: str, notifications: Sequence[Notification], at: datetime) -> Notification:
    """Return the digest of *notifications* for *receiver*, with the highest severity among them."""
    return Notification(
        type=EventType.DIGEST,
        why=NotificationReason.DIGEST,
        severity=max((notification.severity for notification in notifications), key=lambda severity: severity.rank, default=Severity.INFO),
        at=at,
        incident=IncidentRef(Topic.SCOPE, f"digest:{receiver}", 0, at),
        scope=Scope.CONNECTION,
        connection_id=None,
        level_from=FINE,
        level_to=FINE,
        reason=None,
        detail="",
        seq=0,
    )


def _place(draft: _DigestDraft, delivery: PendingDelivery) -> None:
    if delivery.digest:
        if not draft.digest_seen:
            _offer(draft, delivery)
        draft.digest_seen = True
    elif delivery.attempts or not delivery.mergeable:
        draft.blocked.add(delivery.subject)
        _offer(draft, delivery)
    elif draft.singles and delivery.subject not in draft.collected:
        draft.singles -= 1
        draft.blocked.add(delivery.subject)
        if _offer(draft, delivery):
            draft.counted.add(delivery.id)
    else:
        draft.collected.setdefault(delivery.subject, []).append(delivery)


def _offer(draft: _DigestDraft, delivery: PendingDelivery) -> bool:
    """Send *delivery* now if it is due and there is room; returns whether it is sent."""
    if not draft.room or not delivery.due:
        return False
    draft.room -= 1
    draft.now.append(delivery)
    return True


def _groups(
    subjects: Sequence[Sequence[PendingDelivery]], now: datetime, policy: DigestPolicy, *, no_digest: bool
) -> tuple[tuple[tuple[PendingDelivery, ...], ...], timedelta | None]:
    """Return the groups to merge: full ones at once, the rest when the oldest has waited long enough and no digest is pending."""
    if not subjects:
        return (), None
    size = max(1, policy.max_items)
    chunks = [subjects[start : start + size] for start in range(0, len(subjects), size)]
    age = now - min(delivery.decided_at for deliveries in subjects for delivery in deliveries)
    # A negative age means that the clock was set back: waiting for it to catch up could take years.
    ripe = no_digest and (age >= policy.wait or age < timedelta(0))
    wait = None if ripe or len(chunks[-1]) == size else max(policy.wait - age, timedelta(0))
    ready = [chunk for chunk in chunks if ripe or len(chunk) == size]
    groups = tuple(tuple(sorted((delivery for deliveries in chunk for delivery in deliveries), key=_by_id)) for chunk in ready)
    return groups, wait


def _by_id(delivery: PendingDelivery) -> int:
    return delivery.id
