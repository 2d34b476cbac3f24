"""
Accounts, users, connections.

Everything can be changed while it is being served; the next request sees the change. The clock decides how much life
a token has left, so that moving the clock moves every token nearer to its end.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

from monitor.simulator.clock import ShiftedClock
from monitor.simulator.faults import FaultScript
from monitor.simulator.platforms import ARTEFACT_LIVES, PLATFORMS, POSTPOST, Generation, Platform, SimulatedBrand, platform_of

_NOTHING = timedelta()


class SimulatedRounding(StrEnum):
    """How the API rounds the hours a token has left."""

    FLOOR = "floor"
    NEAREST = "nearest"
    CEIL = "ceil"


@dataclass(slots=True)
class SimulatedConnection:
    """
    One social account linked at the simulated PostPost.

    Attributes:
        ends_at: when its token ends; None for platforms whose tokens do not.
        renews: whether PostPost renews the token by itself where it does so for this platform.
        dead: what the test says; None while the credential works, "" for what the platform usually says.
        flagged: PostPost noticed the rejection by itself, so the list says `expired` (September only).
        permissions: None means all that the platform usually grants.
        last_error: text and moment of the last posting error.
        listed, known: whether the list shows it, and whether the test finds it.
    """

    platform_id: str
    clock: ShiftedClock
    username: str | None = None
    display_name: str | None = None
    ends_at: datetime | None = None
    renews: bool = True
    dead: str | None = None
    flagged: bool = False
    permissions: tuple[str, ...] | None = None
    last_post_at: datetime | None = None
    last_error: tuple[str, datetime] | None = None
    listed: bool = True
    known: bool = True
    script: FaultScript = field(default_factory=FaultScript)

    @property
    def platform(self) -> str:
        """The platform's name."""
        return platform_of(self.platform_id)

    @property
    def traits(self) -> Platform | None:
        """The platform's ways; None when PostPost has no test for it."""
        return PLATFORMS.get(self.platform)

    def fail(self, message: str = "") -> None:
        """From now on the test fails with *message*; empty means what the platform says of a dead credential."""
        self.dead = message

    def heal(self) -> None:
        """All is well again: credential, rights, script, list; a token past its end gets a fresh one."""
        self.dead = None
        self.flagged = False
        self.permissions = None
        self.renews = self.listed = self.known = True
        self.script.play()
        if self.ends_at is not None and self.ends_at <= self.clock.now():
            self.renew()

    def expire(self) -> None:
        """The token ends now, and nobody renews it; where no end is shown the platform simply rejects it."""
        self.renews = False
        if self.ends_at is None:
            self.dead = ""
            self.flagged = True
        else:
            self.ends_at = self.clock.now()

    def expire_in(self, span: timedelta) -> None:
        """
        The token ends *span* from now, and nobody renews it.

        Raises:
            ValueError: tokens of this platform have no end.
        """
        if self.ends_at is None:
            raise ValueError(f"tokens of {self.platform} have no end here; break the connection instead")
        self.renews = False
        self.ends_at = self.clock.now() + span

    def renew(self, span: timedelta | None = None) -> None:
        """The user reconnects: a working credential whose token lives *span*, or as long as the platform's usually do."""
        life = span if span is not None else (self.traits.life if self.traits else None)
        self.ends_at = None if life is None else self.clock.now() + life
        self.renews = True
        self.dead = None
        self.flagged = False

    def posted(self) -> None:
        """A post went out now."""
        self.last_post_at = self.clock.now()

    def post_failed(self, message: str = "Media upload failed: Invalid image format") -> None:
        """A post failed now with *message*; the test of the connection does not care."""
        self.last_error = (message, self.clock.now())

    def vanish(self, *, only_listing: bool = False) -> None:
        """The list does not show it any more; unless *only_listing* the test does not find it either."""
        self.listed = False
        self.known = only_listing

    def appear(self) -> None:
        """It is back after `vanish`."""
        self.listed = self.known = True

    def shown_end(self, generation: Generation) -> datetime | None:
        """The end of its token as list and test show it; renews the token first where PostPost would have."""
        traits = self.traits
        if traits is None or not traits.shows_end(generation):
            return None
        if not traits.is_honest(generation):
            return self.last_post_at + ARTEFACT_LIVES[traits.name] if self.last_post_at else None
        return self._true_end()

    def is_past(self) -> bool:
        """Whether its token is past its true end, shown or not, so that the platform rejects it."""
        end = self._true_end()
        return end is not None and end <= self.clock.now()

    def _true_end(self) -> datetime | None:
        if self.traits is not None:
            self._renew_in_time(self.traits)
        return self.ends_at

    def _renew_in_time(self, traits: Platform) -> None:
        if traits.renews_below is None or traits.life is None or self.ends_at is None or not self.renews or self.dead is not None:
            return
        now = self.clock.now()
        if self.ends_at - now < traits.renews_below:
            self.ends_at = now + traits.life


@dataclass(slots=True)
class SimulatedUser:
    """The owner of an account, or a user managed by it; `connections` maps platform ids to connections, in listed order."""

    id: str
    username: str
    display_name: str
    clock: ShiftedClock
    connections: dict[str, SimulatedConnection] = field(default_factory=dict)
    attached: bool = True
    script: FaultScript = field(default_factory=FaultScript)

    def connect(self, connection: SimulatedConnection) -> SimulatedConnection:
        """Link *connection* to this user; one of the same id is replaced. Returns it."""
        self.connections[connection.platform_id] = connection
        return connection


@dataclass(slots=True)
class SimulatedAccount:
    """
    One account with its API keys and everything it may see.

    Attributes:
        users: managed users by id.
        revoked: keys that worked once.
        owner_found, api_access, mcp_access, workspaces: the rights the API's middleware looks at.
        crashed: the middleware answers every request with 500.
    """

    name: str
    keys: set[str]
    owner: SimulatedUser
    users: dict[str, SimulatedUser] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    owner_found: bool = True
    api_access: bool = True
    mcp_access: bool = True
    workspaces: bool = False
    crashed: bool = False
    script: FaultScript = field(default_factory=FaultScript)

    def revoke(self) -> None:
        """Every key of this account stops working at once."""
        self.revoked |= self.keys
        self.keys = set()

    def restore(self) -> None:
        """Keys, rights and normal behaviour are back."""
        self.keys |= self.revoked
        self.revoked = set()
        self.owner_found = self.api_access = self.mcp_access = True
        self.crashed = False
        self.script.play()

    def everyone(self) -> tuple[SimulatedUser, ...]:
        """The owner, then the managed users."""
        return (self.owner, *self.users.values())


class SimulatedApi:
    """
    All of a simulated PostPost.

    Attributes:
        clock: the moving clock; ages, ends and the `Date` header come from it.
        generation: which build of the API answers.
        brand: header names and texts.
        rounding: how hours left are rounded.
        day_texts: `29 days` in place of `29d 3h`, as one description of the API shows it.
        two_part_ids: ids with a second dash are refused with 400, as a naive split of the id would do.
        latency: the shortest and the longest time an ordinary answer takes.
        script: what every request meets; accounts, users and connections have their own.
    """

    def __init__(self, clock: ShiftedClock, populate: Callable[["SimulatedApi"], None] = lambda _: None) -> None:
        self.clock = clock
        self._populate = populate
        self.brand: SimulatedBrand = POSTPOST
        self.generation = Generation.MARCH
        self.reset()

    def reset(self) -> None:
        """Everything as it was at the start, and the clock with it; brand and generation stay."""
        self.clock.reset()
        self.accounts: dict[str, SimulatedAccount] = {}
        self.rounding = SimulatedRounding.FLOOR
        self.day_texts = False
        self.two_part_ids = False
        self.latency = (_NOTHING, _NOTHING)
        self.script = FaultScript()
        self._populate(self)

    def add_account(self, name: str, key: str, *, workspaces: bool = False) -> SimulatedAccount:
        """A new account of one key, without connections."""
        owner = SimulatedUser(f"{len(self.accounts) + 1:024x}", f"{name}@example.com", name.capitalize(), self.clock)
        account = SimulatedAccount(name, {key}, owner, workspaces=workspaces)
        self.accounts[name] = account
        return account

    def account_of(self, key: str) -> SimulatedAccount | None:
        """The account whose key this is; None for a wrong or revoked one."""
        for account in self.accounts.values():
            if key in account.keys:
                return account
        return None

    def find(self, pattern: str, *, account: str | None = None, user: str | None = None) -> list[SimulatedConnection]:
        """
        The connections whose id matches *pattern*, in listed order.

        Args:
            pattern: an id, or one with `*` in it; letter case counts.
            account: only of the account of this name.
            user: only of the managed user of this id; "" means only the owner's.
        """
        plain = "*" not in pattern
        found: list[SimulatedConnection] = []
        for holder in self._holders(account, user):
            if plain:
                found.extend([holder.connections[pattern]] if pattern in holder.connections else [])
            else:
                found.extend(row for row in holder.connections.values() if fnmatchcase(row.platform_id, pattern))
        return found

    def connection(self, platform_id: str, *, account: str | None = None, user: str | None = None) -> SimulatedConnection:
        """
        The one connection of this id.

        Raises:
            LookupError: there is none, or several and neither account nor user tells them apart.
        """
        found = self.find(platform_id, account=account, user=user)
        if len(found) != 1:
            raise LookupError(f"{len(found)} connections have the id {platform_id!r}")
        return found[0]

    def every(self) -> Iterator[tuple[SimulatedAccount, SimulatedUser, SimulatedConnection]]:
        """Every connection with whose it is."""
        for account in self.accounts.values():
            for holder in account.everyone():
                for connection in holder.connections.values():
                    yield account, holder, connection

    def _holders(self, account: str | None, user: str | None) -> Iterator[SimulatedUser]:
        accounts: Mapping[str, SimulatedAccount] = self.accounts
        for each in accounts.values():
            if account is not None and each.name != account:
                continue
            for holder in each.everyone():
                if user is None or holder.id == user or (user == "" and holder is each.owner):
                    yield holder
