"""The database: one writer, many short readers, every statement. SQLAlchemy and Alembic are used nowhere else."""

from monitor.db.controls import Operations, acks_of_open, acks_since, forget, silences_since
from monitor.db.engine import Database
from monitor.db.glances import LatencyRow, attempts_of, closed_incidents, latencies
from monitor.db.operating import operating
from monitor.db.reader import Reader
from monitor.db.retention import with_old_checks
from monitor.db.rows import (
    AttemptRow,
    CheckRow,
    DeliveryRow,
    DeliveryState,
    IncidentRow,
    NewConnection,
    NotificationRow,
    WaitingRow,
)
from monitor.db.standing import last_delivered, standing
from monitor.db.store import Store
from monitor.db.timeline import Lifetime, checks_in_order, lifetimes, notifications_since
from monitor.db.upkeep import back_up, damage_is_news, examine, reading

__all__ = [
    "AttemptRow",
    "CheckRow",
    "Database",
    "DeliveryRow",
    "DeliveryState",
    "IncidentRow",
    "LatencyRow",
    "Lifetime",
    "NewConnection",
    "NotificationRow",
    "Operations",
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
    "operating",
    "reading",
    "silences_since",
    "standing",
    "with_old_checks",
]
