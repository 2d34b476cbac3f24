"""Silences, acknowledgements and accepted losses of permissions, for reading."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, select, union_all

from monitor.clock import from_milliseconds, to_milliseconds
from monitor.db.codec import load_labels, load_names, maybe_moment
from monitor.db.tables import accepted_permissions, acknowledgements, incidents, replaced_acknowledgements, silences
from monitor.db.transaction import Reader
from monitor.domain.events import Topic
from monitor.domain.silencing.acceptance import Acceptance
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.silences import Silence
from monitor.errors import StoreCorrupt

_SILENCES = select(silences).where(silences.c.ends_at > bindparam("since")).order_by(silences.c.id)
_ACKS = (
    select(acknowledgements)
    .join(
        incidents,
        (incidents.c.topic == acknowledgements.c.topic)
        & (incidents.c.subject == acknowledgements.c.subject)
        & (incidents.c.number == acknowledgements.c.number),
    )
    .where(incidents.c.closed_at.is_(None))
    .order_by(acknowledgements.c.at)
)
_ALL_ACKS = union_all(
    *(select(table).where(table.c.at >= bindparam("since")) for table in (acknowledgements, replaced_acknowledgements))
).order_by("at")
_ACCEPTED = select(accepted_permissions)


def silences_since(reader: Reader, since: datetime) -> list[Silence]:
    """The silences whose planned end is after *since*, the oldest first, those ended early included."""
    return [_to_silence(row) for row in reader.rows(_SILENCES, {"since": to_milliseconds(since)})]


def acks_of_open(reader: Reader) -> list[Ack]:
    """The acknowledgements of open incidents."""
    return [_to_ack(row) for row in reader.rows(_ACKS)]


def acks_since(reader: Reader, since: datetime) -> list[Ack]:
    """The acknowledgements made at *since* or later, the oldest first, those of closed incidents and replaced ones included."""
    return [_to_ack(row) for row in reader.rows(_ALL_ACKS, {"since": to_milliseconds(since)})]


def accepted_losses(reader: Reader) -> list[Acceptance]:
    """The last accepted loss of permissions of every connection that has one."""
    return [_to_acceptance(row) for row in reader.rows(_ACCEPTED)]


def _to_silence(row: Row[Any]) -> Silence:
    return Silence(
        id=row.id,
        match=load_labels(row.match, f"silences row {row.id}"),
        starts_at=from_milliseconds(row.starts_at),
        ends_at=from_milliseconds(row.ends_at),
        author=row.author,
        reason=row.reason,
        created_at=from_milliseconds(row.created_at),
        expired_at=maybe_moment(row.expired_at),
    )


def _to_ack(row: Row[Any]) -> Ack:
    try:
        topic = Topic(row.topic)
    except ValueError:
        raise StoreCorrupt(f"acknowledgements row of {row.subject} can't be read: unknown topic {row.topic!r}") from None
    return Ack(topic, row.subject, row.number, row.level, from_milliseconds(row.at), row.author, row.reason)


def _to_acceptance(row: Row[Any]) -> Acceptance:
    names = load_names(row.permissions, f"accepted_permissions row {row.connection_id}")
    return Acceptance(row.connection_id, names, from_milliseconds(row.at), row.author, row.reason)
