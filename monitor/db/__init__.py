"""The database: one writer, many short readers, every statement. A module is imported when one of its names is."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monitor.db.controls import ControlsWriter
    from monitor.db.copying import copy_database
    from monitor.db.database import Database
    from monitor.db.maintenance import back_up, damage_is_news, examine, reading, write_problem
    from monitor.db.operator_sessions import operator_session
    from monitor.db.queries.controls import accepted_losses, acks_of_open, acks_since, silences_since
    from monitor.db.queries.deliveries import (
        attempts_of,
        deliveries_by_id,
        deliveries_of_notifications,
        last_delivered,
        last_notifications,
        list_deliveries,
        list_notifications,
        notifications_since,
        notified_as,
        notified_key,
        notified_keys,
        open_alerts,
        pending_deliveries,
        read_outbox,
        read_receiver_states,
    )
    from monitor.db.queries.history import (
        LatencyRow,
        Lifetime,
        checks_in_order,
        closed_incidents,
        incidents_at,
        last_checks_at,
        latencies,
        lifetimes,
        list_checks,
        list_incidents,
        read_last_known,
        read_open_incidents,
        response_times,
    )
    from monitor.db.queries.state import (
        HEARTBEAT_ACCEPTED,
        connections_at,
        connections_by_id,
        database_size,
        heartbeat_accepted_at,
        read_connections,
        read_meta,
        read_scopes,
        read_server,
        read_state,
        read_states,
        with_last_checks,
    )
    from monitor.db.retention import with_old_checks
    from monitor.db.rows import AttemptRow, CheckRow, DeliveryRow, IncidentRow, NotificationRow, PendingRow
    from monitor.db.store import Store
    from monitor.db.transaction import Reader
    from monitor.domain.delivery.retries import DeliveryState

__all__ = [
    "HEARTBEAT_ACCEPTED",
    "AttemptRow",
    "CheckRow",
    "ControlsWriter",
    "Database",
    "DeliveryRow",
    "DeliveryState",
    "IncidentRow",
    "LatencyRow",
    "Lifetime",
    "NotificationRow",
    "PendingRow",
    "Reader",
    "Store",
    "accepted_losses",
    "acks_of_open",
    "acks_since",
    "attempts_of",
    "back_up",
    "checks_in_order",
    "closed_incidents",
    "connections_at",
    "connections_by_id",
    "copy_database",
    "damage_is_news",
    "database_size",
    "deliveries_by_id",
    "deliveries_of_notifications",
    "examine",
    "heartbeat_accepted_at",
    "incidents_at",
    "last_checks_at",
    "last_delivered",
    "last_notifications",
    "latencies",
    "lifetimes",
    "list_checks",
    "list_deliveries",
    "list_incidents",
    "list_notifications",
    "notifications_since",
    "notified_as",
    "notified_key",
    "notified_keys",
    "open_alerts",
    "operator_session",
    "pending_deliveries",
    "read_connections",
    "read_last_known",
    "read_meta",
    "read_open_incidents",
    "read_outbox",
    "read_receiver_states",
    "read_scopes",
    "read_server",
    "read_state",
    "read_states",
    "reading",
    "response_times",
    "silences_since",
    "with_last_checks",
    "with_old_checks",
    "write_problem",
]

_NAMES = {
    "monitor.db.controls": "ControlsWriter",
    "monitor.db.copying": "copy_database",
    "monitor.db.database": "Database",
    "monitor.db.maintenance": "back_up damage_is_news examine reading write_problem",
    "monitor.db.operator_sessions": "operator_session",
    "monitor.db.queries.controls": "accepted_losses acks_of_open acks_since silences_since",
    "monitor.db.queries.deliveries": "attempts_of deliveries_by_id deliveries_of_notifications last_delivered last_notifications list_deliveries list_notifications notifications_since notified_as notified_key notified_keys open_alerts pending_deliveries read_outbox read_receiver_states",
    "monitor.db.queries.history": "LatencyRow Lifetime checks_in_order closed_incidents incidents_at last_checks_at latencies lifetimes list_checks list_incidents read_last_known read_open_incidents response_times",
    "monitor.db.queries.state": "HEARTBEAT_ACCEPTED connections_at connections_by_id database_size heartbeat_accepted_at read_connections read_meta read_scopes read_server read_state read_states with_last_checks",
    "monitor.db.retention": "with_old_checks",
    "monitor.db.rows": "AttemptRow CheckRow DeliveryRow IncidentRow NotificationRow PendingRow",
    "monitor.db.store": "Store",
    "monitor.db.transaction": "Reader",
    "monitor.domain.delivery.retries": "DeliveryState",
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
