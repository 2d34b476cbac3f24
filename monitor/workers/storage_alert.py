"""Notifies the receivers that the database takes no writes, directly and from memory: once each within six hours."""

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from monitor.clock import Clock
from monitor.config import Config, ReceiverSettings
from monitor.db import Database, damage_is_news
from monitor.domain.notifications.build import NotificationContext, build_scope_notification, last_notified
from monitor.domain.routing import rules as routing
from monitor.domain.scopes import state
from monitor.domain.scopes.key import STORAGE
from monitor.domain.scopes.state import ScopeState
from monitor.errors import Reason
from monitor.logs import get_logger
from monitor.notify import payload
from monitor.notify.sender import Sender
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
from monitor.state.unit_of_work import record_outage

_log = get_logger(__name__)
_RESEND_AFTER = timedelta(hours=6)
_RETRY_AFTER = timedelta(minutes=1)
_ASK_AGAIN_AFTER = timedelta(seconds=10)
_NOTHING_SENT = "; nothing is checked until it does, since another instance of the cluster may be active"
_DAMAGED = (
    "it is damaged and the monitor has stopped: nothing is checked, and no more notifications are sent."
    " Its log names the damage and how to repair it"
)
_CORRUPTION_ALERT_WITHIN = timedelta(seconds=8)


async def alert_corruption(config: Config, evaluation_config: EvaluationConfig, clock: Clock, user_agent: str) -> None:
    """Notify the receivers, without the database, that it is damaged and the monitor ends: one attempt each within six hours."""
    now = clock.now()
    if not damage_is_news(config.database.url.reveal(), now, _RESEND_AFTER):
        return
    notification = build_scope_notification(state.fail(ScopeState(STORAGE), Reason.STORAGE_FAILED, _DAMAGED, now), NotificationContext(now))
    chosen = routing.receivers_for(notification, None, evaluation_config.routes, evaluation_config.receivers)
    webhook_id = _webhook_id()
    body = payload.render(webhook_id, notification, None, evaluation_config.identity)
    sender = Sender(clock=clock, user_agent=user_agent)
    try:
        async with asyncio.timeout(_CORRUPTION_ALERT_WITHIN.total_seconds()):
            sends = [sender.send(receiver, webhook_id, body) for receiver in config.receivers if receiver.name in chosen]
            for receiver, result in zip(chosen, await asyncio.gather(*sends), strict=True):
                if result.delivered:
                    _log.info("notification.delivered", scope="storage", receiver=receiver)
                else:
                    _log.warning("notification.failed", scope="storage", receiver=receiver, reason=result.reason, detail=result.detail)
    except TimeoutError:
        _log.warning("notification.failed", scope="storage", advice="A receiver did not answer in time.")
    finally:
        await sender.close()


def _webhook_id() -> str:
    return f"msg_{secrets.token_hex(16)}"


def _common_webhook_id(instance: str, since: datetime) -> str:
    """The id under which every node notifies of an outage that it saw begin in the same minute."""
    return f"msg_{hashlib.sha256(f'{instance} storage {since:%Y-%m-%dT%H:%M}'.encode()).hexdigest()[:32]}"


@dataclass(slots=True)
class StorageOutage:
    """
    The current storage outage, for the life of the process: a reload must not notify it again.

    Attributes:
        failing_since: when this outage was first seen, monotonic seconds.
        incident: the incident as it will be recorded, once the outage has lasted; None without one.
        notified: the receivers that accepted it.
        accepted_at: receiver to when it last accepted such a message, monotonic seconds.
        retry_at: when the receivers that refused it are tried again, monotonic seconds.
    """

    failing_since: float | None = None
    incident: ScopeState | None = None
    webhook_id: str = ""
    body: bytes = b""
    notified: set[str] = field(default_factory=set)
    accepted_at: dict[str, float] = field(default_factory=dict)
    retry_at: float = float("-inf")


class StorageAlerter:
    """Watches whether the database takes writes."""

    def __init__(
        self,
        *,
        registry: Registry,
        database: Database,
        sender: Sender,
        receivers: Sequence[ReceiverSettings],
        clock: Clock,
        outage: StorageOutage,
        notifies: Callable[[float], Awaitable[bool]] | None = None,
    ) -> None:
        """*notifies*: of several nodes that see the same outage, whether this one notifies of it after so many seconds."""
        self._registry = registry
        self._database = database
        self._sender = sender
        self._receivers = tuple(receivers)
        self._clock = clock
        self._outage = outage
        self._notifies = notifies

    async def step(self) -> bool:
        """Send what is to be sent; returns False: there is never more to do at once."""
        now = self._clock.monotonic()
        if self._database.storage_up:
            await self._on_recovery()
        elif self._outage.failing_since is None:
            self._outage.failing_since = now
        elif now - self._outage.failing_since >= self._registry.config.policy.scopes.open_after.total_seconds():
            await self._on_failure(now)
        return False

    async def _on_failure(self, now: float) -> None:
        outage = self._outage
        if now < outage.retry_at:
            return
        if self._notifies is not None and not await self._notifies(now - (outage.failing_since or now)):
            outage.retry_at = now + _ASK_AGAIN_AFTER.total_seconds()
            return
        incident = outage.incident or self._open()
        outage.retry_at = now + _RETRY_AFTER.total_seconds()
        for receiver in self._receivers:
            chosen = receiver.name in self._receivers_of(incident)
            if not chosen or receiver.name in outage.notified or self._was_notified_lately(receiver.name, now):
                continue
            result = await self._sender.send(receiver, outage.webhook_id, outage.body)
            if result.delivered:
                outage.notified.add(receiver.name)
                outage.accepted_at[receiver.name] = now
            else:
                _log.warning("notification.failed", scope="storage", receiver=receiver.name, reason=result.reason, detail=result.detail)

    def _open(self) -> ScopeState:
        outage, now = self._outage, self._clock.now()
        since = min(self._database.failing_since or now, now)
        before = self._registry.scope(STORAGE)
        detail = self._database.failure + ("" if self._database.may_send() else _NOTHING_SENT)
        incident = state.fail(before, Reason.STORAGE_FAILED, detail, since, affected=len(self._registry.ids()))
        if self._notifies is not None:
            # A node does not know which of the others has recorded how many.
            incident = replace(incident, topic=replace(incident.topic, number=int(since.timestamp()) // 60))
        outage.incident = incident
        identity = self._registry.config.identity
        outage.webhook_id = _webhook_id() if self._notifies is None else _common_webhook_id(identity.instance, since)
        notification = build_scope_notification(incident, NotificationContext(now))
        outage.body = payload.render(outage.webhook_id, notification, None, identity)
        return incident

    def _receivers_of(self, incident: ScopeState) -> tuple[str, ...]:
        config = self._registry.config
        notification = build_scope_notification(incident, NotificationContext(self._clock.now()))
        return routing.receivers_for(notification, None, config.routes, config.receivers)

    def _was_notified_lately(self, receiver: str, now: float) -> bool:
        accepted_at = self._outage.accepted_at.get(receiver)
        return accepted_at is not None and now - accepted_at < _RESEND_AFTER.total_seconds()

    async def _on_recovery(self) -> None:
        outage = self._outage
        incident, notified = outage.incident, frozenset(outage.notified)
        outage.failing_since = None
        if incident is None:
            return
        if notified:
            level = last_notified(incident.topic, self._clock.now())
            incident = replace(incident, topic=replace(incident.topic, notified=level), seq=incident.seq + 1)
        await self._database.write(partial(record_outage, self._registry, incident, notified))
        outage.incident, outage.notified, outage.retry_at = None, set(), float("-inf")
