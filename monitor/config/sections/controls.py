"""What operators do not want to hear, and the sign of life: recurring silences, quiet hours, the heartbeat."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from monitor.config.secrets import Secret
from monitor.config.types import Duration, Items, Name, Section, between, problem
from monitor.domain.silencing.recurrence import DAYS, Schedule
from monitor.domain.silencing.silences import RecurringSilence
from monitor.domain.states import SuppressionReason

_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00"


def _check_time(value: str) -> str:
    if not re.fullmatch(_TIME, value):
        raise problem("is no time of day", 'write it as "22:00", with two digits on both sides')
    return value


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
        raise problem("is no time zone that this machine knows", "such as Europe/Berlin or UTC; the package tzdata brings them") from None
    return value


def _check_match(value: Mapping[str, str]) -> Mapping[str, str]:
    if not value:
        raise problem("would silence everything", 'say what is meant; {severity: "*"} is everything')
    return value


TimeOfDay = Annotated[
    str, Field(json_schema_extra={"pattern": f"^({_TIME})$", "examples": ["22:00", "24:00"]}), AfterValidator(_check_time)
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
    """One silence that comes back every day or week, for maintenance. Those for once are made with `silence add`."""

    name: Name
    """Name of the silence, for people."""
    match: Annotated[Mapping[str, str], AfterValidator(_check_match)]
    """What a notification must be, all of it, to be held back; written as in `routes`."""
    days: Days = DAILY
    """Days on which it begins, such as `[sat, sun]`, or `daily`."""
    start: TimeOfDay = Field(alias="from")
    """When it begins, such as `"22:00"`, by the clocks of `timezone`."""
    end: TimeOfDay = Field(alias="to")
    """When it ends; a time not later than `from` is on the following day. `24:00` is the end of the day."""
    timezone: Zone = "UTC"
    """Time zone of the times. When the clocks change, what begins at a time that comes twice begins at the first, what ends at one ends
    at the second, and a time that is left out is the moment of the jump."""

    def window(self) -> RecurringSilence:
        """The silence as the domain knows it."""
        return RecurringSilence(self.name, self.match, _weekly(self.days, self.start, self.end, self.timezone))


class QuietHoursSettings(Section):
    """Hours in which only what is urgent is told. The rest waits for their end, and is told then if it is still true."""

    start: TimeOfDay | None = Field(default=None, alias="from")
    """When they begin, such as `"22:00"`; without it there are none."""
    end: TimeOfDay | None = Field(default=None, alias="to")
    """When they end; a time not later than `from` is on the following day."""
    days: Days = DAILY
    """Days on which they begin, such as `[sat, sun]`, or `daily`."""
    timezone: Zone = "UTC"
    """Time zone of the times."""
    severities: Items[Literal["info", "warning", "critical"]] = ("info", "warning")
    """What waits. A recovery is as urgent as what it ends."""

    def window(self) -> RecurringSilence | None:
        """The quiet hours as the domain knows them; None when there are none."""
        if self.start is None or self.end is None or not self.severities:
            return None
        match = {"severity": "|".join(self.severities)}
        return RecurringSilence(
            "quiet hours", match, _weekly(self.days, self.start, self.end, self.timezone), SuppressionReason.QUIET_HOURS
        )


class HeartbeatSettings(Section):
    """A dead man's switch: an address that is asked as long as all is well. When the signs of life end, somebody there should be told."""

    url: Secret | None = None
    """Address to ask, such as the one that a check at healthchecks.io has; treated as a secret. Without it there is no heartbeat."""
    url_file: str | None = None
    """File that holds the address."""
    method: Literal["GET", "POST"] = "GET"
    """How it is asked."""
    every: Annotated[Duration, between(timedelta(seconds=1), timedelta(days=1))] = timedelta(minutes=1)
    """Pause between two signs of life."""
    timeout: Annotated[Duration, between(timedelta(milliseconds=100), timedelta(minutes=1))] = timedelta(seconds=10)
    """Most time one of them may take in all."""
    max_owed: Annotated[Duration, between(timedelta(seconds=1))] = timedelta(minutes=10)
    """They end when a notification has been owed to a receiver for longer than this."""


def windows_of(silences: tuple[SilenceSettings, ...], quiet_hours: QuietHoursSettings) -> tuple[RecurringSilence, ...]:
    """Everything of the configuration that holds notifications back."""
    quiet = quiet_hours.window()
    return (*(one.window() for one in silences), *(() if quiet is None else (quiet,)))


def troubles(section: SilenceSettings | QuietHoursSettings) -> tuple[str, str] | None:
    """What is wrong with the times of *section* taken together, and what to do; None when nothing is."""
    if (section.start is None) != (section.end is None):
        return "needs both from and to", "give both, or neither"
    if section.start is not None and section.start == section.end:
        return "from and to are the same time", 'the whole day is from "00:00" to "24:00"'
    if section.start == "24:00":
        return "from is the end of its day", 'write "00:00" and the following day'
    return None
