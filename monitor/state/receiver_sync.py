"""
Brings what is pending and what stands in line with the configured receivers, at the start and at every reload.

A receiver is known by its name and its destination. A new name with the destination of one that left is the same receiver: it takes
over everything. A new receiver, or one with a new destination, gets what stands. What has to be given up is logged.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from monitor.config import Config
from monitor.db import Database, Store, connections_by_id, read_meta, receivers
from monitor.domain import routing
from monitor.domain.connections import Connection
from monitor.domain.events import Notification, NotificationReason
from monitor.logs import get_logger
from monitor.notify.base import destination
from monitor.state.evaluation_config import EvaluationConfig

_META = "receivers"
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReceiverChange:
    """
    What became of one receiver.

    Attributes:
        event: `renamed`, `removed`, `added` or `readdressed`.
        before: its old name, when it was renamed.
        cancelled: pending deliveries that were given up.
        left_open: incidents that are open at an address that gets nothing more: open ones that it was notified of, and those whose end it
            has not got.
        sent: notifications of what stands, or has ended meanwhile, that are now pending for it.
    """

    event: str
    receiver: str
    before: str = ""
    cancelled: int = 0
    left_open: int = 0
    sent: int = 0


async def sync(database: Database, config: Config, evaluation_config: EvaluationConfig, now: datetime) -> list[ReceiverChange]:
    """Bring the database in line with the receivers of *config*, and log each change; returns them."""
    desired = {receiver.name: destination(receiver) for receiver in config.receivers}
    changes = await database.write(partial(reconcile, desired, evaluation_config, now))
    for change in changes:
        log = _log.bind(receiver=change.receiver, change=change.event)
        if change.cancelled or change.left_open:
            advice = "It gets no more messages at its old address: close there by hand what is still open."
            log.warning("receiver.abandoned", cancelled=change.cancelled, left_open=change.left_open, sent=change.sent, advice=advice)
        else:
            log.info("receiver.changed", before=change.before, sent=change.sent)
    return changes


def reconcile(desired: Mapping[str, str], config: EvaluationConfig, now: datetime, store: Store) -> list[ReceiverChange]:
    """Bring the database in line with the *desired* receivers, name to destination."""
    stored = read_meta(store, _META)
    if stored is None:
        # The first start with this program: everything was notified to these receivers already.
        store.put_meta(_META, json.dumps(desired))
        return []
    known: dict[str, str] = json.loads(stored)
    if known == desired:
        return []
    renamed = _renamed(known, desired)
    for old, new in renamed.items():
        receivers.rename_receiver(store, old, new)
    known = {renamed.get(name, name): where for name, where in known.items()}
    removed = [name for name in known if name not in desired]
    readdressed = [name for name in desired if name in known and known[name] != desired[name]]
    added = [name for name in desired if name not in known]
    changes = [ReceiverChange("renamed", new, before=old) for old, new in renamed.items()]
    latest_open = receivers.latest_of_open(store)
    left_open_at = _left_open_at([*removed, *readdressed], latest_open, store)
    for name in removed:
        cancelled = store.outbox.cancel_deliveries(name, now, reason=None)
        receivers.forget_state(store, name)
        changes.append(ReceiverChange("removed", name, cancelled=cancelled, left_open=left_open_at[name]))
    sent = _deliver_open(store, config, [*added, *readdressed], now)
    for name, count in _deliver_closed(store, config, added, now).items():
        sent[name] = sent.get(name, 0) + count
    changes += [ReceiverChange("readdressed", name, left_open=left_open_at[name], sent=sent.get(name, 0)) for name in readdressed]
    changes += [ReceiverChange("added", name, sent=sent.get(name, 0)) for name in added]
    store.put_meta(_META, json.dumps(desired))
    return changes


def _renamed(known: Mapping[str, str], desired: Mapping[str, str]) -> dict[str, str]:
    """Old to new name of the receivers that kept their destination."""
    new = {where: name for name, where in desired.items() if name not in known}
    return {name: new.pop(where) for name, where in known.items() if name not in desired and where in new}


def _left_open_at(names: Sequence[str], latest_open: Sequence[receivers.LatestNotification], store: Store) -> dict[str, int]:
    """How many incidents the receivers *names* show as open."""
    ended = receivers.latest_of_closed(store, names)
    return {
        name: sum(name in latest.holders for latest in latest_open) + sum(_is_pending(latest, name) for latest in ended) for name in names
    }


def _is_pending(latest: receivers.LatestNotification, name: str) -> bool:
    return name in latest.own and latest.own[name][1].value == "pending"


def _deliver_open(store: Store, config: EvaluationConfig, fresh: Sequence[str], now: datetime) -> dict[str, int]:
    """Deliver the latest notification of each open incident to the *fresh* receivers, and to all when no configured receiver has any."""
    latest_open = receivers.latest_of_open(store)
    numbers = {latest.notification.connection_id for latest in latest_open} - {None}
    connections = {
        connection.id: connection for connection in connections_by_id(store, [number for number in numbers if number is not None])
    }
    names = {rule.name for rule in config.receivers}
    chosen: dict[str, list[receivers.LatestNotification]] = {}
    for latest in latest_open:
        connection = connections.get(latest.notification.connection_id or 0)
        routed = _receivers_of(latest.notification, connection, config)
        without_any = not latest.holders & names
        for name in routed:
            if without_any or name in fresh:
                chosen.setdefault(name, []).append(latest)
    return {name: receivers.deliver_again(store, latest, name, now) for name, latest in chosen.items()}


def _receivers_of(notification: Notification, connection: Connection | None, config: EvaluationConfig) -> list[str]:
    """The receivers of an open incident: those of its routes, and those that it was escalated to."""
    opened = replace(notification, why=NotificationReason.OPENED)
    routed = routing.receivers_for(opened, connection, config.routes, config.receivers)
    escalated = routing.receivers_for(notification, connection, config.routes, config.receivers)
    return list(dict.fromkeys((*routed, *escalated)))


def _deliver_closed(store: Store, config: EvaluationConfig, added: Sequence[str], now: datetime) -> dict[str, int]:
    """Deliver the end of each incident that one of the *added* receivers knew before it left, and that has closed meanwhile."""
    wanted = {rule.name for rule in config.receivers if rule.send_resolved and rule.name in added}
    ends = [latest for latest in receivers.latest_of_closed(store, wanted) if latest.notification.why is NotificationReason.CLOSED]
    missed = {name: [latest for latest in ends if name in latest.holders and not _has(latest, name)] for name in sorted(wanted)}
    return {name: receivers.deliver_again(store, latest, name, now) for name, latest in missed.items() if latest}


def _has(latest: receivers.LatestNotification, name: str) -> bool:
    return name in latest.own and latest.own[name][1].value in {"pending", "delivered"}
