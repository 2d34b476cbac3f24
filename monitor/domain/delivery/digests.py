"""
Which delivery of a receiver goes out next, and which ones are merged first. Pure.

The first few of a burst go out at once; the rest waits a moment and becomes digests, in each of which every subject
appears once. Two promises hold whatever happens in between, a crash included:

- What may have been sent is never merged, or the receiver would meet it again under another id. That is whatever was
  attempted, and the one oldest delivery, which is the only one that can be on its way.
- Nothing overtakes an older delivery about the same subject: while a digest is pending nothing new goes out singly,
  and digests go out one after the other.
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
    One pending delivery, as far as the plan needs to know it.

    Attributes:
        id: deliveries are ordered by it.
        subject: what it is about; deliveries about the same subject keep their order.
        decided_at: when it was decided.
        attempts: how often it was tried.
        due: its own next attempt is not in the future.
        mergeable: it may become part of a digest, being about a single connection.
        digest: it is a digest itself.
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
    What to do with the pending deliveries.

    Attributes:
        groups: replace each of these groups by one digest; then nothing is sent yet.
        next: the delivery to send now, or None.
        counts: sending *next* uses up a part of the burst's allowance.
        wait: how long the collected ones still wait; None when nothing is being collected.
    """

    groups: tuple[tuple[PendingDelivery, ...], ...] = ()
    next: PendingDelivery | None = None
    counts: bool = False
    wait: timedelta | None = None


@dataclass(slots=True)
class _DigestDraft:
    single: bool
    next: PendingDelivery | None = None
    counts: bool = False
    held: set[str] = field(default_factory=set)
    collected: dict[str, list[PendingDelivery]] = field(default_factory=dict)
    digest_seen: bool = False


def plan(pending: Sequence[PendingDelivery], recent: int, now: datetime, policy: DigestPolicy, *, collecting: bool = False) -> NextDelivery:
    """
    What to do with *pending*, undelivered deliveries of one receiver, oldest first.

    *pending* holds at least the oldest ones and every digest. *recent* is how many mergeable ones went out singly
    within the last `policy.wait`; *collecting*, whether the last plan was still collecting: what is being collected
    stays together although the burst's allowance comes back meanwhile.
    """
    quiet = not any(delivery.digest for delivery in pending)
    allowed = quiet and not collecting and recent < policy.after
    draft = _DigestDraft(single=allowed)
    for delivery in pending:
        if delivery.subject not in draft.held:
            _place(draft, delivery)
    if allowed:
        return NextDelivery(next=draft.next, counts=draft.counts)
    groups, wait = _groups(list(draft.collected.values()), now, policy, quiet=quiet)
    if groups and len(draft.collected) == 1 and policy.after > 0:
        # A digest about one subject is only noise: its deliveries go out as they are, one after the other.
        head = groups[0][0]
        return NextDelivery(next=draft.next if draft.next and draft.next.id < head.id else head)
    return NextDelivery(groups, None if groups else draft.next, wait=wait)


def announcement(receiver: str, told: Sequence[Notification], at: datetime) -> Notification:
    """The notification that stands for *told* towards *receiver*; as urgent as the most urgent of them."""
    return Notification(
        type=EventType.DIGEST,
        why=NotificationReason.DIGEST,
        severity=max((one.severity for one in told), key=lambda severity: severity.rank, default=Severity.INFO),
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
        draft.held.add(delivery.subject)
        _offer(draft, delivery)
    elif draft.single and delivery.subject not in draft.collected:
        draft.single = False
        draft.held.add(delivery.subject)
        draft.counts = _offer(draft, delivery)
    else:
        draft.collected.setdefault(delivery.subject, []).append(delivery)


def _offer(draft: _DigestDraft, delivery: PendingDelivery) -> bool:
    """Make *delivery* the next one, if it is the oldest that may go; returns whether it is."""
    if draft.next is not None or not delivery.due:
        return False
    draft.next = delivery
    return True


def _groups(
    subjects: Sequence[Sequence[PendingDelivery]], now: datetime, policy: DigestPolicy, *, quiet: bool
) -> tuple[tuple[tuple[PendingDelivery, ...], ...], timedelta | None]:
    """The groups that are ripe: full ones at once, the rest when the oldest has waited long enough and no digest is on its way."""
    if not subjects:
        return (), None
    size = max(1, policy.max_items)
    chunks = [subjects[start : start + size] for start in range(0, len(subjects), size)]
    age = now - min(delivery.decided_at for deliveries in subjects for delivery in deliveries)
    # An age below zero means that the clock was set back: waiting for it to catch up could take years.
    ripe = quiet and (age >= policy.wait or age < timedelta(0))
    wait = None if ripe or len(chunks[-1]) == size else max(policy.wait - age, timedelta(0))
    taken = [chunk for chunk in chunks if ripe or len(chunk) == size]
    groups = tuple(tuple(sorted((one for several in chunk for one in several), key=_by_id)) for chunk in taken)
    return groups, wait


def _by_id(delivery: PendingDelivery) -> int:
    return delivery.id
