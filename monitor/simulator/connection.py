"""One connection of the simulated PostPost: what is true of it, and what can happen to it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.simulator.behaviour import Script
from monitor.simulator.clock import ShiftedClock
from monitor.simulator.platforms import ARTEFACT_LIVES, PLATFORMS, Generation, Platform, platform_of


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
    script: Script = field(default_factory=Script)

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
