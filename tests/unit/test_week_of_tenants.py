"""
Tenants with routes of their own, for a week of virtual time: who is notified when, message by message, against a model.

The model knows the levels of the connections and the rules of the documentation; it knows nothing of states and suppressions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest

from monitor.domain.events import FINE, Notification, Topic
from monitor.domain.policy import FlapPolicy
from monitor.domain.recurrence import EVERY_DAY, Schedule
from monitor.domain.routes import Escalation, Route, RouteQuietHours
from monitor.domain.routing.rules import ReceiverRule, receivers_for
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.silences import Silence
from monitor.errors import Reason
from tests.builders import DAY, HOUR, MINUTE, START, a_connection, a_policy, a_silence
from tests.story import Story

OK, BAD = Reason.OK, Reason.CREDENTIAL_REJECTED
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC")
INTERVAL = 15

Message = tuple[timedelta, int, str, frozenset[str]]
"""When, about which tenant's connection, why, to whom."""


@dataclass
class Tenant:
    """One tenant: its connection, what becomes of it, and what is configured and done about it."""

    number: int
    route: Route
    failures: list[tuple[int, int]]
    silences: list[Silence]
    acks_after: int | None
    results: list[Reason] = field(default_factory=list)

    def answer(self, minute: int) -> Reason:
        """How a check in this minute ends."""
        return BAD if any(start <= minute < end for start, end in self.failures) else OK


def a_tenant(number: int, days: int, random: Random) -> Tenant:
    """A tenant by chance."""
    name = f"tenant{number}"
    start, length = random.randrange(24), random.randrange(4, 12)
    when = Schedule(EVERY_DAY, start * HOUR, (start + length) % 24 * HOUR, ZoneInfo(random.choice(ZONES)))
    severities = random.choice([{"info", "warning"}, {"info", "warning", "critical"}])
    route = Route(
        {"tenant": name},
        (name, "log") if random.random() < 0.5 else (name,),
        quiet_hours=RouteQuietHours(when, frozenset(severities)) if random.random() < 0.7 else None,
        reminder_interval=random.choice([0, 3, 8]) * HOUR,
        escalation=Escalation(random.choice([20, 30, 90]) * MINUTE, (f"{name}-boss",)) if random.random() < 0.7 else None,
    )
    failures, minute = list[tuple[int, int]](), random.randrange(60, 600)
    while minute < days * 24 * 60:
        end = minute + random.randrange(40, 1500)
        failures.append((minute, end))
        minute = end + random.randrange(60, 1500)
    starts = [START + random.randrange(days * 24 * 60) * MINUTE for _ in range(days // 2)]
    silences = [
        a_silence(id=100 * number + index, match={"tenant": name}, starts_at=at, ends_at=at + random.randrange(30, 600) * MINUTE)
        for index, at in enumerate(starts)
    ]
    return Tenant(number, route, failures, silences, random.choice([None, 7, 25, 200]))


def live(tenants: list[Tenant], days: int, random: Random) -> tuple[Story, list[Ack], list[Message]]:
    """What the engine notifies, and whom, while these tenants live, with restarts in between."""
    connections = {
        tenant.number: a_connection(tenant.number, platform_id=f"p{tenant.number}-page", labels={"tenant": f"tenant{tenant.number}"})
        for tenant in tenants
    }
    routes = (*(tenant.route for tenant in tenants), Route({}, ("log",)))
    policy = a_policy(flap=FlapPolicy(changes=99), stale_after=30 * DAY, routes=routes)
    story = Story(policy=policy, connections=connections, beat=MINUTE)
    rules = [ReceiverRule(name) for name in dict.fromkeys(name for route in routes for name in named(route))]
    silences = tuple(silence for tenant in tenants for silence in tenant.silences)
    story.ask(*silences)
    holders, messages, acks = dict[tuple[str, int], frozenset[str]](), list[Message](), list[Ack]()
    restarts = {random.randrange(days * 24 * 60) for _ in range(3 * days)}
    for minute in range(days * 24 * 60):
        begun = len(story.notifications)
        if minute in restarts:
            story.restart()
        if minute % INTERVAL == 0:
            for tenant in tenants:
                story.check(tenant.answer(minute), tenant.number)
        given = list(acked_now(story, tenants, acks))
        if given:
            acks += given
            story.ask(*silences, acks=tuple(acks))
        story.pass_time(MINUTE)
        for one in story.notifications[begun:]:
            key = (one.incident.subject, one.incident.number)
            chosen = receivers_for(one, connections[int(one.incident.subject)], routes, rules, notified=holders.get(key, ()))
            holders[key] = holders.get(key, frozenset()) | set(chosen)
            messages.append(message(one, frozenset(chosen)))
    return story, acks, messages


def named(route: Route) -> tuple[str, ...]:
    """The receivers of a route, those of its escalation among them."""
    return (*route.receivers, *(route.escalation.receivers if route.escalation is not None else ()))


def message(one: Notification, receivers: frozenset[str]) -> Message:
    """A notification as the model sees it."""
    return (one.at - START, int(one.incident.subject), one.why.value, receivers)


def acked_now(story: Story, tenants: list[Tenant], acks: list[Ack]) -> Iterator[Ack]:
    """The acknowledgements that people give at this minute."""
    for tenant in tenants:
        value = story.state(tenant.number).topic(Topic.CONNECTION)
        known = any((ack.subject, ack.number) == (str(tenant.number), value.number) for ack in acks)
        if tenant.acks_after is None or value.level == FINE or known or value.since is None:
            continue
        if story.now - value.since >= tenant.acks_after * MINUTE:
            yield Ack(Topic.CONNECTION, str(tenant.number), value.number, value.level, story.now, "ann", "seen")


@dataclass
class Model:
    """What must be notified about one tenant's connection."""

    tenant: Tenant
    levels: list[tuple[datetime, str]]
    acks: list[datetime]
    messages: list[Message] = field(default_factory=list)
    holders: frozenset[str] = frozenset()
    told_at: datetime | None = None
    last_at: datetime | None = None
    escalated: bool = False

    def expected(self, days: int) -> list[Message]:
        """All messages of so many *days*."""
        last = OK
        for minute in range(days * 24 * 60 + 1):
            now = START + minute * MINUTE
            self.evaluate(now, last, checked=False)
            if minute % INTERVAL == 0 and minute < days * 24 * 60:
                last = self.tenant.answer(minute)
                self.evaluate(now, last, checked=True)
        return self.messages

    def evaluate(self, now: datetime, last: Reason, *, checked: bool) -> None:
        """The rules, once: what is open and not silent is notified, later its end; in between escalations and reminders."""
        opened = self.opened(now, checked=checked)
        if self.held(now) or (last is BAD) != opened:
            return
        route, escalation = self.tenant.route, self.tenant.route.escalation
        if opened and self.told_at is None:
            self.told_at = self.last_at = now
            self.send(now, "opened", frozenset(route.receivers))
        elif not opened and self.told_at is not None:
            self.send(now, "closed", self.holders)
            self.told_at, self.escalated, self.holders = None, False, frozenset()
        elif self.told_at is None or self.last_at is None or self.acknowledged(now):
            return
        elif escalation is not None and not self.escalated and now >= self.told_at + escalation.after:
            self.escalated = True
            self.send(now, "escalated", frozenset(escalation.receivers))
        elif checked and route.reminder_interval and now >= self.last_at + route.reminder_interval:
            self.last_at = now
            self.send(now, "reminder", self.holders)

    def send(self, now: datetime, why: str, receivers: frozenset[str]) -> None:
        """Note a message."""
        self.holders |= receivers
        self.messages.append((now - START, self.tenant.number, why, receivers))

    def opened(self, now: datetime, *, checked: bool) -> bool:
        """Whether the incident is open; what a check at this moment finds is known after it."""
        return next((level for at, level in reversed(self.levels) if at < now or (checked and at == now)), FINE) != FINE

    def held(self, now: datetime) -> bool:
        """Whether a silence or the route's quiet hours are in the way."""
        quiet = self.tenant.route.quiet_hours
        return (quiet is not None and "critical" in quiet.severities and quiet.when.ends_at(now) is not None) or any(
            silence.starts_at <= now < silence.ends_at for silence in self.tenant.silences
        )

    def acknowledged(self, now: datetime) -> bool:
        """Whether somebody has acknowledged the incident that is open now."""
        since = max(at for at, level in self.levels if at <= now and level != FINE)
        return any(since <= at < now for at in self.acks)


@pytest.mark.parametrize(("tenants", "days"), [(4, 2), pytest.param(20, 7, marks=pytest.mark.slow)])
def test_week(tenants: int, days: int) -> None:
    """Every message that the model expects is sent, in the same minute, to the same receivers, and no other one is."""
    random = Random(tenants + 1)
    everybody = [a_tenant(number, days, random) for number in range(1, tenants + 1)]
    story, acks, messages = live(everybody, days, random)
    for tenant in everybody:
        subject = str(tenant.number)
        levels = [(one.at, one.level) for one in story.transitions if one.incident.subject == subject]
        model = Model(tenant, levels, [ack.at for ack in acks if ack.subject == subject])
        assert [one for one in messages if one[1] == tenant.number] == model.expected(days)
    assert {why for _, _, why, _ in messages} == {"opened", "closed", "escalated", "reminder"}
    assert len(messages) > 3 * tenants * days // 2
