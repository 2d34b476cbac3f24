"""Accounts, users, connections, which may be changed while they are served. Tokens expire by the simulated clock."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

from monitor.simulator.clock import ShiftedClock
from monitor.simulator.faults import FaultScript
from monitor.simulator.platforms import ARTEFACT_LIVES, PLATFORMS, POSTPOST, Generation, Platform, SimulatedBrand, platform_of

_NOTHING = timedelta()


class SimulatedRounding(StrEnum):
    """How the API rounds the hours that a token is still valid."""

    FLOOR = "floor"
    NEAREST = "nearest"
    CEIL = "ceil"


@dataclass(slots=True)
class SimulatedConnection:
    """
    One social account linked at the simulated PostPost.

    Attributes:
        ends_at: when its token expires; None for platforms whose tokens do not.
        renews: whether PostPost renews the token automatically, on platforms where it does.
        dead: error of the test; None while the credential works, "" for the platform's usual error.
        flagged: PostPost noticed the rejection, so the list says `expired` (September only).
        permissions: None means the platform's usual ones.
        listed, known: whether the list contains it, and whether the test finds it.
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
        """The properties of its platform; None when PostPost has no test for it."""
        return PLATFORMS.get(self.platform)

    def fail(self, message: str = "") -> None:
        """Make the test fail with *message*; empty means the platform's usual error."""
        self.dead = message

    def heal(self) -> None:
        """Undo every failure: credential, permissions, script, list; an expired token is renewed."""
        self.dead = None
        self.flagged = False
        self.permissions = None
        self.renews = self.listed = self.known = True
        self.script.play()
        if self.ends_at is not None and self.ends_at <= self.clock.now():
            self.renew()

    def expire(self) -> None:
        """Expire the token now and for good; where tokens do not expire, the platform rejects it."""
        self.renews = False
        if self.ends_at is None:
            self.dead = ""
            self.flagged = True
        else:
            self.ends_at = self.clock.now()

    def expire_in(self, span: timedelta) -> None:
        """Let the token expire *span* from now, for good. Raises ValueError: tokens of this platform do not expire."""
        if self.ends_at is None:
            raise ValueError(f"tokens of {self.platform} have no end here; break the connection instead")
        self.renews = False
        self.ends_at = self.clock.now() + span

    def renew(self, span: timedelta | None = None) -> None:
        """The user reconnects: a working credential, valid for *span* or for as long as is usual on the platform."""
        life = span if span is not None else (self.traits.life if self.traits else None)
        self.ends_at = None if life is None else self.clock.now() + life
        self.renews = True
        self.dead = None
        self.flagged = False

    def posted(self) -> None:
        """A post was published now."""
        self.last_post_at = self.clock.now()

    def post_failed(self, message: str = "Media upload failed: Invalid image format") -> None:
        """A post failed now with *message*; the test of the connection still passes."""
        self.last_error = (message, self.clock.now())

    def vanish(self, *, only_listing: bool = False) -> None:
        """Remove it from the list and, unless *only_listing*, from the test."""
        self.listed = False
        self.known = only_listing

    def appear(self) -> None:
        """Undo `vanish`."""
        self.listed = self.known = True

    def shown_end(self, generation: Generation) -> datetime | None:
        """When its token expires, as list and test show it; first renews the token where PostPost would have."""
        traits = self.traits
        if traits is None or not traits.shows_end(generation):
            return None
        if not traits.is_honest(generation):
            return self.last_post_at + ARTEFACT_LIVES[traits.name] if self.last_post_at else None
        return self._true_end()

    def is_past(self) -> bool:
        """Whether its token has expired, so that the platform rejects it, whatever is shown."""
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
    """The owner of an account, or a user managed by it; `connections` maps platform ids to connections, in the order of the list."""

    id: str
    username: str
    display_name: str
    clock: ShiftedClock
    connections: dict[str, SimulatedConnection] = field(default_factory=dict)
    attached: bool = True
    script: FaultScript = field(default_factory=FaultScript)

    def connect(self, connection: SimulatedConnection) -> SimulatedConnection:
        """Link *connection* to this user, replacing one of the same id; returns it."""
        self.connections[connection.platform_id] = connection
        return connection


@dataclass(slots=True)
class SimulatedAccount:
    """
    One account with its API keys and users.

    Attributes:
        owner_found, api_access, mcp_access, workspaces: the rights that the API's middleware checks.
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
        """Revoke every key of this account."""
        self.revoked |= self.keys
        self.keys = set()

    def restore(self) -> None:
        """Restore keys, rights and ordinary responses."""
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
    The whole state of a simulated PostPost.

    Attributes:
        clock: expiry, ages and the `Date` header are by this clock.
        rounding: of the hours that a token is still valid.
        day_texts: `29 days` instead of `29d 3h`, as one description of the API shows it.
        two_part_ids: ids with a second dash are refused with 400, as by a naive split of the id.
        latency: the shortest and the longest time of an ordinary response.
    """

    def __init__(self, clock: ShiftedClock, populate: Callable[["SimulatedApi"], None] = lambda _: None) -> None:
        self.clock = clock
        self._populate = populate
        self.brand: SimulatedBrand = POSTPOST
        self.generation = Generation.MARCH
        self.reset()

    def reset(self) -> None:
        """Restore the initial state and the clock; brand and generation stay."""
        self.clock.reset()
        self.accounts: dict[str, SimulatedAccount] = {}
        self.rounding = SimulatedRounding.FLOOR
        self.day_texts = False
        self.two_part_ids = False
        self.latency = (_NOTHING, _NOTHING)
        self.script = FaultScript()
        self._populate(self)

    def add_account(self, name: str, key: str, *, workspaces: bool = False) -> SimulatedAccount:
        """Add an account with one key and no connections."""
        owner = SimulatedUser(f"{len(self.accounts) + 1:024x}", f"{name}@example.com", name.capitalize(), self.clock)
        account = SimulatedAccount(name, {key}, owner, workspaces=workspaces)
        self.accounts[name] = account
        return account

    def account_of(self, key: str) -> SimulatedAccount | None:
        """The account of this key; None for an unknown or revoked one."""
        return next((account for account in self.accounts.values() if key in account.keys), None)

    def find(self, pattern: str, *, account: str | None = None, user: str | None = None) -> list[SimulatedConnection]:
        """The connections whose id matches *pattern*, in the order of the list."""
        holders = self._holders(account, user)
        if "*" not in pattern:
            return [holder.connections[pattern] for holder in holders if pattern in holder.connections]
        return [each for holder in holders for each in holder.connections.values() if fnmatchcase(each.platform_id, pattern)]

    def connection(self, platform_id: str, *, account: str | None = None, user: str | None = None) -> SimulatedConnection:
        """The one connection of this id. Raises LookupError: there is none, or several and neither account nor user tells them apart."""
        connections = self.find(platform_id, account=account, user=user)
        if len(connections) != 1:
            raise LookupError(f"{len(connections)} connections have the id {platform_id!r}")
        return connections[0]

    def every(self) -> Iterator[tuple[SimulatedAccount, SimulatedUser, SimulatedConnection]]:
        """Every connection with its account and user."""
        for account in self.accounts.values():
            for holder in account.everyone():
                for connection in holder.connections.values():
                    yield account, holder, connection

    def _holders(self, account: str | None, user: str | None) -> Iterator[SimulatedUser]:
        for each in self.accounts.values():
            if account in (None, each.name):
                yield from (holder for holder in each.everyone() if user in (None, holder.id) or (user == "" and holder is each.owner))
