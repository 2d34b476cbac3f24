"""Names of connections and platforms, moments, counts, labels of statuses."""

import unicodedata
from datetime import UTC, date, datetime, timedelta

from monitor.domain import topics
from monitor.domain.connections import Connection
from monitor.domain.events import Topic
from monitor.domain.expiry import levels
from monitor.domain.reasons import Health
from monitor.domain.states import ConnectionState
from monitor.domain.status import DisplayStatus
from monitor.text.durations import span


def about(subject: str, connection: Connection | None) -> str:
    """Whom something is about, as people know it."""
    if connection is None:
        return one_line(subject, 120)
    return f"{one_line(connection.platform_id, 120)} ({one_line(connection.account_label, 80)})"


def when(at: datetime, now: datetime) -> str:
    """A moment in full, and how far away it is: `2030-01-01 00:00 UTC (3h ago)`."""
    return f"{moment(at)} (in {span(at - now)})" if at > now else f"{moment(at)} ({span(now - at)} ago)"


HEALTH_WORDS = {
    Health.UNKNOWN: "is not known yet",
    Health.OK: "works",
    Health.ERROR: "is broken",
    Health.UNSUPPORTED: "cannot be tested",
    Health.MISSING: "is gone",
    Health.MISCONFIGURED: "is misconfigured",
}


def name_of(connection: Connection, state: ConnectionState) -> str:
    """How people call a connection: platform, name, id and account."""
    name = connection.name or state.display_name or state.username
    platform_id, account = one_line(connection.platform_id, 120), one_line(connection.account_label, 80)
    if name and name != connection.platform_id:
        return f"{platform_name(connection.platform)} “{one_line(name, 80)}” ({platform_id}, account {account})"
    return f"{platform_name(connection.platform)} {platform_id} (account {account})"


_PLATFORMS = {
    "linkedin": "LinkedIn",
    "twitter": "X",
    "x": "X",
    "tiktok": "TikTok",
    "youtube": "YouTube",
    "instagram": "Instagram",
    "facebook": "Facebook",
    "threads": "Threads",
    "bluesky": "Bluesky",
    "mastodon": "Mastodon",
    "telegram": "Telegram",
    "pinterest": "Pinterest",
}


def one_line(text: str, limit: int) -> str:
    """*text* without line breaks, control and direction characters, at most *limit* characters."""
    plain = "".join(character if unicodedata.category(character)[0] != "C" else " " for character in text[: 4 * limit])
    words = " ".join(plain.split())
    return words if len(words) <= limit else words[: limit - 1].rstrip() + "…"


def platform_name(platform: str) -> str:
    """How people write the name of *platform*."""
    return _PLATFORMS.get(platform, one_line(platform, 32).capitalize())


def moment(at: datetime) -> str:
    """A point in time for people, in UTC to the minute."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


LABELS = {
    DisplayStatus.ERROR: "Broken",
    DisplayStatus.MISSING: "Missing",
    DisplayStatus.MISCONFIGURED: "Misconfigured",
    DisplayStatus.ATTENTION: "Needs attention",
    DisplayStatus.UNKNOWN: "Not known yet",
    DisplayStatus.OK: "Working",
    DisplayStatus.UNSUPPORTED: "Not testable",
}
_LEVEL_LABELS = {
    "error": LABELS[DisplayStatus.ERROR],
    "missing": LABELS[DisplayStatus.MISSING],
    "misconfigured": LABELS[DisplayStatus.MISCONFIGURED],
    topics.STALE: "Not heard of",
    topics.FLAPPING: "Flapping",
    levels.EXPIRED: "Token expired",
}
_TOPIC_LABELS = {
    Topic.EXPIRY: "Token ends soon",
    Topic.RENEWAL: "Renewal overdue",
    Topic.PUBLISHING: "Posts fail",
    Topic.PERMISSIONS: "Permissions lost",
}


def label_of(topic: Topic, level: str) -> str:
    """What is the matter at *level* of *topic*, in two or three words; empty when nothing more can be said of it."""
    return _LEVEL_LABELS.get(level) or _TOPIC_LABELS.get(topic, "")


_JUST_NOW = timedelta(seconds=2)
_WORTH_SAYING = timedelta(minutes=2)


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago, or in how long: `3m ago`, `in 2h`, `just now`, `never`."""
    if at is None:
        return "never"
    if abs(now - at) < _JUST_NOW:
        return "just now"
    return f"{short(now - at)} ago" if at <= now else f"in {short(at - now)}"


def short(duration: timedelta) -> str:
    """A duration in one unit below a day, in two above: `42s`, `7m`, `3h 20m`, `12d 4h`."""
    minutes = duration // timedelta(minutes=1)
    return span(timedelta(minutes=minutes)) if minutes else span(duration)


def doubt(uncertainty: timedelta | None) -> str:
    """By how much a moment may be off, when that is worth saying: `± 30m`."""
    if uncertainty is None or uncertainty < _WORTH_SAYING:
        return ""
    return f"± {short(uncertainty)}"


def count(number: int, thing: str, things: str = "") -> str:
    """`1 connection`, `1,000 connections`."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def sentence(words: str) -> str:
    """A clause as a sentence."""
    return f"{words[0].upper()}{words[1:]}." if words else ""


def stamp(at: datetime) -> str:
    """A moment in full, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def second(at: datetime) -> str:
    """A moment to the second, where it is said elsewhere that it is in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def milliseconds(number: float) -> str:
    """How long a check took: `85 ms`, `1.2 s`."""
    return f"{number:.0f} ms" if number < 1000 else f"{number / 1000:.1f} s"


def day(at: datetime | date) -> str:
    """A day for people, in UTC: `Tue 1 Jan 2030`."""
    return f"{at:%a} {at.day} {at:%b %Y}"


def clock(at: datetime) -> str:
    """A time of day, in UTC: `00:00`."""
    return f"{at.astimezone(UTC):%H:%M}"


def percent(ratio: float) -> str:
    """A share as `99.98 %`, cut off: `100 %` is nothing but all of it."""
    hundredths = int(ratio * 10_000 + 1e-6)
    return f"{hundredths // 100} %" if hundredths % 100 == 0 else f"{hundredths / 100:.2f} %"
