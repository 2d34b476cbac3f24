"""Worlds from a seed: the fleet, and what happens to it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from monitor.errors import Reason
from tests.world import texts
from tests.world.texts import Cause
from tests.world.truth import DAY, DOWN, HOUR, MINUTE, SERVICE, Kind, Member, Occurrence, Spell, World

_WIDE: Mapping[str, int] = {
    "linkedin": 12, "instagram": 10, "twitter": 9, "facebook": 8, "threads": 6, "tiktok": 5, "youtube": 5, "mastodon": 3, "telegram": 2,
}  # fmt: skip
"""The wide fleet: nine platforms, sixty connections."""

ACCOUNTS = ("main", "agency", "client")
USERS = ("6626a1f5e4b0c91a2d3f4567", "6626a1f5e4b0c91a2d3f4568")
"""The managed users of the second account."""

_LIFE: Mapping[str, float] = {"linkedin": 60 * DAY, "instagram": 60 * DAY, "threads": 60 * DAY, "facebook": 59 * DAY, "tiktok": 180 * DAY}
COUNTED_DOWN = ("linkedin", "instagram", "threads")

# Nothing happens before everything was checked twice.
_WARM_UP = 2 * HOUR
# What is repaired is repaired so long before the end that it can be told.
_COOL_DOWN = 2 * HOUR

_WIDE_FLEET = 30
"""Fewer connections are a small fleet."""

_PAIR = 2

_OUTAGES = (
    Reason.API_FAILED, Reason.API_FAILED, Reason.API_TIMEOUT, Reason.API_UNREACHABLE, Reason.API_DNS_FAILED, Reason.PROXY_ANSWERED, Reason.REPLY_NOT_JSON,
)  # fmt: skip
_POSTING_ERRORS = ("Media upload failed: Invalid image format", "Text is too long: 312 of 280 characters", "Duplicate content")


@dataclass
class _Draft:
    """A world in the making."""

    random: Random
    ends: float
    members: dict[int, Member]
    accounts: tuple[str, ...]
    occurrences: list[Occurrence] = field(default_factory=list)

    def free(self, number: int, begins: float, ends: float, *, margin: float = 3 * HOUR) -> bool:
        """Whether nothing else happens to the connection itself in this span."""
        own = (each for each in self.occurrences if number in each.members and each.kind is not Kind.PLATFORM)
        return not any(each.overlaps(begins - margin, ends + margin) for each in own)

    def one(self, begins: float, ends: float, *platforms: str) -> Member | None:
        """A connection, of these platforms if any are given, to which nothing else happens in this span."""
        choice = [member for member in self.members.values() if not platforms or member.platform in platforms]
        free = [member for member in choice if self.free(member.number, begins, ends)]
        return self.random.choice(free) if free else None

    def alone(self, begins: float, ends: float, *kinds: Kind, margin: float = HOUR) -> bool:
        """Whether nothing of these kinds happens in this span."""
        return not any(each.overlaps(begins - margin, ends + margin) for each in self.occurrences if each.kind in kinds)

    def moment(self, lasts: float) -> float:
        """A moment at which something so long may begin."""
        latest = max(_WARM_UP + MINUTE, self.ends - lasts - _COOL_DOWN)
        return self.random.uniform(_WARM_UP, latest)

    def of(self, platform: str) -> list[Member]:
        """The connections of a platform."""
        return [member for member in self.members.values() if member.platform == platform]

    def by_size(self) -> list[str]:
        """The platforms, the widest first."""
        names = dict.fromkeys(member.platform for member in self.members.values())
        return sorted(names, key=lambda name: -len(self.of(name)))


def generate(seed: int, days: float, *, small: bool = False, without: Sequence[Kind] = ()) -> World:
    """
    The world of *seed* that lasts so many *days*; the same for the same arguments.

    Args:
        small: a fleet of two to four connections on each of three to five platforms, instead of sixty.
        without: kinds that do not happen.
    """
    random = Random(f"{seed}/{days}/{small}")
    members = _fleet(random, small=small)
    accounts = tuple(dict.fromkeys(member.account for member in members.values()))
    draft = _Draft(random, days * DAY, members, accounts)
    for deal in _deck(draft):
        deal(draft)
    # From a generator of its own: the same seed keeps the rest of its world.
    draft.random = Random(f"more/{seed}/{days}/{small}")
    for _ in range(1 + round(days / 3)):
        draft.random.choice(_UNUSUAL)(draft)
    draft.random = random
    _tokens(draft)
    for number, member in draft.members.items():
        draft.members[number] = _with_posts(draft, member)
    occurrences = sorted((each for each in draft.occurrences if each.kind not in without), key=lambda each: each.begins)
    return World(seed, draft.ends, draft.members, accounts, tuple(occurrences), random.choice(("march", "september")))


def _fleet(random: Random, *, small: bool) -> dict[int, Member]:
    sizes = dict(_WIDE)
    if small:
        sizes = {name: random.randrange(2, 5) for name in random.sample(sorted(_WIDE), random.randrange(3, 6))}
    members: dict[int, Member] = {}
    for platform, size in sizes.items():
        for index in range(size):
            number = len(members) + 1
            # The first two thirds belong to one account: so do the pages of one person.
            account = ACCOUNTS[0] if small or platform == "facebook" or index < size / 2 else ACCOUNTS[1 + number % 2]
            user = USERS[number // 2 % len(USERS)] if account == ACCOUNTS[1] and number % 4 else ""
            members[number] = Member(number, _platform_id(random, platform, number), platform, account, user)
    return members


def _platform_id(random: Random, platform: str, number: int) -> str:
    digits = f"{random.randrange(10**9, 10**10)}{number:03d}"
    letters = "".join(random.choices("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", k=8))
    shapes = {
        "linkedin": f"{letters}{number}",
        "youtube": f"UC{letters}{number}",
        "tiktok": f"-0{letters}{number}",
        "telegram": f"-100{digits}",
    }
    return f"{platform}-{shapes.get(platform, digits)}"


_Deal = Callable[[_Draft], None]


def _deck(draft: _Draft) -> list[_Deal]:
    """What happens, drawn from a shuffled deck: about ten things a day to a wide fleet, at least eight to a short world."""
    days = draft.ends / DAY
    small = len(draft.members) < _WIDE_FLEET
    deck: list[_Deal] = [
        _break, _break, _break, _break, _break, _break, _break, _break,
        _platform_outage, _platform_outage, _api_outage, _api_outage, _short_api_outage,
        _group, _changing, _expiry, _expiry, _renewal, _blip, _blip, _lie, _posting_error, _posting_error,
        _key, _throttle, _restart, _kill, _freeze, _suspend, _clock, _receiver, _flapping, _permissions, _break_in_outage, _vanished,
        _trouble_of_one, _user, _unanswerable, _short_list, _broken_from_the_start, _longer_ago,
    ]  # fmt: skip
    count = max(8, round(days * (4 if small else 10)))
    cards: list[_Deal] = []
    while len(cards) < count:
        cards += draft.random.sample(deck, len(deck))
    return cards[:count]


def _break(draft: _Draft) -> None:
    lasts = min(draft.random.choice((1.5, 3, 6, 12, 30)) * draft.random.uniform(0.8, 1.4) * HOUR, draft.ends / 3)
    begins = draft.moment(lasts)
    _add_break(draft, begins, min(begins + lasts, draft.ends - _COOL_DOWN))


def _add_break(draft: _Draft, begins: float, ends: float, *platforms: str) -> None:
    if ends - begins < HOUR:
        return
    cause = draft.random.choice(texts.SINGLE)
    fitting = [name for name in draft.by_size() if cause.on(name) and (not platforms or name in platforms)]
    member = draft.one(begins, ends, *fitting) if fitting else None
    if member is None:
        return
    draft.occurrences.append(Occurrence(Kind.BREAK, begins, ends, (member.number,), (_spell(draft, member, begins, ends, cause),)))


def _spell(draft: _Draft, member: Member, begins: float, ends: float, cause: Cause) -> Spell:
    return Spell(begins, ends, cause, cause.text(member.platform, draft.random))


def _changing(draft: _Draft) -> None:
    """Trouble of the platform for one connection, and then, without a good moment between, something that a person must see to."""
    begins = draft.moment(8 * HOUR)
    turns = begins + draft.random.uniform(1.5, 3) * HOUR
    ends = min(turns + draft.random.uniform(3, 5) * HOUR, draft.ends - _COOL_DOWN)
    member = draft.one(begins, ends, *COUNTED_DOWN, "twitter", "facebook")
    if member is None or ends - turns < 1.5 * HOUR:
        return
    first = draft.random.choice((texts.TROUBLE, texts.TROUBLE, texts.LIMIT, texts.RIGHTS))
    if not first.on(member.platform):
        first = texts.TROUBLE
    spells = (_spell(draft, member, begins, turns, first), _spell(draft, member, turns, ends, texts.REVOKED))
    draft.occurrences.append(Occurrence(Kind.BREAK, begins, ends, (member.number,), spells))


def _group(draft: _Draft) -> None:
    """A person's password is changed: every page of theirs, in one account, is refused within minutes."""
    lasts = draft.random.uniform(2, 6) * HOUR
    begins = draft.moment(lasts)
    ends = min(begins + lasts, draft.ends - _COOL_DOWN)
    names = [name for name in ("facebook", "instagram", "threads") if len(draft.of(name)) > 1]
    if not names or ends - begins < 1.5 * HOUR:
        return
    platform = draft.random.choice(names)
    members = [each for each in draft.of(platform) if each.account == ACCOUNTS[0] and draft.free(each.number, begins, ends)]
    if len(members) < 2:
        return
    text = texts.PASSWORD.text(platform, draft.random)
    spells = (Spell(begins, ends, texts.PASSWORD, text),)
    draft.occurrences.append(Occurrence(Kind.GROUP, begins, ends, tuple(each.number for each in members), spells, where=platform))


def _platform_outage(draft: _Draft) -> None:
    lasts = draft.random.choice((15 * MINUTE, HOUR, 2 * HOUR, 5 * HOUR)) * draft.random.uniform(0.8, 1.3)
    _add_platform_outage(draft, draft.moment(lasts), lasts)


def _add_platform_outage(
    draft: _Draft, begins: float, lasts: float, causes: Sequence[Cause] = (texts.TROUBLE, texts.TROUBLE, texts.TROUBLE, texts.LIMIT)
) -> str | None:
    platform = draft.random.choice(draft.by_size()[:7])
    same = [each for each in draft.occurrences if each.kind in (Kind.PLATFORM, Kind.GROUP) and each.where == platform]
    if any(each.overlaps(begins - 2 * HOUR, begins + lasts + 2 * HOUR) for each in same):
        return None
    cause = draft.random.choice(causes)
    members = tuple(each.number for each in draft.of(platform))
    spells = (Spell(begins, begins + lasts, cause, cause.text(platform, draft.random)),)
    draft.occurrences.append(Occurrence(Kind.PLATFORM, begins, begins + lasts, members, spells, where=platform))
    return platform


def _break_in_outage(draft: _Draft) -> None:
    """A connection breaks while its platform is out, and is still broken afterwards."""
    lasts = draft.random.uniform(1, 2) * HOUR
    begins = draft.moment(lasts + 4 * HOUR)
    platform = _add_platform_outage(draft, begins, lasts)
    if platform is not None:
        _add_break(draft, begins + lasts / 2, min(begins + lasts + 3 * HOUR, draft.ends - _COOL_DOWN), platform)


def _api_outage(draft: _Draft) -> None:
    _add_api_outage(draft, draft.random.choice((25 * MINUTE, HOUR, 3 * HOUR)) * draft.random.uniform(0.8, 1.3))


def _short_api_outage(draft: _Draft) -> None:
    _add_api_outage(draft, draft.random.uniform(1, 9) * MINUTE)


def _add_api_outage(draft: _Draft, lasts: float) -> None:
    begins = draft.moment(lasts)
    if draft.alone(begins, begins + lasts, Kind.API, Kind.KEY, Kind.THROTTLE, Kind.KILL, Kind.FREEZE, Kind.SUSPEND):
        draft.occurrences.append(Occurrence(Kind.API, begins, begins + lasts, reason=draft.random.choice(_OUTAGES)))


def _key(draft: _Draft) -> None:
    """A key is revoked until the new one is installed; some rotations are over within moments."""
    lasts = draft.random.choice((20.0, 30 * MINUTE, 2 * HOUR))
    begins = draft.moment(lasts)
    if draft.alone(begins, begins + lasts, Kind.API, Kind.KEY, Kind.THROTTLE):
        account = draft.random.choice(draft.accounts)
        draft.occurrences.append(Occurrence(Kind.KEY, begins, begins + lasts, where=account, reason=Reason.API_UNAUTHORIZED))


def _throttle(draft: _Draft) -> None:
    """The API answers 429 to all accounts, and says for how long to wait."""
    lasts = draft.random.choice((5 * MINUTE, HOUR, 2 * HOUR))
    begins = draft.moment(lasts)
    if draft.alone(begins, begins + lasts, Kind.API, Kind.KEY, Kind.THROTTLE):
        wait = draft.random.choice((30.0, 60.0, 300.0))
        draft.occurrences.append(Occurrence(Kind.THROTTLE, begins, begins + lasts, reason=Reason.API_THROTTLED, amount=wait))


def _expiry(draft: _Draft) -> None:
    """A token runs out, and the connection is reconnected later."""
    lasts = draft.random.uniform(1.5, 8) * HOUR
    begins = draft.moment(lasts)
    ends = min(begins + lasts, draft.ends - _COOL_DOWN)
    member = draft.one(begins, ends, *COUNTED_DOWN)
    if member is None or ends - begins < HOUR or any(each.kind is Kind.EXPIRY for each in _own(draft, member)):
        return
    spells = (_spell(draft, member, begins, ends, texts.EXPIRED),)
    draft.occurrences.append(Occurrence(Kind.EXPIRY, begins, ends, (member.number,), spells))


def _own(draft: _Draft, member: Member) -> list[Occurrence]:
    return [each for each in draft.occurrences if member.number in each.members]


def _renewal(draft: _Draft) -> None:
    """A token that would end soon is renewed before it does: an occurrence of an instant."""
    at = draft.moment(0.0)
    member = draft.one(at, at, *COUNTED_DOWN)
    if member is not None and not any(each.kind is Kind.EXPIRY for each in _own(draft, member)):
        left = draft.random.uniform(0.2, 6) * DAY
        draft.occurrences.append(Occurrence(Kind.EXPIRY, at, at, (member.number,), amount=left))


def _blip(draft: _Draft) -> None:
    lasts = draft.random.choice((30.0, 2 * MINUTE, 10 * MINUTE, 20 * MINUTE))
    begins = draft.moment(lasts)
    member = draft.one(begins, begins + lasts)
    if member is None:
        return
    cause = draft.random.choice((texts.TROUBLE, texts.LIMIT))
    spell = _spell(draft, member, begins, begins + lasts, cause)
    draft.occurrences.append(Occurrence(Kind.BLIP, begins, begins + lasts, (member.number,), (spell,)))


def _lie(draft: _Draft) -> None:
    """The test reports an error for hours or days, while posts are published."""
    lasts = min(draft.random.choice((HOUR, 5 * HOUR, 5 * DAY)), draft.ends / 2) * draft.random.uniform(0.8, 1.3)
    begins = draft.moment(lasts)
    member = draft.one(begins, begins + lasts)
    if member is not None:
        spell = _spell(draft, member, begins, begins + lasts, draft.random.choice((texts.UNNAMED, texts.REVOKED)))
        draft.occurrences.append(Occurrence(Kind.LIE, begins, begins + lasts, (member.number,), (spell,)))


def _flapping(draft: _Draft) -> None:
    begins = draft.moment(6 * HOUR)
    member = draft.one(begins, begins + 6 * HOUR)
    if member is None or begins + 5 * HOUR > draft.ends - _COOL_DOWN:
        return
    at, spells = begins, []
    for _ in range(draft.random.randrange(3, 6)):
        lasts = draft.random.uniform(20, 40) * MINUTE
        spells.append(_spell(draft, member, at, at + lasts, texts.REVOKED))
        at += lasts + draft.random.uniform(20, 40) * MINUTE
    draft.occurrences.append(Occurrence(Kind.FLAP, begins, spells[-1].ends, (member.number,), tuple(spells)))


def _permissions(draft: _Draft) -> None:
    lasts = draft.random.uniform(2, 6) * HOUR
    begins = draft.moment(lasts)
    member = draft.one(begins, begins + lasts, "linkedin", "instagram", "threads", "facebook", "twitter")
    if member is not None:
        draft.occurrences.append(Occurrence(Kind.PERMISSIONS, begins, min(begins + lasts, draft.ends), (member.number,)))


def _posting_error(draft: _Draft) -> None:
    """A post fails for a reason of its own; the next one is published."""
    lasts = draft.random.uniform(1, 5) * HOUR
    begins = draft.moment(lasts)
    member = draft.one(begins, begins + lasts)
    if member is not None:
        text = draft.random.choice(_POSTING_ERRORS)
        draft.occurrences.append(Occurrence(Kind.POSTING, begins, begins + lasts, (member.number,), text=text))


def _vanished(draft: _Draft) -> None:
    begins = draft.moment(6 * HOUR)
    member = draft.one(begins, draft.ends)
    if member is not None and begins < draft.ends - 4 * HOUR:
        draft.occurrences.append(Occurrence(Kind.VANISHED, begins, draft.ends, (member.number,)))


def _trouble_of_one(draft: _Draft) -> None:
    """One connection meets its platform's trouble, or its quota, for hours."""
    lasts = draft.random.uniform(1.7, 4) * HOUR
    begins = draft.moment(lasts)
    ends = min(begins + lasts, draft.ends - _COOL_DOWN)
    member = draft.one(begins, ends)
    if member is not None:
        spell = _spell(draft, member, begins, ends, draft.random.choice((texts.TROUBLE, texts.LIMIT)))
        draft.occurrences.append(Occurrence(Kind.BREAK, begins, ends, (member.number,), (spell,)))


def _user(draft: _Draft) -> None:
    """A managed user is detached from the account, and attached again."""
    lasts = draft.random.uniform(1, 4) * HOUR
    begins = draft.moment(lasts)
    account = ACCOUNTS[1]
    if account in draft.accounts and draft.alone(begins, begins + lasts, Kind.API, Kind.KEY, Kind.THROTTLE, Kind.USER):
        user = draft.random.choice([each.user_id for each in draft.members.values() if each.user_id])
        draft.occurrences.append(Occurrence(Kind.USER, begins, begins + lasts, where=account, user=user, reason=Reason.USER_NOT_MANAGED))


def _unanswerable(draft: _Draft) -> None:
    """The API never answers about one connection, in a way that says nothing about it, and then does."""
    lasts = draft.random.uniform(2, 10) * HOUR
    begins = draft.moment(lasts)
    ends = min(begins + lasts, draft.ends - _COOL_DOWN)
    member = draft.one(begins, ends)
    if member is not None:
        status = draft.random.choice((402, 403, 500))
        draft.occurrences.append(Occurrence(Kind.SILENT, begins, ends, (member.number,), status=status))


def _short_list(draft: _Draft) -> None:
    """A list lacks most of its connections, once or twice."""
    lasts = draft.random.choice((0.9, 1.8)) * HOUR
    begins = draft.moment(lasts)
    draft.occurrences.append(Occurrence(Kind.SHORT_LIST, begins, begins + lasts, where=draft.random.choice(draft.accounts)))


def _broken_from_the_start(draft: _Draft) -> None:
    """A connection is broken when the monitor is started for the first time."""
    _add_break(draft, -DAY, draft.random.uniform(3, 9) * HOUR)


def _longer_ago(draft: _Draft) -> None:
    """A token is about to end when the monitor is started for the first time."""
    member = draft.one(0.0, draft.ends, *COUNTED_DOWN)
    ends = draft.random.uniform(3, 20) * HOUR
    if member is not None and ends + 2 * HOUR < draft.ends - _COOL_DOWN:
        repaired = min(ends + draft.random.uniform(1.5, 6) * HOUR, draft.ends - _COOL_DOWN)
        spells = (_spell(draft, member, ends, repaired, texts.EXPIRED),)
        draft.occurrences.append(Occurrence(Kind.EXPIRY, ends, repaired, (member.number,), spells))


def _pause(draft: _Draft, kind: Kind, lasts: float) -> None:
    begins = draft.moment(lasts)
    if draft.alone(begins, begins + lasts, *Kind, margin=0.0) or draft.alone(
        begins, begins + lasts, Kind.RESTART, Kind.KILL, Kind.FREEZE, Kind.SUSPEND
    ):
        draft.occurrences.append(Occurrence(kind, begins, begins + lasts))


def _restart(draft: _Draft) -> None:
    _pause(draft, Kind.RESTART, draft.random.uniform(2, 20))


def _kill(draft: _Draft) -> None:
    _pause(draft, Kind.KILL, draft.random.choice((5.0, 10 * MINUTE, 2 * HOUR)))


def _freeze(draft: _Draft) -> None:
    _pause(draft, Kind.FREEZE, draft.random.choice((2 * MINUTE, HOUR, 5 * HOUR)))


def _suspend(draft: _Draft) -> None:
    _pause(draft, Kind.SUSPEND, draft.random.choice((30 * MINUTE, 8 * HOUR)))


def _clock(draft: _Draft) -> None:
    begins = draft.moment(0.0)
    draft.occurrences.append(Occurrence(Kind.CLOCK, begins, begins, amount=draft.random.choice((-HOUR, HOUR, -5 * MINUTE, 5 * MINUTE))))


def _receiver(draft: _Draft) -> None:
    lasts = draft.random.choice((5 * MINUTE, HOUR, 4 * HOUR))
    begins = draft.moment(lasts)
    draft.occurrences.append(Occurrence(Kind.RECEIVER, begins, begins + lasts))


def _outages_in_a_row(draft: _Draft) -> None:
    """The API is down two or three times, an hour or more apart, at least once for long."""
    at = draft.moment(9 * HOUR)
    lengths = [draft.random.uniform(22, 90) * MINUTE, *(draft.random.uniform(2, 60) * MINUTE for _ in range(draft.random.choice((1, 2))))]
    draft.random.shuffle(lengths)
    for lasts in lengths:
        if at + lasts > draft.ends - _COOL_DOWN or not draft.alone(at, at + lasts, *SERVICE, *DOWN, margin=HOUR / 2):
            return
        draft.occurrences.append(Occurrence(Kind.API, at, at + lasts, reason=draft.random.choice(_OUTAGES)))
        at += lasts + draft.random.uniform(1, 3) * HOUR


def _unusual_outage(draft: _Draft, lasts: float, **changes: object) -> Occurrence | None:
    """The outage of a platform to whose connections nothing else happens, changed so."""
    begins = draft.moment(lasts)
    if (
        not draft.alone(begins, begins + lasts, *SERVICE, *DOWN)
        or _add_platform_outage(draft, begins, lasts, causes=(texts.TROUBLE,)) is None
    ):
        return None
    outage = draft.occurrences.pop()
    if not all(draft.free(number, outage.begins, outage.ends) for number in outage.members):
        return None
    draft.occurrences.append(replace(outage, **changes))  # type: ignore[arg-type]
    return draft.occurrences[-1]


def _partial_outage(draft: _Draft) -> None:
    """A platform fails some requests only; of two connections nearly all, or they would seldom be seen to fail together."""
    outage = _unusual_outage(draft, draft.random.uniform(1.5, 4) * HOUR)
    if outage is not None:
        least = 0.4 if len(outage.members) > _PAIR else 0.8
        draft.occurrences[-1] = replace(outage, share=draft.random.uniform(least, 0.9))


def _mixed_outage(draft: _Draft) -> None:
    """A platform fails with many texts, some of which nobody knows."""
    others = ("Request failed with status code 502", *texts.UNNAMED.texts["*"][:1])
    _unusual_outage(draft, draft.random.uniform(1.5, 4) * HOUR, others=others)


def _down_in_outage(draft: _Draft) -> None:
    """The process ends, or stands still, when a platform's outage has just begun."""
    outage = _unusual_outage(draft, draft.random.uniform(1.5, 4) * HOUR)
    if outage is not None:
        begins = outage.begins + draft.random.uniform(5, 180)
        lasts = draft.random.choice((10.0, 10 * MINUTE, 45 * MINUTE))
        draft.occurrences.append(Occurrence(draft.random.choice((Kind.KILL, Kind.FREEZE)), begins, begins + lasts))


_UNUSUAL: tuple[_Deal, ...] = (_outages_in_a_row, _partial_outage, _mixed_outage, _down_in_outage)
"""What the deck lacks: of these a world gets one, and more if it is long."""


# ---- what follows


def _tokens(draft: _Draft) -> None:
    """Give every connection its tokens: reconnecting gives a new one, and most end long after the world."""
    for number, member in draft.members.items():
        life = _LIFE.get(member.platform)
        if life is None:
            continue
        own = [
            each for each in draft.occurrences if number in each.members and each.kind in (Kind.BREAK, Kind.GROUP, Kind.EXPIRY, Kind.FLAP)
        ]
        held_since = 0.0
        lives: list[tuple[float, float]] = []
        for each in sorted(own, key=lambda each: each.begins):
            if each.kind is Kind.EXPIRY:
                lives.append((held_since, each.begins + each.amount))
                held_since = each.ends
            elif each.spells[-1].cause in (texts.REVOKED, texts.PASSWORD) and each.kind is not Kind.FLAP:
                lives.append((held_since, draft.ends + draft.random.uniform(0.3, 0.9) * life))
                held_since = each.ends
        lives.append((held_since, (held_since + life) if held_since else draft.ends + draft.random.uniform(0.3, 0.9) * life))
        draft.members[number] = replace(member, lives=tuple(lives))


def _with_posts(draft: _Draft, member: Member) -> Member:
    posts: list[float] = []
    at = draft.random.uniform(0, DAY)
    while at < draft.ends:
        posts.append(at)
        at += draft.random.uniform(0.4, 1.6) * DAY * 0.7
    return replace(member, posts=tuple(posts))
