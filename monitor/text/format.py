"""Names of connections and platforms, moments, counts, labels of statuses."""

import unicodedata
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

from monitor.domain import topics
from monitor.domain.connections import ID_LIMIT, Connection
from monitor.domain.events import Topic
from monitor.domain.expiry import levels
from monitor.domain.reasons import Health
from monitor.domain.scopes.key import USER, ScopeKey
from monitor.domain.states import ConnectionState
from monitor.domain.views.status import DisplayStatus
from monitor.redaction import JOINERS, joins
from monitor.text.durations import brief, span

HEALTH_TEXTS = {
    Health.UNKNOWN: "has an unknown state",
    Health.OK: "works",
    Health.ERROR: "is broken",
    Health.UNSUPPORTED: "cannot be tested",
    Health.MISSING: "is missing",
    Health.MISCONFIGURED: "is misconfigured",
}


def short_name(connection: Connection, state: ConnectionState) -> str:
    """The name of a connection where platform and id are shown beside it."""
    return connection.name or state.display_name or state.username or connection.platform_id


def full_name(connection: Connection, name: str | None) -> str:
    """Platform, name, id and account of a connection; *name* is what the API calls it, where it has no configured one."""
    name = connection.name or name
    platform = platform_name(connection.platform)
    platform_id, account = one_line(connection.platform_id, 120), one_line(connection.account_label, 80)
    if name and name != connection.platform_id:
        return f"{platform} “{one_line(name, 80)}” ({platform_id}, account {account})"
    return f"{platform} {platform_id} (account {account})"


def scope_name(key: ScopeKey, users: Mapping[str, str]) -> str:
    """The account and managed user of a scope, or its only name; *users* are names by id."""
    return one_line("/".join(part for part in (key.name, users.get(key.user, key.user)) if part), 120)


def kind_word(key: ScopeKey) -> str:
    """The kind of a scope; `users` for all managed users of an account."""
    return "users" if key.kind == USER and not key.user else key.kind


def scope_text(key: ScopeKey, users: Mapping[str, str]) -> str:
    """A scope as the subject of a sentence; *users* are names of managed users by id."""
    return _SCOPES.get(kind_word(key), "{name}").format(name=scope_name(key, users), platform=platform_name(key.platform))


def title_of(subject: str, users: Mapping[str, str]) -> str:
    """The incident of a scope as one clause; *users* are names of managed users by id."""
    key = ScopeKey.parse(subject)
    return _TITLES.get(kind_word(key), "{name}").format(name=scope_name(key, users), platform=platform_name(key.platform))


_SCOPES = {
    "api": "the PostPost API",
    "account": "the account {name}",
    "user": "the managed user {name}",
    "users": "the managed users of {name}",
    "group": "{platform} of {name}",
    "platform": "{platform}",
    "storage": "the database",
    "receiver": "the receiver {name}",
    "limit": "the limit of all requests to the API",
    "rate": "the limit of the requests of the account {name}",
    "service": "the API for the account {name}",
}
_TITLES = {
    "api": "The PostPost API does not respond",
    "account": "The API rejects the account {name}",
    "user": "The API rejects the managed user {name}",
    "users": "The API rejects all managed users of {name}",
    "group": "Multiple {platform} connections of {name} are failing",
    "platform": "Multiple {platform} connections are failing",
    "storage": "The monitor cannot use its database",
    "receiver": "The receiver {name} is failing",
    "limit": "The API limits the requests of all accounts",
    "rate": "The API limits the requests of the account {name}",
    "service": "The API fails for the account {name} alone",
}


def subject_name(subject: str, connection: Connection | None) -> str:
    """The subject of an incident in a table: id, never cut, and account of its connection, or the scope."""
    if connection is None:
        return one_line(subject, 120)
    return f"{one_line(connection.platform_id, ID_LIMIT)} ({one_line(connection.account_label, 80)})"


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
    """*text* without line breaks, control and direction characters, at most *limit* characters; joiners within words stay."""
    kept = text[: 4 * limit]
    if not kept.isprintable():
        kept = "".join(
            character if unicodedata.category(character)[0] != "C" or joins(kept, place) else " " for place, character in enumerate(kept)
        )
    line = " ".join(kept.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip(f" {JOINERS}") + "…"


def platform_name(platform: str) -> str:
    """The name of *platform* with its usual capital letters."""
    return _PLATFORMS.get(platform, one_line(platform, 32).capitalize())


def moment(at: datetime) -> str:
    """A point in time for people, in UTC to the minute."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def when(at: datetime, now: datetime) -> str:
    """A point in time and how far away it is: `2030-01-01 00:00 UTC (3h ago)`."""
    return f"{moment(at)} (in {span(at - now)})" if at > now else f"{moment(at)} ({span(now - at)} ago)"


STATUS_LABELS = {
    DisplayStatus.ERROR: "Broken",
    DisplayStatus.MISSING: "Missing",
    DisplayStatus.MISCONFIGURED: "Misconfigured",
    DisplayStatus.ATTENTION: "Needs attention",
    DisplayStatus.EXPIRING: "Token expires soon",
    DisplayStatus.UNKNOWN: "Unknown",
    DisplayStatus.OK: "Working",
    DisplayStatus.UNSUPPORTED: "Not testable",
}
_LEVEL_LABELS = {
    "error": STATUS_LABELS[DisplayStatus.ERROR],
    "missing": STATUS_LABELS[DisplayStatus.MISSING],
    "misconfigured": STATUS_LABELS[DisplayStatus.MISCONFIGURED],
    topics.STALE: "Stale",
    topics.FLAPPING: "Flapping",
    levels.EXPIRED: "Token expired",
}
_TOPIC_LABELS = {
    Topic.EXPIRY: STATUS_LABELS[DisplayStatus.EXPIRING],
    Topic.RENEWAL: "Renewal overdue",
    Topic.PUBLISHING: "Posts fail",
    Topic.PERMISSIONS: "Permissions lost",
}


def label_of(topic: Topic, level: str) -> str:
    """The label of *level* of *topic*, two or three words; empty when it has none of its own."""
    return _LEVEL_LABELS.get(level) or _TOPIC_LABELS.get(topic, "")


_JUST_NOW = timedelta(seconds=2)
_SHOWN_FROM = timedelta(minutes=2)


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago, or in how long: `3m ago`, `in 2h`, `just now`, `never`."""
    if at is None:
        return "never"
    if abs(now - at) < _JUST_NOW:
        return "just now"
    return f"{brief(now - at)} ago" if at <= now else f"in {brief(at - now)}"


def doubt(uncertainty: timedelta | None) -> str:
    """The uncertainty of a moment, from two minutes on: `± 30m`."""
    if uncertainty is None or uncertainty < _SHOWN_FROM:
        return ""
    return f"± {brief(uncertainty)}"


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 connection`, `1,000 connections`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def sentence(clause: str) -> str:
    """A clause as a sentence."""
    return capital(clause) + ("" if clause.endswith((".", "!", "?")) else ".") if clause else ""


def capital(clause: str) -> str:
    """A clause with a capital letter at its beginning."""
    return f"{clause[:1].upper()}{clause[1:]}"


def stamp(at: datetime) -> str:
    """A moment to the second, with its zone: `2030-01-01 00:00:00 UTC`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def second(at: datetime) -> str:
    """A moment to the second, in UTC, without its zone."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def milliseconds(number: float) -> str:
    """The duration of a request: `85 ms`, `1.2 s`."""
    return f"{number:.0f} ms" if number < 1000 else f"{number / 1000:.1f} s"


def day(at: datetime | date) -> str:
    """A day: `Tue 1 Jan 2030`."""
    return f"{at:%a} {at.day} {at:%b %Y}"


def short_day(at: datetime) -> str:
    """A day of this year or the last, in UTC: `1 Jan`."""
    at = at.astimezone(UTC)
    return f"{at.day} {at:%b}"


def clock(at: datetime) -> str:
    """A time of day, in UTC: `00:00`."""
    return f"{at.astimezone(UTC):%H:%M}"


def percent(ratio: float) -> str:
    """A share as `99.98 %`, rounded down, so that `100 %` means all of it."""
    hundredths = int(ratio * 10_000 + 1e-6)
    return f"{hundredths // 100} %" if hundredths % 100 == 0 else f"{hundredths / 100:.2f} %"
