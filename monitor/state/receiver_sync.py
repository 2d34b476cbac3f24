"""Brings what is pending and what stands in line with the receivers: a new name with a destination that left is the same one."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from monitor.config import Config, ReceiverSettings
from monitor.db import Database, Store, connections_by_id, read_meta, silences_since
from monitor.db.renames import receivers
from monitor.domain.connections import Connection
from monitor.domain.delivery import retries
from monitor.domain.events import FINE, Notification, NotificationReason
from monitor.domain.reasons import Scope
from monitor.domain.routing import rules as routing
from monitor.domain.silencing.controls import Controls
from monitor.logs import get_logger
from monitor.notify import payload
from monitor.notify.alertmanager import labels_of
from monitor.notify.base import destination
from monitor.state import receiver_incidents
from monitor.state.evaluation_config import EvaluationConfig
from monitor.text.format import subject_name

_META = "receivers"
_LISTED = 20
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
        incidents: the keys and subjects of those left open.
        ended: the key of its own incident, which is closed at the other receivers; empty without one.
    """

    event: str
    receiver: str
    before: str = ""
    cancelled: int = 0
    left_open: int = 0
    sent: int = 0
    incidents: tuple[str, ...] = ()
    ended: str = ""


async def sync(database: Database, config: Config, evaluation_config: EvaluationConfig, now: datetime) -> list[ReceiverChange]:
    """Bring the database in line with the receivers of *config*, and log each change; returns them."""
    desired = {receiver.name: destination(receiver) for receiver in config.receivers}
    alertmanagers = [receiver for receiver in config.receivers if receiver.type == "alertmanager"]

    def work(store: Store) -> list[ReceiverChange]:
        changes = reconcile(desired, evaluation_config, now, store)
        _relabel(store, evaluation_config, alertmanagers, now)
        return changes

    changes = await database.write(work)
    for change in changes:
        log = _log.bind(receiver=change.receiver, change=change.event, **({"ended": change.ended} if change.ended else {}))
        if change.cancelled or change.left_open:
            advice = "It gets no more messages at its old address: close there by hand what is still open."
            listed = list(change.incidents[:_LISTED])
            if len(change.incidents) > _LISTED:
                listed.append(f"and {len(change.incidents) - _LISTED} more")
            counts = {"cancelled": change.cancelled, "left_open": change.left_open, "sent": change.sent}
            log.warning("receiver.abandoned", **counts, incidents=listed, advice=advice)
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
    renamed, ended = _renamed(known, desired), dict[str, str]()
    for old, new in renamed.items():
        ended[old] = receiver_incidents.close_removed(old, desired, config.identity, now, store)
        _rename(old, new, store)
    known = {renamed.get(name, name): where for name, where in known.items()}
    removed = [name for name in known if name not in desired]
    readdressed = [name for name in desired if name in known and known[name] != desired[name]]
    added = [name for name in desired if name not in known]
    changes = [ReceiverChange("renamed", new, before=old, ended=ended[old]) for old, new in renamed.items()]
    latest_open = receivers.latest_of_open(store)
    left_open_at = _left_open_at([*removed, *readdressed], latest_open, store)
    for name in removed:
        own = receiver_incidents.close_removed(name, desired, config.identity, now, store)
        cancelled = store.outbox.cancel_deliveries(name, now, reason=None)
        receivers.forget_state(store, name)
        listed = left_open_at[name]
        changes.append(ReceiverChange("removed", name, cancelled=cancelled, left_open=len(listed), incidents=listed, ended=own))
    sent = dict(deliver_open(config, [*added, *readdressed], now, store)[0])
    for name, count in _deliver_closed(store, config, added, now).items():
        sent[name] = sent.get(name, 0) + count
    changes += [
        ReceiverChange("readdressed", name, left_open=len(listed), sent=sent.get(name, 0), incidents=listed)
        for name, listed in ((name, left_open_at[name]) for name in readdressed)
    ]
    changes += [ReceiverChange("added", name, sent=sent.get(name, 0)) for name in added]
    store.put_meta(_META, json.dumps(desired))
    return changes


def _renamed(known: Mapping[str, str], desired: Mapping[str, str]) -> dict[str, str]:
    """Old to new name of the receivers that kept their destination."""
    new = {where: name for name, where in desired.items() if name not in known}
    return {name: new.pop(where) for name, where in known.items() if name not in desired and where in new}


def _rename(old: str, new: str, store: Store) -> None:
    """Give everything to the new name; a receiver in trouble is tried again, and its trouble is notified anew under that name."""
    number = receivers.last_number(store, new)
    receivers.rename_receiver(store, old, new)
    breaker = receivers.known_breaker(store, new)
    released = replace(retries.release(breaker), notified=False) if breaker.notified else breaker
    released = replace(released, number=max(released.number, number))
    if released != breaker:
        receiver_incidents.save_breaker(new, released, store)


def _left_open_at(names: Sequence[str], latest_open: Sequence[receivers.LatestNotification], store: Store) -> dict[str, tuple[str, ...]]:
    """The key and subject of each incident that the receivers *names* show as open."""
    ended = receivers.latest_of_closed(store, names)
    connections = _connections_of([*latest_open, *ended], store)

    def shown(latest: receivers.LatestNotification) -> str:
        subject = subject_name(latest.notification.incident.subject, connections.get(latest.notification.connection_id or 0))
        return f"{latest.key}: {subject}"

    return {
        name: tuple(
            shown(one) for one in (*(one for one in latest_open if name in one.holders), *(one for one in ended if _is_pending(one, name)))
        )
        for name in names
    }


def _connections_of(found: Sequence[receivers.LatestNotification], store: Store) -> dict[int, Connection]:
    """The connections that these notifications are about, members of scopes included, by id."""
    numbers = {
        number for one in found for number in (one.notification.connection_id, *one.notification.facts.members) if number is not None
    }
    return {connection.id: connection for connection in connections_by_id(store, sorted(numbers))}


def _is_pending(latest: receivers.LatestNotification, name: str) -> bool:
    return name in latest.own and latest.own[name][1].value == "pending"


def deliver_open(
    config: EvaluationConfig, fresh: Collection[str], now: datetime, store: Store
) -> tuple[Mapping[str, int], datetime | None]:
    """
    Deliver the latest notification of each open incident to the receivers that it is routed to now and that it never was before, to
    the *fresh* ones of them, and to all of them when no configured receiver has any; returns how many each gets.

    What a silence or quiet hours suppress waits for a later call; returned too: for the one when the first of them ends. A fresh receiver
    that had the incident at its earlier address gets it at once.
    """
    latest_open = receivers.latest_of_open(store)
    connections = _connections_of(latest_open, store)
    controls = Controls(recurring=config.recurring_silences, member=connections.get, user_labels=config.user_labels)
    controls = controls.with_requests(silences_since(store, now), ())
    names = {rule.name for rule in config.receivers}
    sent: Counter[str] = Counter()
    ends: list[datetime] = []
    for latest in latest_open:
        without_any = not latest.holders & names
        plain = _without_escalation(latest)
        opened = replace(plain.notification, why=NotificationReason.OPENED)
        routed = _receivers_of(opened, connections, config)
        escalated = [name for name in _receivers_of(latest.notification, connections, config) if name not in routed]
        for copied, chosen in ((plain, routed), (latest, escalated)):
            missing = [name for name in chosen if not _is_pending(latest, name) and (without_any or name not in latest.chosen)]
            moved = [name for name in chosen if not _is_pending(latest, name) and name in fresh and name not in missing]
            until = _suppressed_until(opened if copied is plain else latest.notification, connections, controls, config, now)
            if missing and until is not None:
                ends.append(until)
                missing = []
            _add_copy(store, config, copied, connections, [*missing, *moved], now)
            sent.update([*missing, *moved])
    return sent, min(ends, default=None)


def _suppressed_until(
    notification: Notification, connections: Mapping[int, Connection], controls: Controls, config: EvaluationConfig, now: datetime
) -> datetime | None:
    """When the silence or the quiet hours end that suppress *notification*; None without, and for incidents of receivers."""
    if notification.scope is Scope.RECEIVER:
        return None
    connection = connections.get(notification.connection_id or 0)
    routes = controls.routes(notification, connection, (), config.policy)
    suppression = controls.suppression(notification, connection, now, routes)
    return suppression.until if suppression is not None else None


def _without_escalation(latest: receivers.LatestNotification) -> receivers.LatestNotification:
    """The same state of the incident, for receivers that it was not escalated to."""
    notification = latest.notification
    if notification.why is not NotificationReason.ESCALATED:
        return latest
    facts = replace(notification.facts, escalated_to=())
    return replace(latest, notification=replace(notification, why=NotificationReason.OPENED, level_from=FINE, facts=facts))


def _add_copy(
    store: Store,
    config: EvaluationConfig,
    latest: receivers.LatestNotification,
    connections: Mapping[int, Connection],
    names: Sequence[str],
    now: datetime,
) -> None:
    """Render *latest* anew, with what its subject is called now, for the receivers *names*."""
    if names:
        notification, webhook_id = replace(latest.notification, at=now), store.outbox.new_webhook_id()
        members = [connections[number] for number in notification.facts.members if number in connections]
        connection = connections.get(notification.connection_id or 0)
        body = payload.render(webhook_id, notification, connection, config.identity, members, latest.key)
        receivers.add_copy(store, latest, webhook_id, body, names, now)


def _relabel(store: Store, config: EvaluationConfig, alertmanagers: Sequence[ReceiverSettings], now: datetime) -> None:
    """Send the open incidents to those of type `alertmanager` that know it under another name of the account or of this monitor."""
    latest_open = receivers.latest_of_open(store) if alertmanagers else []
    connections = _connections_of(latest_open, store)
    for latest in map(_without_escalation, latest_open):
        notification = latest.notification
        members = [connections[number] for number in notification.facts.members if number in connections]
        connection = connections.get(notification.connection_id or 0)
        body = payload.render("", notification, connection, config.identity, members, latest.key)
        for receiver in alertmanagers:
            known = receivers.newest_body(store, latest, receiver.name)
            if known is not None and _names(labels_of(known, receiver)) != _names(labels_of(body, receiver)):
                _add_copy(store, config, latest, connections, [receiver.name], now)


def _names(labels: Mapping[str, str]) -> tuple[str | None, str | None]:
    return labels.get("monitor"), labels.get("account")


def _receivers_of(notification: Notification, connections: Mapping[int, Connection], config: EvaluationConfig) -> tuple[str, ...]:
    """The receivers that a notification about an open incident is routed to; one about a receiver goes to all others."""
    if notification.scope is Scope.RECEIVER:
        return tuple(rule.name for rule in config.receivers if f"receiver:{rule.name}" != notification.incident.subject)
    connection = connections.get(notification.connection_id or 0)
    members = [connections[number] for number in notification.facts.members if number in connections]
    return routing.receivers_for(notification, connection, config.routes, config.receivers, members=members, user_labels=config.user_labels)


def _deliver_closed(store: Store, config: EvaluationConfig, added: Sequence[str], now: datetime) -> dict[str, int]:
    """Deliver the end of each incident that one of the *added* receivers knew before it left, and that has closed meanwhile."""
    wanted = {rule.name for rule in config.receivers if rule.send_resolved and rule.name in added}
    ends = [latest for latest in receivers.latest_of_closed(store, wanted) if latest.notification.why is NotificationReason.CLOSED]
    missed = {name: [latest for latest in ends if name in latest.holders and not _has(latest, name)] for name in sorted(wanted)}
    return {name: receivers.deliver_again(store, latest, name, now) for name, latest in missed.items() if latest}


def _has(latest: receivers.LatestNotification, name: str) -> bool:
    return name in latest.own and latest.own[name][1].value in {"pending", "delivered"}
