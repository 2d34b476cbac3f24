"""The database: one writer, many short readers, every statement. SQLAlchemy and Alembic are used nowhere else."""

from monitor.db.controls import ControlsWriter, acks_of_open, acks_since, forget, silences_since
from monitor.db.database import Database
from monitor.db.maintenance import back_up, damage_is_news, examine, reading
from monitor.db.operator_session import operator_session
from monitor.db.queries.deliveries import last_delivered, open_alerts
from monitor.db.queries.history import (
    LatencyRow,
    Lifetime,
    attempts_of,
    checks_in_order,
    closed_incidents,
    latencies,
    lifetimes,
    notifications_since,
)
from monitor.db.queries.state import Reader
from monitor.db.retention import with_old_checks
from monitor.db.rows import AttemptRow, CheckRow, DeliveryRow, IncidentRow, NewConnection, NotificationRow, WaitingRow
from monitor.db.store import Store
from monitor.domain.delivery.retries import DeliveryState

__all__ = [
    "AttemptRow",
    "CheckRow",
    "ControlsWriter",
    "Database",
    "DeliveryRow",
    "DeliveryState",
    "IncidentRow",
    "LatencyRow",
    "Lifetime",
    "NewConnection",
    "NotificationRow",
    "Reader",
    "Store",
    "WaitingRow",
    "acks_of_open",
    "acks_since",
    "attempts_of",
    "back_up",
    "checks_in_order",
    "closed_incidents",
    "damage_is_news",
    "examine",
    "forget",
    "last_delivered",
    "latencies",
    "lifetimes",
    "notifications_since",
    "open_alerts",
    "operator_session",
    "reading",
    "silences_since",
    "with_old_checks",
]
