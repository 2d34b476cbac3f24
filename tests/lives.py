"""
Random lives of a monitor before a simulated PostPost whose truth is known, and the judgement of what was told.

Connections break, heal, expire, are renewed, vanish and flap; the API goes down in many ways, the key is revoked, a user is detached,
tests crash, platforms fail as a whole, and the monitor is restarted. The judge knows what is true, not how the monitor comes to
believe it: it asserts that nothing false is told, and that nothing true is kept back for longer than is documented.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from monitor.config.sections.core import ScheduleSettings
from monitor.config.sections.policy import PolicySettings, policy_of
from monitor.domain.connections import Connection
from monitor.domain.events import Notification, NotificationReason, Topic
from monitor.domain.expiry.levels import threshold_of
from monitor.domain.reasons import Health
from monitor.domain.replies.verdicts import judge
from monitor.domain.schedule import pace
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.scopes.platform import hold_until
from monitor.errors import ApiError, Reason
from monitor.postpost.responses import parse_listing, parse_reply
from monitor.simulator.clock import ShiftedClock
from monitor.simulator.platforms import Generation
from monitor.simulator.presets import connection_like
from monitor.simulator.responses import list_document, verdict_document
from monitor.simulator.state import SimulatedApi, SimulatedConnection
from tests.builders import DAY, HOUR, MINUTE, START, a_connection
from tests.clock import FakeClock
from tests.configured import PLATFORM_TEXTS
from tests.patrol import Patrol
from tests.story import API_HOST, Story

INTERVAL = 15 * MINUTE
STEP = 5 * MINUTE
USER = "a" * 24
OTHER = "other"
IDS = (
    "linkedin-Aa1", "linkedin-Bb2", "linkedin-Cc3", "linkedin-Dd4", "linkedin-Ee5", "linkedin-Ff6", "threads-17841", "instagram-17841",
    "facebook-1048", "tiktok--0a1B", "youtube-UCa-1_b", "twitter-783", "mastodon-109", "telegram--100123", "telegram-1234",
    "bluesky-did:plc:ewvi", "pinterest-abc",
)  # fmt: skip
UNTESTABLE = ("telegram-1", "bluesky", "pinterest")
COUNTED_DOWN = frozenset({"linkedin", "threads", "instagram"})
OUTAGES = (
    Reason.API_DNS_FAILED, Reason.API_UNREACHABLE, Reason.API_TLS_EXPIRED, Reason.API_TIMEOUT, Reason.API_FAILED,
    Reason.PROXY_ANSWERED, Reason.CAPTIVE_PORTAL, Reason.REPLY_INVALID, Reason.API_NOT_FOUND, Reason.API_REDIRECTED,
)  # fmt: skip
DEATHS = (
    "", "Token has been revoked", "Request failed with status code 503", "Request failed with status code 403",
    "Channel is unavailable", "Something odd",
)  # fmt: skip
LEFT = (2 * HOUR, 20 * HOUR, 2 * DAY, 3 * DAY + 5 * HOUR, 7 * DAY + 5 * HOUR, 14 * DAY + 8 * HOUR)

API, ACCOUNT, USERS, SERVICE = f"api:{API_HOST}", "account:main", f"user:main/{USER}", f"service:{OTHER}"
WIDER: dict[str, tuple[str, ...]] = {API: (), ACCOUNT: (API,), USERS: (API, ACCOUNT), SERVICE: (API,)}
EVIDENCE = {"connection.failed": "error", "connection.missing": "missing", "connection.recovered": "fine"}

# How long after the truth, told plainly, it must have been told: a round of checks, three looks, a platform's suspicion.
PATIENCE = 40 * MINUTE

# What is gone is asked about twelve times more rarely.
PATIENCE_WITH_THE_GONE = PATIENCE + 12 * INTERVAL

# From the first check that meets trouble of a scope to its incident, and from its end to the end of that.
SCOPE_OPENS, SCOPE_CLOSES = 5 * MINUTE, 12 * MINUTE


@dataclass
class One:
    """One connection: its truth, the answers given about it, and since when nothing hides the truth."""

    simulated: SimulatedConnection
    connection: Connection
    crashing: bool = False
    level: str = "fine"
    aged_at: datetime = START - DAY
    plain_since: datetime = START
    turned: list[datetime] = field(default_factory=list)
    answers: list[tuple[datetime, str]] = field(default_factory=list)

    @property
    def number(self) -> int:
        """Of the connection."""
        return self.connection.id

    @property
    def scopes(self) -> tuple[str, ...]:
        """The names of the scopes above it that can hide its truth."""
        own = (SERVICE,) if self.connection.account == OTHER else (ACCOUNT, USERS) if self.connection.user_id else (ACCOUNT,)
        return (API, *own)

    def truth(self) -> str:
        """The level that ought to be told in the end."""
        if not self.simulated.known:
            return "missing"
        if self.simulated.platform_id.startswith(UNTESTABLE):
            return "fine"
        return "error" if self.simulated.dead is not None or self.simulated.is_past() else "fine"


@dataclass
class Trouble:
    """Wider trouble: since when it is there, or since when it is not."""

    there: bool = False
    since: datetime = START

    def set(self, there: bool, now: datetime) -> None:
        """It begins or ends *now*, if it did not before."""
        if there is not self.there:
            self.there, self.since = there, now


class Life:
    """One life, the same for the same *seed*; `live` raises AssertionError at the first thing that is told wrongly or not at all."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = SimulatedApi(ShiftedClock(FakeClock(START)))
        self.world.generation = self.rng.choice(list(Generation))
        owner = self.world.add_account("main", "sk").owner
        count = self.rng.choice((1, 2, 3, 8, len(IDS)))
        connections: dict[int, Connection] = {}
        self.ones: dict[int, One] = {}
        for number, platform_id in enumerate(self.rng.sample(IDS, count), 1):
            user_id = USER if count > 3 and number % 5 == 0 else ""
            account = OTHER if count > 3 and seed % 2 and number % 5 in (1, 2) else "main"
            connections[number] = a_connection(
                number, platform_id=platform_id, user_id=user_id, account=account, interval=INTERVAL, name=None
            )
            self.ones[number] = One(owner.connect(connection_like(self.world, platform_id)), connections[number])
        self.story = Story(connections=connections, policy=policy_of(PolicySettings(), ScheduleSettings(interval=INTERVAL)))
        self.patrol = Patrol(self.story)
        self.outage: tuple[Reason, ...] = ()
        self.revoked = self.detached = self.failing = False
        self.troubles = {name: Trouble() for name in WIDER}
        self.wakes: list[tuple[datetime, int, str, Callable[[], object]]] = []
        self.log: list[str] = []
        self._judged = 0
        self._restarted_at = START

    def live(self, span: timedelta, calm: timedelta = 8 * HOUR) -> None:
        """Let *span* pass with accidents, then *calm* without; judges all along, and the end."""
        end = self.story.now + span
        for _ in range(self.rng.randrange(4, 30)):
            self._plan_accident(self.story.now + self.rng.random() * span)
        for _ in range(self.rng.randrange(0, 8)):
            self._at(self.story.now + self.rng.random() * span, "restart", self._restart)
        self._run(end)
        self.wakes.clear()
        self._mend()
        self._run(end + calm)
        self._judge_the_end()

    def _run(self, end: datetime) -> None:
        list_at = self.story.now + 7 * MINUTE
        while self.story.now < end:
            while self.wakes and self.wakes[0][0] <= self.story.now:
                _, _, words, action = self.wakes.pop(0)
                self.log.append(f"{self.story.now:%d %H:%M:%S} {words}")
                action()
            self._notice()
            self.patrol.run(STEP, self._answer)
            self._notice()
            if self.story.now >= list_at:
                list_at += HOUR
                self._list()
            self._judge_what_was_told()
            self._judge_what_was_not()

    # accidents

    def _plan_accident(self, begins: datetime) -> None:
        lasts = self.rng.choice((MINUTE, 10 * MINUTE, 40 * MINUTE, 3 * HOUR, 10 * HOUR, 30 * HOUR)) * self.rng.uniform(0.5, 1.5)
        one = self.rng.choice(list(self.ones.values()))
        name, kind = one.simulated.platform_id, self.rng.randrange(15)
        if kind < 6:
            text = self.rng.choice(DEATHS)
            self._accident(begins, lasts, f"break {name} {text}", lambda: one.simulated.fail(text), one.simulated.heal)
        elif kind == 6:
            self._accident(begins, lasts, f"vanish {name}", one.simulated.vanish, one.simulated.heal)
        elif kind == 7 and len(self.ones) > 3:
            self._accident(begins, lasts, f"crash {name}", lambda: setattr(one, "crashing", True), lambda: setattr(one, "crashing", False))
        elif kind == 8:
            left = self.rng.choice(LEFT)
            self._accident(begins, lasts, f"age {name} {left}", lambda: self._age(one, left), lambda: self._renew(one))
        elif kind == 9:
            reasons = tuple(self.rng.sample(OUTAGES, self.rng.choice((1, 1, 3))))
            self._accident(
                begins, lasts, f"outage {reasons}", lambda: setattr(self, "outage", reasons), lambda: setattr(self, "outage", ())
            )
        elif kind == 10:
            self._accident(begins, lasts, "revoke", lambda: setattr(self, "revoked", True), lambda: setattr(self, "revoked", False))
        elif kind == 11:
            self._accident(begins, lasts, "detach", lambda: setattr(self, "detached", True), lambda: setattr(self, "detached", False))
        elif kind == 12:
            self._accident(begins, lasts, "one account", lambda: setattr(self, "failing", True), lambda: setattr(self, "failing", False))
        else:
            text = self.rng.choice(DEATHS)
            others = [other.simulated for other in self.ones.values() if other.simulated.platform == one.simulated.platform]
            self._accident(
                begins,
                lasts,
                f"platform {one.simulated.platform} {text}",
                partial(_for_all, others, lambda other: other.fail(text)),
                partial(_for_all, others, SimulatedConnection.heal),
            )

    def _accident(self, begins: datetime, lasts: timedelta, words: str, begin: Callable[[], object], finish: Callable[[], object]) -> None:
        self._at(begins, words, begin)
        self._at(begins + lasts, f"end of {words}", finish)

    def _at(self, moment: datetime, words: str, action: Callable[[], object]) -> None:
        self.wakes.append((moment, len(self.wakes), words, action))
        self.wakes.sort(key=lambda wake: wake[:2])

    def _age(self, one: One, left: timedelta) -> None:
        if one.simulated.ends_at is not None:
            one.simulated.expire_in(left)
            one.plain_since = one.aged_at = self.story.now

    def _renew(self, one: One) -> None:
        one.simulated.renew()
        one.plain_since = one.aged_at = self.story.now

    def _restart(self) -> None:
        self.patrol.start()
        self._restarted_at = self.story.now

    def _mend(self) -> None:
        self.outage, self.revoked, self.detached, self.failing = (), False, False, False
        for one in self.ones.values():
            one.crashing = False
            one.simulated.heal()
            self._renew(one)

    # what the API answers

    def _answer(self, number: int) -> Reason:
        one, connection = self.ones[number], self.story.connections[number]
        self.world.clock.set_to(self.story.now)
        self.story.replies.pop(number, None)
        refusal = self._refusal(one)
        if refusal is None:
            body = json.dumps(verdict_document(self.world, one.simulated)).encode()
            reply = self.story.replies[number] = parse_reply(body, connection.platform_id)
            verdict = judge(reply, connection, texts=PLATFORM_TEXTS)
        else:
            verdict = judge(ApiError(refusal), connection)
        if refusal in (None, Reason.CONNECTION_MISSING):
            one.answers.append((self.story.now, one.truth()))
        return verdict.reason

    def _refusal(self, one: One) -> Reason | None:
        if self.outage:
            return self.rng.choice(self.outage)
        if self.failing and SERVICE in one.scopes:
            return Reason.API_FAILED
        if self.revoked and ACCOUNT in one.scopes:
            return Reason.API_UNAUTHORIZED
        if self.detached and USERS in one.scopes:
            return Reason.USER_NOT_MANAGED
        if one.crashing:
            return Reason.API_VALIDATOR_FAILED
        return None if one.simulated.known else Reason.CONNECTION_MISSING

    def _list(self) -> None:
        if self.outage:
            return
        document = list_document(self.world, self.world.accounts["main"].owner.connections)
        rows = {row.platform_id: row for row in parse_listing(json.dumps(document).encode()).rows}
        for number, one in self.ones.items():
            row = rows.get(one.simulated.platform_id)
            if row is not None and self._refusal(one) in (None, Reason.API_VALIDATOR_FAILED):
                self.story.learn(row, number)

    # what is true, and what hides it

    def _notice(self) -> None:
        now = self.story.now
        self.world.clock.set_to(now)
        self.troubles[API].set(bool(self.outage), now)
        self.troubles[ACCOUNT].set(self.revoked and bool(self._below(ACCOUNT)), now)
        self.troubles[USERS].set(self.detached and bool(self._below(USERS)), now)
        self.troubles[SERVICE].set(self.failing and len(self._below(SERVICE)) > 1, now)
        for one in self.ones.values():
            if one.truth() != one.level:
                one.level = one.truth()
                one.turned = [*one.turned[-20:], now]
                one.plain_since = now
            if self._is_hidden(one):
                one.plain_since = now

    def _is_hidden(self, one: One) -> bool:
        return self._refusal(one) not in (None, Reason.CONNECTION_MISSING) or self._covered_by(one) is not None

    def _below(self, name: str) -> list[One]:
        return [one for one in self.ones.values() if name in one.scopes]

    def _covered_by(self, one: One) -> str | None:
        """The scope whose incident is open above the connection, or may be about to open."""
        above = self.story.engine.scopes_above(one.connection)
        for name in (*one.scopes, str(above.platform), str(above.group)):
            state = self.story.scopes.get(name)
            until = hold_until(state, self.story.policy.scopes) if state is not None and state.kind == "platform" else None
            if state is not None and (state.open or (until is not None and until > self.story.now)):
                return name
        return None

    # the judgement

    def _judge_what_was_told(self) -> None:
        for told in self.story.notifications[self._judged :]:
            change = f"{told.level_from} -> {told.level_to}, {told.reason}"
            self.log.append(f"{told.at:%d %H:%M:%S}     told {told.incident.subject} {told.type} {change}")
            if told.connection_id is None:
                self._judge_scope(told)
            elif told.incident.topic is Topic.CONNECTION:
                self._judge_single(told, self.ones[told.connection_id])
            else:
                self._judge_token(told, self.ones[told.connection_id])
        self._judged = len(self.story.notifications)

    def _judge_scope(self, told: Notification) -> None:
        name = told.incident.subject
        if told.why is NotificationReason.OPENED and name in self.troubles:
            assert self.troubles[name].there or told.at - self.troubles[name].since <= STEP, f"{name} is not in trouble"
        if told.why is NotificationReason.OPENED and name.startswith(("platform:", "group:")):
            key = ScopeKey.parse(name)
            below = [one for one in self.ones.values() if key in self.story.engine.scopes_above(one.connection).all]
            broken = [one for one in below if one.level == "error"]
            assert len(broken) >= 2, f"{len(broken)} connections of {name} are broken"

    def _judge_single(self, told: Notification, one: One) -> None:
        before = [level for moment, level in one.answers if moment <= told.at]
        expected = EVIDENCE.get(told.type.value)
        if expected is not None:
            assert before, f"{told.type} of {one.number} without any answer"
            assert before[-1] == expected, f"{told.type} of {one.number}, which was {before[-1]} by its last answer"
        if told.type.value == "connection.stale":
            silent = told.at - max([START, *(moment for moment, _ in one.answers if moment <= told.at)])
            assert silent >= 3 * INTERVAL, f"{one.number} was answered {silent} ago"

    def _judge_token(self, told: Notification, one: One) -> None:
        if told.level_to in ("fine", "expired"):
            ended = one.level == "error" or one.simulated.flagged
            assert told.level_to == "fine" or ended, f"the token of {one.number} has not ended"
            return
        if told.at - one.aged_at <= HOUR + STEP:
            return  # the list, which tells the date, may be older
        threshold, ends_at = threshold_of(told.level_to), one.simulated.ends_at
        assert ends_at is not None, f"{one.number} has no end"
        assert one.simulated.platform in COUNTED_DOWN | {"tiktok"}, f"{one.simulated.platform} renews by itself"
        assert threshold is None or ends_at - told.at <= threshold + MINUTE, f"{one.number} has {ends_at - told.at} left"

    def _judge_what_was_not(self) -> None:
        for name in self.troubles:
            self._judge_silence_about(name)
        for one in self.ones.values():
            state = self.story.state(one.number)
            plain = self.story.now - one.plain_since
            if plain < (PATIENCE_WITH_THE_GONE if state.health is Health.MISSING else PATIENCE):
                continue
            told = state.topic(Topic.CONNECTION).notified.level
            wild = told == "flapping" and len([at for at in one.turned if at > self.story.now - 4 * HOUR]) >= 3
            assert told == one.level or wild, f"{one.simulated.platform_id} is {one.level} since {one.plain_since}, told is {told}"
            self._judge_countdown(one, plain)

    def _judge_silence_about(self, name: str) -> None:
        trouble, state = self.troubles[name], self.story.scopes.get(name)
        wider = WIDER[name]
        lasts = self.story.now - max([trouble.since, *(self.troubles[one].since for one in wider)])
        if any(self.troubles[one].there for one in wider):
            return
        is_open = state is not None and state.open
        # Single answers that accuse are not kept over a restart; a suspicion is.
        unbroken = min(lasts, self.story.now - self._restarted_at)
        if trouble.there and unbroken > SCOPE_OPENS + self._round(name):
            assert is_open, f"{name} is in trouble since {trouble.since}"
        if not trouble.there and lasts > SCOPE_CLOSES:
            assert not is_open, f"{name} is well since {trouble.since}"

    def _round(self, name: str) -> timedelta:
        """Within what time somebody below the scope is asked."""
        paces = (pace(one.connection, self.story.state(one.number), self.story.policy) for one in self._below(name))
        return STEP + min(paces)

    def _judge_countdown(self, one: One, plain: timedelta) -> None:
        ends_at, policy = one.simulated.ends_at, self.story.policy.expiry_for(one.simulated.platform)
        if one.simulated.platform not in COUNTED_DOWN or ends_at is None or one.level != "fine" or plain < policy.settle + 3 * HOUR:
            return
        left = ends_at - self.story.now
        told = self.story.state(one.number).topic(Topic.EXPIRY).notified.level
        crossed = [threshold for threshold in policy.thresholds if left < threshold - policy.settle - 90 * MINUTE]
        known = threshold_of(told)
        assert not crossed or (known is not None and known <= min(crossed)), f"{one.number} has {left} left, told is {told}"
        assert told == "fine" or left <= 1.2 * max(policy.thresholds), f"{one.number} has {left} left, told is {told}"

    def _judge_the_end(self) -> None:
        """After all is well, everybody knows it, and what was told of each topic is a chain without gaps."""
        for one in self.ones.values():
            for topic, value in self.story.state(one.number).topics.items():
                assert value.notified.level == "fine", f"{topic} of {one.number} is told as {value.notified.level}"
        assert [name for name, state in self.story.scopes.items() if state.open or state.topic.notified.level != "fine"] == []
        last: dict[tuple[str, str], str] = {}
        for told in self.story.notifications:
            if told.why in (NotificationReason.REMINDER, NotificationReason.NOTICE):
                continue
            key = (told.incident.subject, told.incident.topic.value)
            merged = told.level_from == "expired"  # told within the failure that it caused
            assert merged or told.level_from == last.get(key, "fine"), f"before {told.type} of {told.incident.subject} one is missing"
            last[key] = told.level_to


def _for_all(connections: list[SimulatedConnection], action: Callable[[SimulatedConnection], object]) -> None:
    for connection in connections:
        action(connection)
