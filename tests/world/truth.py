"""
The truth of a world: its fleet and everything that happens to it, minute by minute.

Moments are seconds since the world's beginning, by the one clock that is never set.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random

from monitor.errors import Reason
from tests.world.texts import Cause

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Kind(StrEnum):
    """What happens."""

    BREAK = "break"  # one connection is refused until somebody repairs it
    GROUP = "group break"  # several break together, for one cause that a person must see to
    EXPIRY = "expiry"  # a token runs out
    VANISHED = "vanished"  # the connection is removed at PostPost
    PERMISSIONS = "permissions"  # a permission is withdrawn; the test passes
    POSTING = "posting error"  # a post fails although the connection works
    FLAP = "flapping"  # breaks and heals again and again
    LIE = "lie"  # the validator reports an error, the connection works
    BLIP = "blip"  # one connection is refused for a moment, and then no more
    PLATFORM = "platform outage"
    API = "API outage"
    KEY = "key refused"
    THROTTLE = "throttling"
    USER = "user detached"  # a managed user is no longer the account's
    SILENT = "unanswerable"  # one connection never gets an answer about itself
    SHORT_LIST = "short list"  # the list of an account lacks most connections for a while
    RESTART = "restart"  # a clean one
    KILL = "kill"  # and a while until the next start
    FREEZE = "freeze"  # the process stands still, its clocks go on
    SUSPEND = "suspend"  # the machine sleeps
    CLOCK = "clock set"
    RECEIVER = "receiver outage"


BROKEN = frozenset({Kind.BREAK, Kind.GROUP, Kind.EXPIRY, Kind.FLAP})
"""Kinds whose spells are genuine breaks."""

DOWN = frozenset({Kind.RESTART, Kind.KILL, Kind.FREEZE, Kind.SUSPEND})
"""Kinds while which nothing is checked."""

SERVICE = frozenset({Kind.API, Kind.KEY, Kind.THROTTLE, Kind.USER})
"""Kinds while which there are no answers about connections."""


@dataclass(frozen=True, slots=True)
class Spell:
    """A span during which one cause holds, and the platform's text for it."""

    begins: float
    ends: float
    cause: Cause
    text: str

    def holds(self, at: float) -> bool:
        """Whether it is so at that moment."""
        return self.begins <= at < self.ends


@dataclass(frozen=True, slots=True, eq=False)
class Occurrence:
    """
    One thing that happens.

    Attributes:
        members: numbers of the connections that it is about.
        spells: of a break, the spells of refusal, one after the other.
        where: the platform, or the account ("" for all).
        user: the managed user.
        reason: of an outage of the API, how it shows.
        status: of answers, the HTTP status.
        amount: seconds by which a clock is set, or the wait that throttling asks for.
        text: of a posting error.
        share: of a platform outage, the share of the tests that it fails.
        others: of a platform outage, other texts that some of the tests show.
    """

    kind: Kind
    begins: float
    ends: float
    members: tuple[int, ...] = ()
    spells: tuple[Spell, ...] = ()
    where: str = ""
    user: str = ""
    reason: Reason | None = None
    status: int = 0
    amount: float = 0.0
    text: str = ""
    share: float = 1.0
    others: tuple[str, ...] = ()

    def holds(self, at: float) -> bool:
        """Whether it is going on at that moment."""
        return self.begins <= at < self.ends

    def hides(self, member: "Member") -> bool:
        """Whether it hides the state of *member* while it goes on: nothing is asked, or nothing is answered about it."""
        if self.kind in SERVICE:
            return self.where in ("", member.account) and self.user in ("", member.user_id)
        return self.kind in DOWN or (self.kind in (Kind.PLATFORM, Kind.SILENT) and member.number in self.members)

    def spell(self, at: float) -> Spell | None:
        """The spell of refusal at that moment."""
        return next((spell for spell in self.spells if spell.holds(at)), None)

    def overlaps(self, begins: float, ends: float) -> bool:
        """Whether it goes on at any moment of this span."""
        return self.begins < ends and begins < self.ends


@dataclass(frozen=True, slots=True)
class Member:
    """
    One connection of the fleet.

    Attributes:
        lives: when its tokens end: (from when this token is held, when it ends), oldest first; empty where nothing is shown.
        posts: when a post is published, if the connection works.
    """

    number: int
    platform_id: str
    platform: str
    account: str
    user_id: str = ""
    lives: tuple[tuple[float, float], ...] = ()
    posts: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class World:
    """A fleet and what happens to it until *ends*."""

    seed: int
    ends: float
    members: Mapping[int, Member]
    accounts: tuple[str, ...]
    occurrences: tuple[Occurrence, ...]
    generation: str = "september"
    _by_member: dict[int, tuple[Occurrence, ...]] = field(default_factory=dict)

    def of(self, *kinds: Kind) -> Iterator[Occurrence]:
        """The occurrences of these kinds, in order."""
        return (each for each in self.occurrences if each.kind in kinds)

    def about(self, number: int) -> tuple[Occurrence, ...]:
        """The occurrences about one connection."""
        if number not in self._by_member:
            self._by_member[number] = tuple(each for each in self.occurrences if number in each.members)
        return self._by_member[number]

    def broken(self, number: int, at: float) -> tuple[Occurrence, Spell] | None:
        """The genuine break of a connection at that moment."""
        for each in self.about(number):
            spell = each.spell(at) if each.kind in BROKEN else None
            if spell is not None:
                return each, spell
        return None

    def shown(self, number: int, at: float) -> Spell | None:
        """What the platform answers to a test of the connection at that moment: trouble of the platform hides everything else."""
        hidden = None
        for each in self.about(number):
            spell = each.spell(at)
            if spell is not None and each.kind is Kind.PLATFORM:
                answer = Random(f"{number}/{at // MINUTE}")
                if each.share < 1.0 and answer.random() >= each.share:
                    continue
                return replace(spell, text=answer.choice((spell.text, *each.others))) if each.others else spell
            if spell is not None and (hidden is None or each.kind in BROKEN):
                hidden = spell
        return hidden

    def doing(self, number: int, at: float, *kinds: Kind) -> Occurrence | None:
        """What of these kinds goes on with a connection at that moment."""
        return next((each for each in self.about(number) if each.kind in kinds and each.holds(at)), None)

    def holding(self, at: float, *kinds: Kind) -> Occurrence | None:
        """The first occurrence of these kinds that goes on at that moment."""
        return next((each for each in self.of(*kinds) if each.holds(at)), None)
