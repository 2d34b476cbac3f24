"""What one receiver was told of incidents, for the types that must be told again what still stands."""

from sqlalchemy import bindparam, func, select, text

from monitor.db.queries.state import Reader
from monitor.db.tables import deliveries, incidents, notifications

_DELIVERED = text("deliveries.state = 'delivered'")
_LAST_ABOUT = (
    select(notifications.c.body)
    .join(deliveries, deliveries.c.notification_id == notifications.c.id)
    .where(notifications.c.incident_key == bindparam("incident_key"), deliveries.c.receiver == bindparam("receiver"), _DELIVERED)
    .order_by(notifications.c.id.desc())
    .limit(1)
)
# By subject, not by number: where an incident ended and another began unheard, the receiver knows the new one as the old one.
_STANDING = (
    select(incidents.c.id, func.max(notifications.c.id).label("notification_id"))
    .join(notifications, (notifications.c.subject == incidents.c.subject) & (notifications.c.topic == incidents.c.topic))
    .join(deliveries, deliveries.c.notification_id == notifications.c.id)
    .where(
        incidents.c.closed_at.is_(None),
        incidents.c.id > bindparam("after"),
        deliveries.c.receiver == bindparam("receiver"),
        _DELIVERED,
    )
    .group_by(incidents.c.id)
    .order_by(incidents.c.id)
    .limit(bindparam("limit"))
    .subquery()
)
_BODIES = (
    select(_STANDING.c.id, notifications.c.body)
    .join(notifications, notifications.c.id == _STANDING.c.notification_id)
    .order_by(_STANDING.c.id)
)


def last_delivered(reader: Reader, receiver: str, incident_key: str) -> bytes | None:
    """The body last delivered to *receiver* about an incident, None when there is none."""
    rows = reader.rows(_LAST_ABOUT, {"receiver": receiver, "incident_key": incident_key})
    return bytes(rows[0].body) if rows else None


def open_alerts(reader: Reader, receiver: str, after: int, limit: int) -> list[tuple[int, bytes]]:
    """
    The open incidents whose subject *receiver* was ever told of, each with the body last delivered about that, at most *limit*.

    That body may tell of an end: then the receiver has not heard of the incident that is open now.

    They come in the order of their numbers, from the one behind *after* (0: from the first): page with the last number.
    """
    rows = reader.rows(_BODIES, {"receiver": receiver, "after": after, "limit": limit})
    return [(row.id, bytes(row.body)) for row in rows]
