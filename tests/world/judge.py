"""
The judgement of what was told in a world, against its truth.

A message is right, or it is false, superfluous, told twice, a false recovery, or names a wrong cause; what had to be told and was not
is missing, late or lost. Every judgement but "right" is a `Finding` that says when, about what, what was true, and why.
"""

from dataclasses import dataclass, field

from monitor.domain.events import FINE, EventType, NotificationReason, Severity, Topic
from monitor.domain.reasons import advice_of
from monitor.domain.scopes.key import ScopeKey
from tests.world.generate import COUNTED_DOWN
from tests.world.run import Message, Run
from tests.world.score import Fault, Finding, Score, clock, span
from tests.world.truth import BROKEN, DAY, DOWN, HOUR, MINUTE, SERVICE, Kind, Member, Occurrence, Spell, World

# A message may be decided by an answer that is so old.
_GRACE = 75.0

# Whatever can be seen for so long must be told, or told to be over.
_PATIENCE = 50 * MINUTE
# What clears by itself is held back for half an hour, and then looked at once more.
_PATIENCE_WITH_TROUBLE = 90 * MINUTE
# Trouble of a platform that is told sooner was not held back.
_HELD = 25 * MINUTE
# Undisturbed, a break is told within a round of checks and a second look.
_PUNCTUAL = 25 * MINUTE

# How long a wide cause lasts before it must be told; below, it must not be a page.
LONG: dict[Kind, float] = {
    Kind.PLATFORM: 75 * MINUTE,
    Kind.API: 20 * MINUTE,
    Kind.KEY: 25 * MINUTE,
    Kind.THROTTLE: 55 * MINUTE,
    Kind.USER: 40 * MINUTE,
}
SHORT: dict[Kind, float] = {
    Kind.PLATFORM: 30 * MINUTE,
    Kind.API: 10 * MINUTE,
    Kind.KEY: 5 * MINUTE,
    Kind.THROTTLE: 10 * MINUTE,
    Kind.USER: 5 * MINUTE,
}

# A token in its last day is told so within this time of looking at it.
_LAST_DAY_PATIENCE = 2 * HOUR

_FAILURES = frozenset({"error", "missing", "misconfigured"})
_FLAP_MESSAGES = 4


@dataclass(slots=True)
class Telling:
    """How one connection's part in an occurrence was told: when, with which reasons, and when it was told to be over."""

    at: float
    reasons: list[tuple[float, str]] = field(default_factory=list)
    over_at: float | None = None
    by: str = ""


def score(run: Run) -> Score:
    """Judge everything that was told in *run*, and what was not."""
    judge = _Judge(run)
    for message in run.messages:
        judge.judge(message)
    judge.conclude()
    return judge.score


class _Judge:
    def __init__(self, run: Run) -> None:
        self.run = run
        self.world: World = run.world
        self.score = Score()
        self.tellings: dict[tuple[int, int], Telling] = {}
        self.wide: dict[int, list[Message]] = {}
        self.over: dict[int, list[Message]] = {}
        self.thresholds: set[tuple[int, float, float]] = set()
        self.expiring: dict[int, float] = {}
        self.single: dict[tuple[int, str], list[Message]] = {}
        self.recovered: dict[int, float] = {}
        self.reminded: dict[int, float] = {}
        self.wrong: set[int] = set()
        self.posts_of_unseen: set[int] = set()

    # ---- one message after the other

    def judge(self, message: Message) -> None:
        """Take in the next message."""
        sent = message.notification
        self.score.messages += 1
        self.score.reminders += sent.why is NotificationReason.REMINDER
        if message.number is None:
            self._of_scope(message)
        elif sent.incident.topic is Topic.CONNECTION:
            self._of_connection(message, message.number)
        elif sent.incident.topic in (Topic.EXPIRY, Topic.RENEWAL):
            self._of_token(message, message.number)
        elif sent.incident.topic is Topic.PUBLISHING:
            self._of_posting(message, message.number)
        else:
            self._of_kind(message, message.number, Kind.PERMISSIONS)

    def _of_connection(self, message: Message, number: int) -> None:
        sent = message.notification
        if sent.level_to == FINE or sent.type is EventType.CONNECTION_CLOSED:
            self._over(message, number)
        elif sent.why is NotificationReason.REMINDER:
            self._reminder(message, number)
        elif sent.type is EventType.CONNECTION_FLAPPING:
            self._flapping(message, number)
        elif sent.level_to == "missing":
            self._of_kind(message, number, Kind.VANISHED)
        elif sent.level_to in _FAILURES:
            self._failed(message, number)
        elif self.world.doing(number, message.at, Kind.SILENT) is not None:
            self._of_kind(message, number, Kind.SILENT)
        else:
            self._fault(Fault.FALSE_PAGE, message, f"{sent.level_to}, although it could be tested whenever the monitor looked")

    def _failed(self, message: Message, number: int) -> None:
        """A connection is told as broken."""
        found = self._recently(number, message.at, *BROKEN)
        outage = self._recently(number, message.at, Kind.PLATFORM)
        reason = message.notification.reason or ""
        if found is not None and (outage is None or str(reason) in found[1].cause.reasons or message.at > outage[1].ends):
            self._urgency(message, found[1])
            self._tell(message, number, found[0])
            return
        if outage is not None:
            if self._is_only_one(number, message.at, outage[0]):
                self._wide_told(message, outage[0])
                return
            self.wide.setdefault(id(outage[0]), []).append(message)
            self._of_trouble(message, outage[0], "the platform is out, not this connection")
            return
        lie = self._recently(number, message.at, Kind.LIE)
        if lie is not None:
            self._lie(message, lie[0])
            return
        blip = self._recently(number, message.at, Kind.BLIP)
        if blip is not None:
            self._of_trouble(message, blip[0], "a passing trouble of the platform, over before it is worth a word")
            return
        self._fault(Fault.FALSE_PAGE, message, "it works")

    def _is_only_one(self, number: int, at: float, outage: Occurrence) -> bool:
        """Whether no other connection of an outage can be tested: nothing shows that it is the platform's."""
        others = (each for each in outage.members if each != number)
        return all(self.world.doing(each, at, Kind.VANISHED, Kind.SILENT) is not None for each in others)

    def _urgency(self, message: Message, spell: Spell) -> None:
        """What clears by itself is no page, and not told at once; what somebody must do is a page."""
        sent = message.notification
        named = str(sent.reason) in spell.cause.reasons
        if not spell.cause.act and named and sent.severity is Severity.CRITICAL:
            self._fault(Fault.FALSE_PAGE, message, "a page about what clears by itself")
        elif not spell.cause.act and named and message.at - spell.begins < _HELD:
            self._fault(Fault.SUPERFLUOUS, message, "told before it has lasted")
        elif spell.cause.act and sent.severity is not Severity.CRITICAL and not sent.facts.suspected_false_negative:
            self._fault(Fault.WRONG_CAUSE, message, f"somebody must act, and it is told as {sent.severity}")

    def _tell(self, message: Message, number: int, event: Occurrence) -> None:
        """A genuine break is told: for the first time, again, or with another cause."""
        reason = str(message.notification.reason or "")
        key = (id(event), number)
        telling = self.tellings.get(key)
        if event.kind is Kind.GROUP and telling is None:
            self._of_group(message, event, self.wide, "about")
        if event.kind is Kind.FLAP:
            self._flap_message(message, event)
        if telling is None:
            self.tellings[key] = Telling(message.at, [(message.at, reason)], by=message.notification.type.value)
            return
        known = telling.reasons[-1][1]
        telling.reasons.append((message.at, reason))
        if telling.over_at is not None:
            telling.over_at = None
            if event.kind is not Kind.FLAP:
                self._fault(Fault.TWICE, message, "told again after it was told to be over, without a good moment between")
        elif message.notification.why is NotificationReason.CHANGED and (
            reason != known or message.notification.facts.suspected_false_negative
        ):
            return
        elif event.kind is not Kind.FLAP:
            self._fault(Fault.TWICE, message, f"told already by {telling.by}")

    def _of_group(self, message: Message, event: Occurrence, told: dict[int, list[Message]], about: str) -> None:
        """Those that break together are told together: one message that it is so, one that it is over."""
        messages = told.setdefault(id(event), [])
        messages.append(message)
        if len(messages) > 1:
            self._fault(Fault.SUPERFLUOUS, message, f"message {len(messages)} {about} one group break")

    def _lie(self, message: Message, lie: Occurrence) -> None:
        told = self.wide.setdefault(id(lie), [])
        told.append(message)
        if (
            len(told) == 2
            and message.notification.why is NotificationReason.CHANGED
            and message.notification.severity is not Severity.CRITICAL
        ):
            return  # the page is taken back as far as it can be: a post has succeeded since
        if len(told) > 1:
            self._fault(Fault.FALSE_PAGE, message, "a validator that lies was told already")
        else:
            self.score.lies += 1
            self._fault(Fault.LIE, message, "the validator reports an error, and the connection works")

    def _of_trouble(self, message: Message, event: Occurrence, why: str) -> None:
        """A single connection is told for a trouble that is not its own."""
        del event
        critical = message.notification.severity is Severity.CRITICAL
        self._fault(Fault.FALSE_PAGE if critical else Fault.SUPERFLUOUS, message, why)

    def _flapping(self, message: Message, number: int) -> None:
        found = self._recently(number, message.at, Kind.FLAP, within=HOUR) or self._during(number, message.at, Kind.FLAP)
        if found is None:
            self._fault(Fault.FALSE_PAGE, message, "it does not flap")
            return
        event = found[0]
        self._flap_message(message, event)
        self.tellings.setdefault((id(event), number), Telling(message.at, by="connection.flapping"))

    def _flap_message(self, message: Message, event: Occurrence) -> None:
        told = self.wide.setdefault(id(event), [])
        told.append(message)
        if len(told) > _FLAP_MESSAGES:
            self._fault(Fault.SUPERFLUOUS, message, f"message {len(told)} about one that flaps")

    def _reminder(self, message: Message, number: int) -> None:
        found = self._recently(number, message.at, *BROKEN)
        if found is None and self.world.doing(number, message.at, Kind.VANISHED, Kind.SILENT) is None:
            self._fault(Fault.FALSE_PAGE, message, "a reminder of a connection that works")
        elif message.at - self.reminded.get(number, -HOUR) < HOUR:
            self._fault(Fault.TWICE, message, "reminded within this hour already")
        self.reminded[number] = message.at

    def _over(self, message: Message, number: int) -> None:
        """A connection is told to work again, or to be watched no longer."""
        at = message.at
        if self.world.doing(number, at, Kind.VANISHED) is not None:
            self._of_kind(message, number, Kind.VANISHED)
            return
        silent = self._last(number, at, Kind.SILENT)
        if silent is not None and id(silent) in self.wide and id(silent) not in self.over:
            self._of_kind(message, number, Kind.SILENT)
            return
        found = self.world.broken(number, at)
        outage = self._during(number, at, Kind.PLATFORM)
        held = found[1] if found is not None else outage[0].spell(at) if outage is not None else None
        if held is not None and held.begins < at - 5 * MINUTE:
            self._fault(Fault.FALSE_RECOVERY, message, "it is still refused")
            return
        self.recovered[number] = at
        about = [(key[0], telling) for key, telling in self.tellings.items() if key[1] == number and telling.over_at is None]
        told = [telling for _, telling in about]
        for telling in told:
            telling.over_at = at
        group = next(
            (each for each in self.world.about(number) if each.kind is Kind.GROUP and each.begins <= at < each.ends + 2 * HOUR), None
        )
        if told and group is not None:
            self._of_group(message, group, self.over, "about the end of")
        event = self._last(number, at, Kind.PLATFORM, Kind.LIE, Kind.BLIP, Kind.FLAP)
        if told and (event is None or event.kind is not Kind.FLAP or any(key != id(event) for key, _ in about)):
            return
        if event is None:
            self._fault(Fault.SUPERFLUOUS, message, "nothing was told that could be over")
        elif event.kind is Kind.FLAP:
            self._flap_message(message, event)
        else:
            self.over.setdefault(id(event), []).append(message)
            if event.kind is Kind.PLATFORM and not self._is_only_one(number, event.begins, event):
                self._fault(Fault.SUPERFLUOUS, message, "the end of a platform's outage, told for one connection")

    # ---- tokens, posts, permissions

    def _of_token(self, message: Message, number: int) -> None:
        sent, at = message.notification, message.at
        if sent.level_to == FINE:
            self._renewed(message, number)
        elif sent.level_to == "expired":
            self._expired(message, number)
        elif sent.type is EventType.TOKEN_RENEWAL_OVERDUE:
            self._fault(Fault.FALSE_PAGE, message, "no renewal is overdue")
        else:
            threshold = sent.facts.threshold.total_seconds() if sent.facts.threshold is not None else 0.0
            ends = self._token_ends(number, at)
            if ends is None or ends - at > threshold * 1.02 + 10 * MINUTE:
                self._fault(Fault.FALSE_PAGE, message, f"its token lasts for {span(ends - at) if ends is not None else 'ever'}")
            elif (number, ends, threshold) in self.thresholds:
                self._fault(Fault.TWICE, message, "this threshold was told already")
            self.expiring[number] = at
            if ends is not None:
                self.thresholds.add((number, ends, threshold))

    def _expired(self, message: Message, number: int) -> None:
        found = self._recently(number, message.at, Kind.EXPIRY)
        if found is None:
            self._fault(Fault.FALSE_PAGE, message, "its token has not ended")
        elif message.notification.why is NotificationReason.REMINDER:
            self._reminder(message, number)
        elif (id(found[0]), number) in self.tellings:
            self._fault(Fault.TWICE, message, f"told already by {self.tellings[id(found[0]), number].by}")
        else:
            telling = Telling(message.at, [(message.at, "token_expired")], by=message.notification.type.value)
            self.tellings[id(found[0]), number] = telling

    def _renewed(self, message: Message, number: int) -> None:
        at = message.at
        if self.world.broken(number, at - 5 * MINUTE) and self.world.broken(number, at):
            self._fault(Fault.FALSE_RECOVERY, message, "it is still refused")
            return
        told = [telling for (_, member), telling in self.tellings.items() if member == number and telling.over_at is None]
        if at - self.recovered.get(number, -HOUR) < HOUR / 2:
            self._fault(Fault.SUPERFLUOUS, message, "its recovery was told already")
        elif told:
            for telling in told:
                telling.over_at = at
            self.recovered[number] = at
        elif number not in self.expiring:
            self._fault(Fault.SUPERFLUOUS, message, "nothing was told of this token")
        self.expiring.pop(number, None)

    def _token_ends(self, number: int, at: float) -> float | None:
        lives = self.world.members[number].lives
        return next((ends for since, ends in reversed(lives) if since <= at), None)

    def _of_posting(self, message: Message, number: int) -> None:
        if message.notification.level_to != FINE:
            found = self._during(number, message.at, Kind.POSTING)
            if found is None or found[0].text not in message.notification.detail:
                broken = self._last(number, message.at, *BROKEN, Kind.PLATFORM, Kind.VANISHED)
                slept = broken is not None and any(
                    each.begins <= broken.begins and broken.ends <= each.ends for each in self.world.of(*DOWN)
                )
                unseen = broken is not None and broken.kind in BROKEN and (id(broken), number) not in self.tellings
                if slept or unseen:
                    # The only sign of a break that was over before the monitor saw it.
                    self.posts_of_unseen.add(number)
                    return
                self._fault(Fault.SUPERFLUOUS, message, "the posting error of a break that is over" if broken else "no post failed")
                return
        elif number in self.posts_of_unseen:
            self.posts_of_unseen.discard(number)
            return
        self._of_kind(message, number, Kind.POSTING)

    def _of_kind(self, message: Message, number: int, kind: Kind) -> None:
        """A message of a topic that one kind of occurrence explains: each may open once and close once."""
        closing = message.notification.level_to == FINE
        event = self._last(number, message.at, kind)
        if event is None or (not closing and not event.holds(message.at - _GRACE) and not event.holds(message.at)):
            self._fault(Fault.SUPERFLUOUS if closing else Fault.FALSE_PAGE, message, f"no {kind}")
            return
        if closing and kind is not Kind.VANISHED and event.holds(message.at):
            self._fault(Fault.FALSE_RECOVERY, message, f"the {kind} is not over")
            return
        told = (self.over if closing else self.wide).setdefault(id(event), [])
        told.append(message)
        if len(told) > 1 and message.notification.why is not NotificationReason.REMINDER:
            self._fault(Fault.TWICE, message, f"told of this {kind} already")
        if closing and id(event) not in self.wide:
            self._fault(Fault.SUPERFLUOUS, message, "nothing was told that could be over")

    # ---- what is wider than a connection

    def _of_scope(self, message: Message) -> None:
        sent = message.notification
        key = ScopeKey.parse(sent.incident.subject)
        if sent.type in (EventType.RECEIVER_FAILING, EventType.RECEIVER_RECOVERED):
            self._of_wide(message, Kind.RECEIVER, "")
        elif key.kind == "limit":
            self._of_wide(message, Kind.THROTTLE, "")
        elif sent.type in (EventType.API_FAILED, EventType.API_RECOVERED) or key.kind == "api":
            self._of_wide(message, Kind.API, "")
        elif key.kind == "account":
            self._of_wide(message, Kind.KEY, key.name)
        elif key.kind == "user":
            self._of_wide(message, Kind.USER, key.name)
        elif sent.type is EventType.INVENTORY_CHANGED:
            self._of_wide(message, Kind.SHORT_LIST, key.name)
        elif key.kind == "rate":
            self._of_wide(message, Kind.THROTTLE, key.name)
        elif key.kind == "service":
            self._of_wide(message, Kind.API, key.name)
        elif self.covered(key):
            self._of_platform(message, key)
        else:
            self._fault(Fault.FALSE_PAGE, message, "nothing of the kind happens in this world")

    def covered(self, key: ScopeKey) -> tuple[int, ...]:
        """The connections below a scope that is narrower than an account."""
        return tuple(
            number
            for number, member in self.world.members.items()
            if member.platform == key.platform and (not key.account or (key.account, key.user) == (member.account, member.user_id))
        )

    def _of_wide(self, message: Message, kind: Kind, where: str) -> None:
        sent, at = message.notification, message.at
        closing = sent.level_to == FINE
        fitting = [each for each in self.world.of(kind) if where in ("", each.where) or each.where == ""]
        if closing:
            self._wide_over(message, next((each for each in reversed(fitting) if each.begins <= at), None))
            return
        event = next((each for each in fitting if each.holds(at) or each.holds(at - 2 * MINUTE)), None)
        if event is None:
            self._fault(Fault.FALSE_PAGE, message, f"there is no {kind}")
            return
        self._wide_told(message, event)

    def _wide_told(self, message: Message, event: Occurrence) -> None:
        told = self.wide.setdefault(id(event), [])
        told.append(message)
        urgent = message.notification.severity is Severity.CRITICAL
        if message.notification.why is NotificationReason.REMINDER:
            return
        if len(told) > 1:
            self._fault(Fault.SUPERFLUOUS, message, f"message {len(told)} about one {event.kind}")
        elif event.ends - event.begins < SHORT.get(event.kind, 0.0) and urgent:
            self._fault(Fault.FALSE_PAGE, message, f"a page about a {event.kind} of {span(event.ends - event.begins)}")
        elif event.kind is Kind.THROTTLE and urgent:
            self._fault(Fault.SUPERFLUOUS, message, "throttling is not worth a page")

    def _wide_over(self, message: Message, event: Occurrence | None) -> None:
        if event is None or id(event) not in self.wide:
            self._fault(Fault.SUPERFLUOUS, message, "nothing was told that could be over")
            return
        if event.holds(message.at) and event.holds(message.at - 2 * MINUTE):
            self._fault(Fault.FALSE_RECOVERY, message, f"the {event.kind} is not over")
            return
        told = self.over.setdefault(id(event), [])
        told.append(message)
        if len(told) > 1:
            self._fault(Fault.SUPERFLUOUS, message, f"message {len(told)} about the end of one {event.kind}")

    def _of_platform(self, message: Message, key: ScopeKey) -> None:
        """A message about a platform, or about those of it that share an account or a user."""
        sent, at, below = message.notification, message.at, self.covered(key)
        if sent.level_to == FINE:
            self._platform_over(message, below)
            return
        outage = next((found[0] for number in below if (found := self._recently(number, at, Kind.PLATFORM)) is not None), None)
        broken = [(number, found) for number in below if (found := self._recently(number, at, *BROKEN)) is not None]
        named = [(number, found[0]) for number, found in broken if str(sent.reason) in found[1].cause.reasons]
        if outage is not None and (not sent.reason or not advice_of(sent.reason).needs_action):
            if str(sent.reason) not in outage.spells[0].cause.reasons:
                self._fault(Fault.WRONG_CAUSE, message, f"the cause is {outage.spells[0].cause.name}")
            self._wide_told(message, outage)
        elif len(named) > 1:
            self._group_told(message, named)
        elif len(broken) > 1:
            self._fault(Fault.WRONG_CAUSE, message, f"{len(broken)} of its connections are refused for another reason")
            self._group_told(message, [(number, found[0]) for number, found in broken], quiet=True)
        elif sent.why is not NotificationReason.REMINDER:
            self._fault(Fault.FALSE_PAGE, message, f"{len(broken)} of its {len(below)} connections are broken")

    def _group_told(self, message: Message, named: list[tuple[int, Occurrence]], *, quiet: bool = False) -> None:
        if message.notification.why is NotificationReason.REMINDER:
            return
        reason = str(message.notification.reason or "")
        fresh = False
        for number, event in named:
            telling = self.tellings.get((id(event), number))
            fresh = fresh or telling is None
            if telling is None:
                self.tellings[id(event), number] = Telling(message.at, [(message.at, reason)], by=message.notification.incident.subject)
            else:
                telling.reasons.append((message.at, reason))
        for event in {id(event): event for _, event in named if event.kind is Kind.GROUP}.values():
            if fresh:
                self._of_group(message, event, self.wide, "about")
        if not fresh and not quiet and message.notification.why is not NotificationReason.CHANGED:
            self._fault(Fault.TWICE, message, "all of these were told before")

    def _platform_over(self, message: Message, below: tuple[int, ...]) -> None:
        at = message.at
        outage = next((event for number in below if (event := self._last(number, at, Kind.PLATFORM)) is not None), None)
        subject = message.notification.incident.subject
        told = [(key, telling) for key, telling in self.tellings.items() if telling.by == subject and telling.over_at is None]
        broken = [key for key, _ in told if self.world.broken(key[1], at - 5 * MINUTE) and self.world.broken(key[1], at)]
        if broken or (outage is not None and outage.holds(at) and outage.holds(at - 5 * MINUTE)):
            self._fault(Fault.FALSE_RECOVERY, message, "still refused")
            return
        for (_, number), telling in told:
            telling.over_at = at
            self.recovered[number] = at
        groups = [each for each in self.world.of(Kind.GROUP) if any(key[0] == id(each) for key, _ in told)]
        for each in groups:
            self._of_group(message, each, self.over, "about the end of")
        if told:
            return
        self._wide_over(message, outage)

    # ---- what was not told

    def conclude(self) -> None:
        """Look for what is missing, late or lost, and count what happened."""
        for event in self.world.occurrences:
            if event.kind in (Kind.BREAK, Kind.EXPIRY, Kind.GROUP, Kind.FLAP) and event.spells:
                self._conclude_break(event)
            elif event.kind in LONG:
                self._conclude_wide(event)
            else:
                told = id(event) in self.wide
                self.score.events += (2 if id(event) in self.over else 1) * told
        self.score.wrong_causes += len(self.wrong)
        self._conclude_deliveries()
        for at, account in self.run.short_lists:
            self.score.messages += 1
            if not any(each.holds(at - HOUR) or each.holds(at) for each in self.world.of(Kind.SHORT_LIST) if each.where == account):
                self._finding(Fault.FALSE_PAGE, at, f"list of {account}", "all is well", "the list lacks nothing")
        for member in self.world.members.values():
            if member.platform in COUNTED_DOWN:
                self._conclude_countdown(member)
        self.score.events += len(self.thresholds) + sum(1 for event in self.world.of(Kind.EXPIRY) if not event.spells and self.thresholds)

    def _conclude_deliveries(self) -> None:
        """Every message reaches the receiver once, in order for each subject, as soon as it accepts anything."""
        self.score.requests += len(self.run.requests)
        if not self.run.requests:
            return
        arrived = [place for _, places in self.run.requests for place in places]
        for place, message in enumerate(self.run.messages):
            times = arrived.count(place)
            recent = self.world.ends - message.at < HOUR / 2
            hidden = any(each.overlaps(message.at, self.world.ends) for each in self.world.of(Kind.RECEIVER, *DOWN))
            if times > 1:
                self._fault(Fault.TWICE, message, f"delivered {times} times")
            elif not times and not recent and not hidden and place not in self.run.dropped:
                self._fault(Fault.LOST, message, "never delivered")
        subjects: dict[str, int] = {}
        for place in arrived:
            subject = self.run.messages[place].notification.incident.subject
            if place < subjects.get(subject, -1):
                self._fault(Fault.LOST, self.run.messages[place], "overtaken by a later message about the same")
            subjects[subject] = place

    def _conclude_countdown(self, member: Member) -> None:
        """A token that is about to end is told so within its last day, unless that was hidden or the day is not over."""
        renewed = [since for since, _ in member.lives[1:]]
        for (since, ends), until in zip(member.lives, [*renewed, self.world.ends], strict=True):
            begins = max(since, ends - DAY)
            last = min(until, ends, self.world.ends)
            broken = any(each.overlaps(begins, last) for each in self.world.about(member.number) if each.spells)
            if broken or self._visible(member.number, begins, last) < _LAST_DAY_PATIENCE:
                continue
            if not any(number == member.number and end == ends and left <= DAY for number, end, left in self.thresholds):
                why = f"its token lasts {span(ends - last)} more, and that was not told within its last day"
                self._finding(Fault.MISSING, last, member.platform_id, f"token until {clock(ends)}", why)

    def _conclude_break(self, event: Occurrence) -> None:
        self.score.events += 1 + len(event.spells[1:] if event.kind is not Kind.FLAP else ())
        self.score.events += event.ends < self.world.ends
        if event.kind is not Kind.FLAP:
            self.score.breaks += 1
        told = [self.tellings.get((id(event), number)) for number in event.members]
        required = [number for number in event.members if self._must_be_told(number, event)]
        missing = [number for number in required if (id(event), number) not in self.tellings]
        if event.kind is not Kind.FLAP:
            self.score.told += not missing
        for number in missing:
            self._missing(Fault.MISSING, event.begins, number, event, "never told")
        for number in event.members:
            telling = self.tellings.get((id(event), number))
            if telling is not None:
                self._conclude_telling(number, event, telling)
        first = min((telling.at for telling in told if telling is not None), default=None)
        if first is not None and event.kind is not Kind.FLAP and event.spells[0].cause.act:
            last = max(telling.at for telling in told if telling is not None)
            self._delay(event, last)

    def _delay(self, event: Occurrence, at: float) -> None:
        platforms = {self.world.members[number].platform for number in event.members}
        if event.begins < 0:
            return
        for each in self.world.occurrences:
            mine = each.kind in SERVICE or each.kind in DOWN or each.kind is Kind.CLOCK
            mine = mine or (each.kind in (Kind.PLATFORM, Kind.GROUP) and each.where in platforms and each is not event)
            if mine and each.overlaps(event.begins - HOUR, at + 1.0):
                return
        self.score.delays.append(at - event.begins)
        if at - event.begins > _PUNCTUAL:
            self._missing(Fault.LATE, at, event.members[0], event, f"told after {span(at - event.begins)}")

    def _must_be_told(self, number: int, event: Occurrence) -> bool:
        spells = event.spells if event.kind is not Kind.FLAP else ()
        return any(
            self._visible(number, spell.begins, spell.ends) >= (_PATIENCE if spell.cause.act else _PATIENCE_WITH_TROUBLE)
            for spell in spells
        )

    def _conclude_telling(self, number: int, event: Occurrence, telling: Telling) -> None:
        wrong = False
        for spell in event.spells if event.kind is not Kind.FLAP else ():
            if self._visible(number, spell.begins, spell.ends) < (_PATIENCE if spell.cause.act else _PATIENCE_WITH_TROUBLE):
                continue
            reasons = [reason for at, reason in telling.reasons if spell.begins <= at <= spell.ends + _GRACE]
            right = [reason in spell.cause.reasons for reason in reasons]
            wrong = wrong or not all(right)
            if not any(right) and spell.cause.act:
                named = ", ".join(dict.fromkeys(reasons)) or "nothing"
                self.score.never_corrected += 1
                self._missing(
                    Fault.WRONG_CAUSE, spell.begins, number, event, f"{spell.cause.name} (“{spell.text[:60]}”) was told as {named}"
                )
        if wrong:
            self.wrong.add(id(event))
        well = self._visible(number, event.ends, self._next_trouble(number, event.ends))
        if telling.over_at is None and well >= _PATIENCE:
            self._missing(Fault.LOST, event.ends, number, event, "never told to be over")

    def _next_trouble(self, number: int, after: float) -> float:
        return min((each.begins for each in self.world.about(number) if each.begins > after and each.spells), default=self.world.ends)

    def _conclude_wide(self, event: Occurrence) -> None:
        opened, over = self.wide.get(id(event), []), self.over.get(id(event), [])
        lasts = event.ends - event.begins
        fresh = [message for message in opened if message.notification.why is not NotificationReason.REMINDER]
        self.score.events += 2 * (bool(opened) or lasts >= LONG[event.kind])
        if event.kind is Kind.PLATFORM and lasts >= SHORT[event.kind]:
            self.score.per_platform.append((len(event.members), len(fresh), len(over)))
        if event.kind is Kind.API and lasts >= SHORT[event.kind]:
            self.score.per_api.append((len(fresh), len(over)))
        down = any(each.overlaps(event.begins, event.ends + HOUR) for each in self.world.occurrences if each.kind in DOWN)
        hidden = any(each.overlaps(event.begins, event.ends + HOUR) for each in self.world.of(*SERVICE) if each is not event)
        if lasts < LONG[event.kind] or down or hidden:
            return
        if not opened:
            self._finding(Fault.MISSING, event.begins, _name(event), _name(event), "never told")
        elif not over:
            self._finding(Fault.LOST, event.ends, _name(event), _name(event), "never told to be over")

    def _visible(self, number: int, begins: float, ends: float) -> float:
        """For how long at a stretch the connection's own state could be seen in this span."""
        member = self.world.members[number]
        hiding = [
            (max(begins, each.begins), min(ends, each.ends))
            for each in self.world.occurrences
            if each.overlaps(begins, ends) and each.hides(member)
        ]
        longest, free_from = 0.0, begins
        for start, end in sorted(hiding):
            longest = max(longest, start - free_from)
            free_from = max(free_from, end)
        return max(longest, ends - free_from)

    # ---- what was true

    def _recently(self, number: int, at: float, *kinds: Kind, within: float = _GRACE) -> tuple[Occurrence, Spell] | None:
        """The occurrence of these kinds whose spell holds at a moment, or held a little before."""
        for moment in (at, at - within):
            for each in self.world.about(number):
                spell = each.spell(moment) if each.kind in kinds else None
                if spell is not None:
                    return each, spell
        return None

    def _during(self, number: int, at: float, *kinds: Kind) -> tuple[Occurrence, float] | None:
        found = self.world.doing(number, at, *kinds)
        return None if found is None else (found, found.begins)

    def _last(self, number: int, at: float, *kinds: Kind) -> Occurrence | None:
        """The latest occurrence of these kinds that has begun."""
        return next((each for each in reversed(self.world.about(number)) if each.kind in kinds and each.begins <= at), None)

    def _fault(self, fault: Fault, message: Message, why: str) -> None:
        name = self.world.members[message.number].platform_id if message.number is not None else message.notification.incident.subject
        self._finding(fault, message.at, name, self._truth(message), why, message)

    def _truth(self, message: Message) -> str:
        about = self.world.about(message.number) if message.number is not None else self.world.occurrences
        near = [each for each in about if each.holds(message.at)] or [
            each for each in about if each.overlaps(message.at - 2 * HOUR, message.at)
        ]
        wider = [each for each in self.world.occurrences if not each.members and each.overlaps(message.at - HOUR / 2, message.at + 1.0)]
        return "; ".join(dict.fromkeys(map(_name, [*near[:3], *wider[:3]]))) or "all is well"

    def _missing(self, fault: Fault, at: float, number: int, event: Occurrence, why: str) -> None:
        self._finding(fault, at, self.world.members[number].platform_id, _name(event), why)

    def _finding(self, fault: Fault, at: float, who: str, truth: str, why: str, message: Message | None = None) -> None:
        self.score.findings.append(Finding(fault, at, who, truth, why, message))


def _name(event: Occurrence) -> str:
    """An occurrence in a report."""
    words = [event.kind.value]
    if event.where:
        words.append(f"of {event.where}")
    words.append(f"{clock(event.begins)} to {clock(event.ends)}")
    if event.spells:
        words.append("(" + ", then ".join(f"{spell.cause.name}: {spell.text[:50]}" for spell in event.spells[:3]) + ")")
    return " ".join(words)
