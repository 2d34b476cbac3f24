"""Recurring silences, quiet hours, the heartbeat."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal, get_args
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from monitor.config.problems import nearest
from monitor.config.secrets import Secret
from monitor.config.types import Duration, Items, Name, Section, between, matching, problem
from monitor.domain.recurrence import DAYS, Schedule
from monitor.domain.routes import RouteQuietHours
from monitor.domain.silencing.silences import RecurringSilence
from monitor.domain.states import SuppressionReason

_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00"


def _since_midnight(value: str) -> timedelta:
    hours, _, minutes = value.partition(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


def _parse_days(value: object) -> object:
    return DAILY if value == "daily" else tuple(value) if isinstance(value, list) else value


def _check_days(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise problem("is empty", "write daily, or days such as [sat, sun]")
    return value


def _check_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        close = nearest(value, sorted(available_timezones()), cutoff=0.8)
        fix = f"did you mean {close}?" if close else "such as Europe/Berlin or UTC; the package tzdata installs them"
        raise problem("is not a known time zone", fix) from None
    return value


def _check_match(value: Mapping[str, str]) -> Mapping[str, str]:
    if not value:
        raise problem("would silence everything", 'add a matcher; {severity: "*"} matches everything')
    return value


TimeOfDay = Annotated[
    str,
    Field(json_schema_extra={"pattern": f"^({_TIME})$", "examples": ["22:00", "24:00"]}),
    matching(_TIME, "is not a time of day", 'write it as "22:00", with two digits on both sides'),
]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAILY: tuple[Day, ...] = get_args(Day)
Days = Annotated[
    Items[Day],
    BeforeValidator(_parse_days),
    AfterValidator(_check_days),
    WithJsonSchema({"anyOf": [{"const": "daily"}, {"type": "array", "items": {"enum": list(DAYS)}, "minItems": 1}]}),
]
Zone = Annotated[str, AfterValidator(_check_zone)]


def _weekly(days: tuple[str, ...], start: str, end: str, zone: str) -> Schedule:
    return Schedule(frozenset(DAYS.index(day) for day in days), _since_midnight(start), _since_midnight(end), ZoneInfo(zone))


class SilenceSettings(Section):
    """One silence that recurs every day or week, for maintenance. One-time silences are added with `silence add`."""

    name: Name
    """Name of the silence."""
    match: Annotated[Mapping[str, str], AfterValidator(_check_match)]
    """Matchers, all of which must match for a notification to be suppressed; as in `routes`."""
    days: Days = DAILY
    """Days on which it starts, such as `[sat, sun]`, or `daily`."""
    start: TimeOfDay = Field(alias="from")
    """When it starts, such as `"22:00"`, in `timezone`."""
    end: TimeOfDay = Field(alias="to")
    """When it ends; a time not later than `from` is on the following day. `24:00` is the end of the day."""
    timezone: Zone = "UTC"
    """Time zone of the times. When clocks change, a time that occurs twice means the first for the start and the second for the end,
    and a time that is skipped means the moment of the change."""

    def window(self) -> RecurringSilence:
        """The silence as a value of the domain."""
        return RecurringSilence(self.name, self.match, _weekly(self.days, self.start, self.end, self.timezone))


class QuietHoursSettings(Section):
    """Hours in which only urgent notifications are sent. The others wait until the end, and are sent then if they still apply."""

    start: TimeOfDay | None = Field(default=None, alias="from")
    """When they start, such as `"22:00"`; without it there are none."""
    end: TimeOfDay | None = Field(default=None, alias="to")
    """When they end; a time not later than `from` is on the following day."""
    days: Days = DAILY
    """Days on which they start, such as `[sat, sun]`, or `daily`."""
    timezone: Zone = "UTC"
    """Time zone of the times."""
    severities: Items[Literal["info", "warning", "critical"]] = ("info", "warning")
    """Severities that wait. A recovery is as urgent as the incident that it closes."""

    def window(self) -> RecurringSilence | None:
        """The quiet hours as a value of the domain; None if there are none."""
        if self.start is None or self.end is None or not self.severities:
            return None
        match = {"severity": "|".join(self.severities)}
        return RecurringSilence(
            "quiet hours", match, _weekly(self.days, self.start, self.end, self.timezone), SuppressionReason.QUIET_HOURS
        )


class RouteQuietHoursSettings(QuietHoursSettings):
    """
    Hours in which a route holds its less urgent notifications back, in its own time zone. They are sent at the end, once, if they
    still apply.
    """

    def quiet(self) -> RouteQuietHours | None:
        """The quiet hours as a value of the domain; None if there are none."""
        window = self.window()
        return None if window is None else RouteQuietHours(window.when, frozenset(self.severities))


class HeartbeatSettings(Section):
    """A dead man's switch: a URL that is requested while everything works. The service behind it should alert when the requests stop."""

    url: Secret | None = None
    """URL to request, such as the ping URL of a check at healthchecks.io; treated as a secret. Without it there is no heartbeat."""
    url_file: str | None = None
    """File that contains the URL."""
    method: Literal["GET", "POST"] = "GET"
    """Method of the request."""
    every: Annotated[Duration, between(timedelta(seconds=1), timedelta(days=1))] = timedelta(minutes=1)
    """Pause between two heartbeats."""
    timeout: Annotated[Duration, between(timedelta(milliseconds=100), timedelta(minutes=1))] = timedelta(seconds=10)
    """Total timeout of one heartbeat."""
    max_owed: Annotated[Duration, between(timedelta(seconds=1))] = timedelta(minutes=10)
    """Heartbeats stop when a delivery to a receiver has been pending for longer than this."""


def windows_of(silences: tuple[SilenceSettings, ...], quiet_hours: QuietHoursSettings) -> tuple[RecurringSilence, ...]:
    """The recurring silences and the quiet hours."""
    quiet = quiet_hours.window()
    return (*(silence.window() for silence in silences), *(() if quiet is None else (quiet,)))


def time_problem(section: SilenceSettings | QuietHoursSettings) -> tuple[str, str] | None:
    """What is wrong with the times of *section* together, and what to do; None if nothing is."""
    if (section.start is None) != (section.end is None):
        return "needs both from and to", "give both, or neither"
    if section.start is not None and section.start == section.end:
        return "from and to are the same time", 'the whole day is from "00:00" to "24:00"'
    if section.start == "24:00":
        return "from is the end of its day", 'write "00:00" and the following day'
    return None
