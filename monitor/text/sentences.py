"""The one line for people in every notification: what happened to whom, since when, why, and what to do."""

from datetime import timedelta

from monitor.domain.connections import Connection
from monitor.domain.events import FINE, EventType, Notification
from monitor.domain.reasons import meaning
from monitor.domain.scopes.key import SPLIT
from monitor.domain.scopes.state import REMOVED
from monitor.errors import Reason
from monitor.text.advice import _kind, advice
from monitor.text.durations import span
from monitor.text.format import moment, one_line, platform_name

_QUOTED = 160

_SENTENCES: dict[EventType, str] = {
    EventType.CONNECTION_FAILED: "{who} is broken since {since}: {why}.",
    EventType.CONNECTION_RECOVERED: "{who} works again{after}.",
    EventType.CONNECTION_MISSING: "{who} is gone since {since}: {why}.",
    EventType.CONNECTION_MISCONFIGURED: "{who} cannot be checked since {since}: {why}.",
    EventType.CONNECTION_STALE: "{who} has had no meaningful check for too long; nobody knows whether it works.",
    EventType.CONNECTION_FLAPPING: "{who} keeps changing between working and broken; the next message comes when it has settled.",
    EventType.CONNECTION_CLOSED: "{who} is no longer watched for this trouble: {closed}.",
    EventType.TOKEN_EXPIRING: "The token of {who} expires {when}.",
    EventType.TOKEN_EXPIRED: "The token of {who} has expired{on}.",
    EventType.TOKEN_RENEWED: "The token of {who} was renewed{until}.",
    EventType.TOKEN_RENEWAL_OVERDUE: "The token of {who} is usually renewed earlier than now; it expires {when}.",
    EventType.PUBLISHING_FAILING: "{who} passes its test, but posting failed: {quoted}.",
    EventType.PUBLISHING_RECOVERED: "Posting through {who} works again{after}.",
    EventType.PERMISSIONS_LOST: "{who} lost permissions: {lost}.",
    EventType.PERMISSIONS_RESTORED: "{who} has its permissions back{after}.",
    EventType.ACCOUNT_FAILED: "The account {name} is refused by the API since {since}: {why}.{affected}",
    EventType.ACCOUNT_RECOVERED: "The account {name} is accepted by the API again{after}.",
    EventType.API_FAILED: "The PostPost API gives no answers since {since}: {why}.{affected}",
    EventType.API_RECOVERED: "The PostPost API answers again{after}.",
    EventType.PLATFORM_FAILED: "Many connections of {platform} broke together since {since}: {why}.{affected}",
    EventType.PLATFORM_RECOVERED: "The connections of {platform} work again{after}.",
    EventType.STORAGE_FAILED: "The monitor cannot use its own storage since {since}: {why}.",
    EventType.STORAGE_RECOVERED: "The monitor's storage works again{after}.",
    EventType.RECEIVER_FAILING: "The receiver {name} has not taken messages since {since}: {quoted}.",
    EventType.RECEIVER_RECOVERED: "The receiver {name} takes messages again{after}.",
    EventType.INVENTORY_CHANGED: "The list of connections changed: {quoted}.",
}

# What narrower kinds of trouble of an account are called, by the beginning of their subject.
_ACCOUNT_SENTENCES: dict[tuple[str, EventType], str] = {
    ("rate", EventType.ACCOUNT_FAILED): "The API limits the requests of the account {name} since {since}: {why}.{affected}",
    ("rate", EventType.ACCOUNT_RECOVERED): "The API no longer limits the requests of the account {name}{after}.",
    ("service", EventType.ACCOUNT_FAILED): "The API fails for the account {name} alone since {since}: {why}.{affected}",
    ("service", EventType.ACCOUNT_RECOVERED): "The API answers for the account {name} again{after}.",
}

# Ends of wider trouble that are no recoveries.
_OTHER_ENDS: dict[tuple[str, EventType], str] = {
    (SPLIT, EventType.PLATFORM_RECOVERED): "Connections of {platform} still fail{after}; from now on each is told by itself.",
    (REMOVED, EventType.ACCOUNT_RECOVERED): "The account {name} is no longer watched: it left the configuration.",
    (REMOVED, EventType.API_RECOVERED): "The former address of the PostPost API is no longer watched: it left the configuration.",
}

_CLOSED = {
    "unsupported": "the API cannot test it any more",
    "removed": "it left the configuration",
    "recovered": "it works again",
}


def subject_name(notification: Notification, connection: Connection | None) -> str:
    """Whom a notification is about, for people: platform, name, id and account."""
    if connection is None:
        return one_line(notification.incident.subject.partition(":")[2] or notification.incident.subject, 120)
    name = connection.name or notification.facts.username
    account = one_line(connection.account_label, 80)
    platform, platform_id = platform_name(connection.platform), one_line(connection.platform_id, 120)
    if name and name != connection.platform_id:
        return f"{platform} “{one_line(name, 80)}” ({platform_id}, account {account})"
    return f"{platform} {platform_id} (account {account})"


def sentence(notification: Notification, connection: Connection | None) -> str:
    """The whole line, advice included."""
    facts = notification.facts
    kind, word = _kind(notification), notification.incident.subject.partition(":")[0]
    form = _OTHER_ENDS.get((facts.closed_why or "", kind)) or _ACCOUNT_SENTENCES.get((word, kind)) or _SENTENCES.get(kind, "{who}: {why}.")
    text = form.format_map(_words(notification, connection))
    extra = ["Reminder:", text] if facts.reminder else [text]
    if facts.first_check and notification.level_to != FINE:
        extra.append("It was so at the very first check.")
    if facts.suspected_false_negative:
        extra.append("A post succeeded meanwhile, so the test itself may be wrong.")
    if facts.merged_expiry:
        extra.append("Its token has expired.")
    else:
        extra.append(_life_left(notification))
    extra.append(advice(notification))
    return " ".join(part for part in extra if part)


def _life_left(notification: Notification) -> str:
    """That a rejected credential has life left by its date; the platform's own words may well call it expired."""
    ends_at = notification.facts.expires_at
    rejected = notification.reason is Reason.CREDENTIAL_REJECTED and notification.level_to == "error"
    if not rejected or ends_at is None or ends_at <= notification.at:
        return ""
    return f"By its date the token had {span(ends_at - notification.at)} left."


def _words(notification: Notification, connection: Connection | None) -> dict[str, str]:
    facts = notification.facts
    quoted = f"“{one_line(notification.detail, _QUOTED)}”" if notification.detail.strip() else "no details known"
    count = facts.affected
    who = subject_name(notification, connection)
    return {
        "who": who,
        "name": who,
        "platform": platform_name(connection.platform if connection else notification.incident.subject.rpartition(":")[2]),
        "since": moment(notification.incident.opened_at),
        "why": _why(notification, quoted),
        "quoted": quoted,
        "after": f" after {span(facts.duration)}" if facts.duration is not None else "",
        "closed": _CLOSED.get(facts.closed_why or "", one_line(facts.closed_why or "it is over", 80)),
        "when": _when(notification),
        "on": f" on {moment(facts.expires_at)}" if facts.expires_at is not None and facts.expires_at <= notification.at else "",
        "until": f"; it now ends {_when(notification)}" if facts.expires_at is not None else "",
        "lost": one_line(", ".join(facts.permissions_lost) or notification.detail, _QUOTED),
        "affected": f" {count} connection{'s' if count != 1 else ''} affected." if count is not None else "",
    }


def _why(notification: Notification, quoted: str) -> str:
    words = meaning(notification.reason).words if notification.reason else ""
    if not notification.detail.strip():
        return words or "no details known"
    return f"{words} ({quoted})" if words else quoted


def _when(notification: Notification) -> str:
    facts = notification.facts
    if facts.expires_at is None:
        return "soon"
    left = facts.expires_at - notification.at
    doubt = facts.expires_uncertainty
    about = f", give or take {span(doubt)}" if doubt is not None and doubt > timedelta(minutes=1) else ""
    return f"in {span(left)} ({moment(facts.expires_at)}{about})" if left > timedelta(0) else f"now ({moment(facts.expires_at)})"
