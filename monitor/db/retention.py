"""Deletes of old rows; of the tables that grow with checks a bounded number at a time, so that the write lock is held briefly."""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, ColumnElement, Delete, Table, bindparam, delete, exists, or_, select, tuple_

from monitor.clock import to_milliseconds
from monitor.db.tables import (
    accepted_permissions,
    acknowledgements,
    checks,
    connections,
    deliveries,
    incidents,
    messages,
    notifications,
    replaced_acknowledgements,
    silences,
    uptime_days,
    uptime_hours,
)
from monitor.db.transaction import Reader, Transaction
from monitor.domain.delivery.retries import DeliveryState

_DAY = timedelta(days=1)

# One seek in the primary key for each connection: `at` has no index of its own.
_WITH_OLD_CHECKS = (
    select(connections.c.id)
    .where(exists(select(1).where(checks.c.connection_id == connections.c.id, checks.c.at < bindparam("cutoff"))))
    .order_by(connections.c.id)
    .limit(bindparam("limit"))
)
_DELETE_CHECKS = delete(checks).where(
    checks.c.connection_id == bindparam("b_id"),
    # What follows has it too; but by this PostgreSQL leaves out partitions.
    checks.c.at < bindparam("b_cutoff"),
    checks.c.at.in_(
        select(checks.c.at)
        .where(checks.c.connection_id == bindparam("b_id"), checks.c.at < bindparam("b_cutoff"))
        .order_by(checks.c.at)
        .limit(bindparam("b_limit"))
        .scalar_subquery()
    ),
)
_BEFORE = bindparam("b_cutoff", type_=BigInteger)


def _delete(table: Table, *conditions: ColumnElement[bool]) -> Delete:
    """Deletes at most `b_limit` of the rows of *table* that meet *conditions*."""
    ids = select(table.c.id).where(*conditions).limit(bindparam("b_limit")).scalar_subquery()
    return delete(table).where(table.c.id.in_(ids))


_DELETE_MESSAGES = _delete(messages, messages.c.used_at < _BEFORE)
_DELETE_INCIDENTS = _delete(incidents, incidents.c.closed_at < _BEFORE)
# The last notification of an incident decides who is notified of its end, which may be long after it closed: a silence suppresses
# it meanwhile. Receivers may know the incident by an older number than the open one, if what lay between was never sent.
_newer = notifications.alias("newer")
_MAY_GO_ON = exists(
    select(1).where(
        incidents.c.topic == notifications.c.topic,
        incidents.c.subject == notifications.c.subject,
        or_(incidents.c.closed_at.is_(None), incidents.c.closed_at >= _BEFORE),
    )
) & ~exists(
    select(1).where(
        _newer.c.subject == notifications.c.subject,
        _newer.c.topic == notifications.c.topic,
        _newer.c.number > notifications.c.number,
    )
)
_DELETE_DELIVERIES = _delete(
    deliveries,
    deliveries.c.state == bindparam("b_state"),
    deliveries.c.finished_at < _BEFORE,
    ~exists(select(1).where(notifications.c.id == deliveries.c.notification_id, _MAY_GO_ON)),
)
# A notification stays while any of its deliveries does.
_DELETE_NOTIFICATIONS = _delete(
    notifications, notifications.c.at < _BEFORE, ~exists(select(1).where(deliveries.c.notification_id == notifications.c.id))
)
_DELETE_SUMS = {
    table: delete(table).where(
        tuple_(table.c.at, table.c.connection_id).in_(
            select(table.c.at, table.c.connection_id).where(table.c.at < _BEFORE).limit(bindparam("b_limit"))
        )
    )
    for table in (uptime_hours, uptime_days)
}
_DELETE_SILENCES = delete(silences).where(silences.c.ends_at < _BEFORE)
# An incident's acknowledgement goes with it.
_DELETE_ACKS = tuple(
    delete(table).where(
        table.c.at < _BEFORE,
        ~exists(
            select(1).where(
                incidents.c.topic == table.c.topic, incidents.c.subject == table.c.subject, incidents.c.number == table.c.number
            )
        ),
    )
    for table in (acknowledgements, replaced_acknowledgements)
)
_DELETE_ACCEPTED = delete(accepted_permissions).where(accepted_permissions.c.at < _BEFORE)


def with_old_checks(reader: Reader, before: datetime, limit: int) -> list[int]:
    """At most *limit* connections that have checks from before *before*."""
    return [row.id for row in reader.rows(_WITH_OLD_CHECKS, {"cutoff": to_milliseconds(before), "limit": limit})]


class Retention:
    """The part of a write transaction that deletes old rows; every method returns how many."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def delete_checks(self, ids: Collection[int], before: datetime, each: int) -> int:
        """The oldest checks from before *before*, at most *each* of each of the connections *ids*."""
        rows = [{"b_id": number, "b_cutoff": to_milliseconds(before), "b_limit": each} for number in ids]
        return self._transaction.change(_DELETE_CHECKS, rows) if rows else 0

    def delete_messages(self, before: datetime, limit: int) -> int:
        """Texts that no check since *before* has. Their day of use is rounded down, so one day longer is kept."""
        return self._delete(_DELETE_MESSAGES, before - _DAY, limit)

    def delete_incidents(self, before: datetime, limit: int) -> int:
        """Incidents that closed before *before*."""
        return self._delete(_DELETE_INCIDENTS, before, limit)

    def delete_deliveries(self, state: DeliveryState, before: datetime, limit: int) -> int:
        """Deliveries that ended in *state* before *before*, with their attempts; not those of incidents that may go on."""
        return self._delete(_DELETE_DELIVERIES, before, limit, b_state=state)

    def delete_notifications(self, before: datetime, limit: int) -> int:
        """Notifications from before *before* whose deliveries are all deleted."""
        return self._delete(_DELETE_NOTIFICATIONS, before, limit)

    def delete_hours(self, before: datetime, limit: int) -> int:
        """Sums of hours that began before *before*; those of their days stay."""
        return self._delete(_DELETE_SUMS[uptime_hours], before, limit)

    def delete_days(self, before: datetime, limit: int) -> int:
        """Sums of days that began before *before*."""
        return self._delete(_DELETE_SUMS[uptime_days], before, limit)

    def delete_controls(self, before: datetime) -> int:
        """Silences that ended before *before*; from before it acknowledgements whose incident is deleted, and accepted losses."""
        values = {"b_cutoff": to_milliseconds(before)}
        return sum(self._transaction.change(statement, values) for statement in (_DELETE_SILENCES, *_DELETE_ACKS, _DELETE_ACCEPTED))

    def _delete(self, statement: Delete, before: datetime, limit: int, **values: str) -> int:
        return self._transaction.change(statement, {"b_cutoff": to_milliseconds(before), "b_limit": limit, **values})
