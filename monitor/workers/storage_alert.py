"""
The storage watch: tells the receivers that the database takes no writes, past the database.

What is owed to receivers waits in the database, so this is the one message that cannot: it is sent directly, from
memory, to everybody once, and not again for six hours. Its end is owed like any other news.
"""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

import structlog

from monitor.clock import Clock
from monitor.config import Config, ReceiverSettings
from monitor.db import Database, Store, damage_is_news
from monitor.domain import routing
from monitor.domain.notifications.build import build_scope_notification
from monitor.domain.notifications.decide import last_notified
from monitor.domain.scopes import state
from monitor.domain.scopes.key import STORAGE
from monitor.domain.scopes.state import ScopeState
from monitor.errors import Reason
from monitor.notify import payload
from monitor.notify.sender import Sender
from monitor.state.evaluation_config import EvaluationConfig
from monitor.state.registry import Registry
from monitor.state.unit_of_work import unit_of_work

_log = structlog.get_logger(__name__)
_AGAIN_AFTER = timedelta(hours=6)
_RETRY_AFTER = timedelta(minutes=1)
_DETAIL = "The database takes no writes. Checks go on and are kept in memory; look at its disk and at who else uses it."
_DAMAGED = (
    "The database is damaged and the monitor has stopped: nothing is watched, and nobody is told anything more."
    " Its log says what was found and how to repair it."
)
_LAST_WORD = timedelta(seconds=8)


async def alert_corruption(config: Config, plan: EvaluationConfig, clock: Clock, user_agent: str) -> None:
    """
    Tell the receivers, past the database, that it is damaged: the last word before the monitor ends.

    One attempt for each, within seconds; not again for six hours, however often the monitor is started.
    """
    now = clock.now()
    if not damage_is_news(config.database.url.reveal(), now, _AGAIN_AFTER):
        return
    notification = build_scope_notification(state.fail(ScopeState(STORAGE), Reason.MONITOR_INTERNAL, _DAMAGED, now), now)
    chosen = routing.receivers_for(notification, None, plan.routes, plan.receivers)
    webhook_id = _webhook_id()
    body = payload.render(webhook_id, notification, None, plan.identity)
    sender = Sender(clock=clock, user_agent=user_agent)
    try:
        async with asyncio.timeout(_LAST_WORD.total_seconds()):
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


@dataclass(slots=True)
class StorageOutage:
    """
    What was told of the database, for the life of the process: a reload must not tell it again.

    Attributes:
        failing_since: when this outage was first seen, monotonic seconds.
        outage: the incident as it will be recorded, once the outage has lasted; None without one.
        webhook_id, body: the message of this outage.
        heard: the receivers that took it.
        told_at: receiver to when it last took such a message, monotonic seconds.
        try_at: not before this is a refusal tried again, monotonic seconds.
    """

    failing_since: float | None = None
    outage: ScopeState | None = None
    webhook_id: str = ""
    body: bytes = b""
    heard: set[str] = field(default_factory=set)
    told_at: dict[str, float] = field(default_factory=dict)
    try_at: float = float("-inf")


class StorageAlerter:
    """
    Looks at the database's health.

    Effects of one step: while it fails, one attempt per receiver that does not know; when it works again, one transaction
    that records the incident and owes the news of its end.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        database: Database,
        sender: Sender,
        receivers: Sequence[ReceiverSettings],
        clock: Clock,
        news: StorageOutage,
    ) -> None:
        self._registry = registry
        self._database = database
        self._sender = sender
        self._receivers = tuple(receivers)
        self._clock = clock
        self._news = news

    async def step(self) -> bool:
        """Tell what there is to tell; never more to do at once."""
        now = self._clock.monotonic()
        if self._database.storage_up:
            await self._healed()
        elif self._news.failing_since is None:
            self._news.failing_since = now
        elif now - self._news.failing_since >= self._registry.config.policy.scopes.open_after.total_seconds():
            await self._failing(now)
        return False

    async def _failing(self, now: float) -> None:
        news = self._news
        if news.outage is None:
            self._open()
        if now < news.try_at:
            return
        news.try_at = now + _RETRY_AFTER.total_seconds()
        for receiver in self._receivers:
            if receiver.name not in self._chosen() or receiver.name in news.heard or self._knows(receiver.name, now):
                continue
            result = await self._sender.send(receiver, news.webhook_id, news.body)
            if result.delivered:
                news.heard.add(receiver.name)
                news.told_at[receiver.name] = now
            else:
                _log.warning("notification.failed", scope="storage", receiver=receiver.name, reason=result.reason, detail=result.detail)

    def _open(self) -> None:
        news, now = self._news, self._clock.now()
        since = min(self._database.failing_since or now, now)
        before = self._registry.scope(STORAGE)
        news.outage = state.fail(before, Reason.MONITOR_INTERNAL, _DETAIL, since, affected=len(self._registry.ids()))
        news.webhook_id = _webhook_id()
        notification = build_scope_notification(news.outage, now)
        news.body = payload.render(news.webhook_id, notification, None, self._registry.config.identity)

    def _chosen(self) -> tuple[str, ...]:
        outage = self._news.outage
        if outage is None:
            return ()
        plan = self._registry.config
        return routing.receivers_for(build_scope_notification(outage, self._clock.now()), None, plan.routes, plan.receivers)

    def _knows(self, receiver: str, now: float) -> bool:
        told_at = self._news.told_at.get(receiver)
        return told_at is not None and now - told_at < _AGAIN_AFTER.total_seconds()

    async def _healed(self) -> None:
        news = self._news
        outage, heard = news.outage, frozenset(news.heard)
        news.failing_since = None
        if outage is None:
            return
        if heard:
            told = last_notified(outage.topic, self._clock.now())
            outage = replace(outage, topic=replace(outage.topic, notified=told), seq=outage.seq + 1)
        await self._database.write(partial(self._record, outage, heard))
        news.outage, news.heard, news.try_at = None, set(), float("-inf")

    def _record(self, outage: ScopeState, heard: frozenset[str], store: Store) -> None:
        unit_of_work(self._registry, store).record_outage(outage, heard)
