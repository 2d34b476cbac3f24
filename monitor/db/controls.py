"""What commands write beside a running daemon: silences, acknowledgements, accepted losses of permissions."""

from collections.abc import Callable, Mapping
from datetime import datetime

from sqlalchemy import bindparam, insert, select, update

from monitor.clock import to_milliseconds
from monitor.db.codec import dump_labels, dump_names
from monitor.db.outbox import Outbox
from monitor.db.queries.deliveries import read_receiver_states
from monitor.db.tables import accepted_permissions, acknowledgements, replaced_acknowledgements, silences
from monitor.db.transaction import Reader, Transaction, upsert
from monitor.domain.delivery.retries import CircuitBreaker, read_breaker
from monitor.domain.silencing.acceptance import Acceptance
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.silences import Silence

_ADD_SILENCE = insert(silences).returning(silences.c.id)
_NOT_OVER = update(silences).where(
    silences.c.id == bindparam("b_id"), silences.c.ends_at > bindparam("b_at"), silences.c.expired_at.is_(None)
)
_EXPIRE = _NOT_OVER.values(expired_at=bindparam("b_at"))
_EXTEND = _NOT_OVER.values(ends_at=bindparam("b_ends_at"))
_PUT_ACK = upsert(acknowledgements, ["topic", "subject", "number"], ["level", "at", "author", "reason"])
_KEEP_ACK = insert(replaced_acknowledgements).from_select(
    [column.name for column in acknowledgements.c],
    select(acknowledgements).where(
        acknowledgements.c.topic == bindparam("topic"),
        acknowledgements.c.subject == bindparam("subject"),
        acknowledgements.c.number == bindparam("number"),
        acknowledgements.c.at < bindparam("at"),
    ),
)
_PUT_ACCEPTED = upsert(accepted_permissions, ["connection_id"], ["permissions", "at", "author", "reason"])


class ControlsWriter:
    """What a command may change beside a running daemon: only what the daemon does not hold in memory."""

    def __init__(self, transaction: Transaction) -> None:
        # The daemon's writes must not wait for rows that a command only reads: it would wait for them in turn.
        self.reader: Reader = transaction.unlocked()
        self._transaction = transaction
        self._outbox = Outbox(transaction)

    def add_silence(
        self, match: Mapping[str, str], *, starts_at: datetime, ends_at: datetime, author: str, reason: str, now: datetime
    ) -> Silence:
        """A new silence with its number."""
        values = {
            "match": dump_labels(match),
            "starts_at": to_milliseconds(starts_at),
            "ends_at": to_milliseconds(ends_at),
            "author": author,
            "reason": reason,
            "created_at": to_milliseconds(now),
        }
        number = int(self._transaction.rows(_ADD_SILENCE, values)[0].id)
        return Silence(number, dict(match), starts_at, ends_at, author, reason, now)

    def expire_silence(self, number: int, now: datetime) -> bool:
        """End the silence with this number; False when there is none, or it is over already."""
        return self._transaction.change(_EXPIRE, {"b_id": number, "b_at": to_milliseconds(now)}) == 1

    def extend_silence(self, number: int, ends_at: datetime, now: datetime) -> bool:
        """Give the silence with this number another end; False when there is none, or it is over already."""
        values = {"b_id": number, "b_at": to_milliseconds(now), "b_ends_at": to_milliseconds(ends_at)}
        return self._transaction.change(_EXTEND, values) == 1

    def acknowledge(self, ack: Ack) -> None:
        """Keep *ack*, in place of an earlier one of the same incident, which the audit trail keeps."""
        values = {
            "topic": ack.topic,
            "subject": ack.subject,
            "number": ack.number,
            "level": ack.level,
            "at": to_milliseconds(ack.at),
            "author": ack.author,
            "reason": ack.reason,
        }
        self._transaction.change(_KEEP_ACK, values)
        self._transaction.change(_PUT_ACK, values)

    def accept_loss(self, acceptance: Acceptance) -> None:
        """Keep *acceptance*, in place of an earlier one of the same connection."""
        values = {
            "connection_id": acceptance.connection_id,
            "permissions": dump_names(acceptance.permissions),
            "at": to_milliseconds(acceptance.at),
            "author": acceptance.author,
            "reason": acceptance.reason,
        }
        self._transaction.change(_PUT_ACCEPTED, values)

    def change_receiver(self, name: str, change: Callable[[CircuitBreaker], CircuitBreaker]) -> bool:
        """Apply *change* to the stored health of a receiver; False when that changes nothing."""
        document = read_receiver_states(self.reader).get(name)
        before = read_breaker(document) if document is not None else CircuitBreaker()
        after = change(before)
        if after != before:
            disabled = after.disabled_at is not None
            self._outbox.put_receiver_state(
                name, after.dump(), disabled=disabled, failing_since=None if after.healthy else after.failing_since
            )
        return after != before

    def redeliver(self, ids: list[int], now: datetime) -> int:
        """Put finished deliveries back, due at once and under their old webhook id; returns how many were put back."""
        return self._outbox.redeliver(ids, now)
