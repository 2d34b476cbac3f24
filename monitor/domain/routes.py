"""Routes: which notifications go to which receivers, and when. `routing` applies them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from monitor.domain.recurrence import Schedule


@dataclass(frozen=True, slots=True)
class RouteQuietHours:
    """When a route holds its notifications of these *severities* back."""

    when: Schedule
    severities: frozenset[str]


@dataclass(frozen=True, slots=True)
class Escalation:
    """Who else is notified of an incident that is open *after* its notification, and not acknowledged."""

    after: timedelta
    receivers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """
    One line of the routing table.

    Attributes:
        match: the matchers, all of which must match: a name of `routing.RESERVED` or of a connection's label to a pattern.
            A pattern is a text, or several separated by `|`, each of which may end in `*`. Empty matches everything.
        quiet_hours: when its notifications wait; None for never.
        reminder_interval: pause between reminders, instead of the policy's; zero for no reminders.
        escalation: who is notified when nobody acknowledges an incident; None for nobody.
        written: the matchers as they are written, where *match* has ids in place of names that are known at run time only.
    """

    match: Mapping[str, str]
    receivers: tuple[str, ...]
    quiet_hours: RouteQuietHours | None = None
    reminder_interval: timedelta | None = None
    escalation: Escalation | None = None
    written: Mapping[str, str] | None = None

    @property
    def key(self) -> str:
        """The route as states and texts name it: by its matchers, because the first of two routes with the same ones wins."""
        match = self.match if self.written is None else self.written
        return " ".join(f"{name}={match[name]}" for name in sorted(match)) or "everything"

    @property
    def timed(self) -> bool:
        """Whether it says when receivers are notified, in addition to which."""
        return self.quiet_hours is not None or self.reminder_interval is not None or self.escalation is not None
