"""The one line in every notification: what happened to which connection, since when, why, and what to do."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, timedelta

from monitor.domain.connections import Connection
from monitor.domain.events import FINE, REMOVED, REPLACED, EventType, Notification, NotificationFacts, Topic
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.silencing.acceptance import ACCEPTED
from monitor.errors import Reason
from monitor.text.advice import notification_advice
from monitor.text.durations import span
from monitor.text.format import count, full_name, kind_word, moment, one_line, platform_name, scope_name
from monitor.text.reasons import reason_text

NO_NAMES: Mapping[str, str] = {}

_QUOTED = 160
_NAMED = 5
_FAILING = frozenset({"error", "missing", "misconfigured"})

_SENTENCES: dict[EventType, str] = {
    EventType.CONNECTION_FAILED: "{who} is broken since {since}: {why}.",
    EventType.CONNECTION_RECOVERED: "{who} works again{after}{renewed}.{meanwhile}",
    EventType.CONNECTION_MISSING: "{who} is missing since {since}: {why}.",
    EventType.CONNECTION_MISCONFIGURED: "{who} cannot be checked since {since}: {why}.",
    EventType.CONNECTION_STALE: "{who} has not been checked successfully for too long; its state is unknown.",
    EventType.CONNECTION_FLAPPING: "{who} is flapping; further messages are held until it is stable.",
    EventType.CONNECTION_CLOSED: "The incident of {who} was closed: {closed}.",
    EventType.TOKEN_EXPIRING: "The token of {who} expires {when}.",
    EventType.TOKEN_EXPIRED: "The token of {who} has expired{on}{failing}.",
    EventType.TOKEN_RENEWED: "The token of {who} was renewed{until}.",
    EventType.TOKEN_RENEWAL_OVERDUE: "The token of {who} is usually renewed earlier than now; it expires {when}.",
    EventType.PUBLISHING_FAILING: "{who} passes its test, but posting failed: {quoted}.",
    EventType.PUBLISHING_RECOVERED: "Posting through {who} works again{after}.",
    EventType.PERMISSIONS_LOST: "{who} lost permissions: {lost}.",
    EventType.PERMISSIONS_RESTORED: "The permissions of {who} are restored{after}.",
    EventType.ACCOUNT_FAILED: "The account {name} is refused by the API since {since}: {why}.{affected}",
    EventType.ACCOUNT_RECOVERED: "The account {name} is accepted by the API again{after}.",
    EventType.ACCOUNT_CLOSED: "The account {name} is no longer watched: it was removed from the configuration.",
    EventType.API_FAILED: "The PostPost API gives no answers since {since}: {why}.{affected}",
    EventType.API_RECOVERED: "The PostPost API answers again{after}.",
    EventType.API_CLOSED: "The previous address of the PostPost API is no longer watched: it was removed from the configuration.",
    EventType.GROUP_FAILED: "{number} {platform} connections of {owner} fail together since {since}: {why}.{members}",
    EventType.GROUP_RECOVERED: "{number} {platform} connections of {owner} work again{after}.",
    EventType.GROUP_CLOSED: "The {platform} connections of {owner} are no longer watched: the account was removed from the configuration.",
    EventType.PLATFORM_FAILED: "{number} {platform} connections fail together since {since}: {why}.{members}",
    EventType.PLATFORM_RECOVERED: "The {platform} connections work again{after}.",
    EventType.STORAGE_FAILED: "The monitor cannot use its own storage since {since}: {why}.",
    EventType.STORAGE_RECOVERED: "The monitor's storage works again{after}.",
    EventType.RECEIVER_FAILING: "The receiver {name} has not accepted messages since {since}: {quoted}.",
    EventType.RECEIVER_RECOVERED: "The receiver {name} accepts messages again{after}.",
    EventType.RECEIVER_CLOSED: "The receiver {name} is no longer configured: it was removed or has another name now.",
    EventType.INVENTORY_CHANGED: "The list of connections changed: {quoted}.",
}

# Scopes that share their type with others, by the kind of their subject.
_KIND_SENTENCES: dict[tuple[str, EventType], str] = {
    ("rate", EventType.ACCOUNT_FAILED): "The API limits the requests of the account {name} since {since}: {why}.{affected}",
    ("rate", EventType.ACCOUNT_RECOVERED): "The API no longer limits the requests of the account {name}{after}.",
    ("limit", EventType.API_FAILED): "The API limits the requests of all accounts since {since}: {why}.{affected}",
    ("limit", EventType.API_RECOVERED): "The API no longer limits the requests of all accounts{after}.",
    ("service", EventType.ACCOUNT_FAILED): "The API fails only for the account {name} since {since}: {why}.{affected}",
    ("user", EventType.ACCOUNT_CLOSED): "The managed user {name} is no longer watched: the API no longer lists it.",
    ("users", EventType.ACCOUNT_FAILED): "The API rejects all managed users of the account {name} since {since}: {why}.{affected}",
    ("users", EventType.ACCOUNT_RECOVERED): "The API accepts the managed users of the account {name} again{after}.",
    ("users", EventType.ACCOUNT_CLOSED): "The managed users of the account {name} are no longer watched: the API no longer lists them.",
    ("service", EventType.ACCOUNT_RECOVERED): "The API answers for the account {name} again{after}.",
}

# Incidents that close without a recovery.
_CLOSED_WITHOUT_RECOVERY: dict[tuple[str, EventType], str] = {
    (REPLACED, EventType.GROUP_CLOSED): "The {platform} connections of {owner} go on failing, with others: see the incident of {platform}.",
    (ACCEPTED, EventType.PERMISSIONS_RESTORED): "The lost permissions of {who} are no longer required: an operator accepted the loss.",
}

# Incidents whose cause has changed.
_OTHER_CAUSE = {
    EventType.CONNECTION_FAILED: "{who}, broken since {since}, fails for another reason since {cause_since}: {why}.",
    EventType.GROUP_FAILED: "{number} {platform} connections of {owner} fail for another reason since {cause_since}: {why}.{members}",
    EventType.PLATFORM_FAILED: "{number} {platform} connections fail for another reason since {cause_since}: {why}.{members}",
}
# Incidents of several connections that are over, although some of these fail.
_NO_LONGER_TOGETHER = {
    EventType.GROUP_RECOVERED: "{platform} connections of {owner} no longer fail together{after}; {left}.",
    EventType.PLATFORM_RECOVERED: "{platform} connections no longer fail together{after}; {left}.",
}
_POSTS_FAIL_UNTESTED = "Posting through {who} failed: {quoted}. The API cannot test this connection."

_OPENINGS: dict[tuple[Topic, str], EventType] = {
    (Topic.CONNECTION, "missing"): EventType.CONNECTION_MISSING,
    (Topic.CONNECTION, "misconfigured"): EventType.CONNECTION_MISCONFIGURED,
    (Topic.CONNECTION, "stale"): EventType.CONNECTION_STALE,
    (Topic.CONNECTION, "flapping"): EventType.CONNECTION_FLAPPING,
    (Topic.EXPIRY, "expired"): EventType.TOKEN_EXPIRED,
}
_OPENING_OF: dict[Topic, EventType] = {
    Topic.CONNECTION: EventType.CONNECTION_FAILED,
    Topic.EXPIRY: EventType.TOKEN_EXPIRING,
    Topic.RENEWAL: EventType.TOKEN_RENEWAL_OVERDUE,
    Topic.PUBLISHING: EventType.PUBLISHING_FAILING,
    Topic.PERMISSIONS: EventType.PERMISSIONS_LOST,
}
_SCOPE_OPENINGS = {
    "account": EventType.ACCOUNT_FAILED,
    "user": EventType.ACCOUNT_FAILED,
    "users": EventType.ACCOUNT_FAILED,
    "rate": EventType.ACCOUNT_FAILED,
    "service": EventType.ACCOUNT_FAILED,
    "group": EventType.GROUP_FAILED,
    "platform": EventType.PLATFORM_FAILED,
    "storage": EventType.STORAGE_FAILED,
    "receiver": EventType.RECEIVER_FAILING,
}

_CLOSED = {
    "unsupported": "the API can no longer test it",
    "removed": "it was removed from the configuration",
    "recovered": "it works again",
}


def sentence(
    notification: Notification,
    connection: Connection | None,
    members: Sequence[Connection] = (),
    users: Mapping[str, str] = NO_NAMES,
) -> str:
    """The whole line, advice included; *members* are connections that a notification about several is about, *users* names by id."""
    facts = notification.facts
    parts = ["Reminder:"] if facts.reminder else ["Escalated, because it is not acknowledged:"] if facts.escalated_to else []
    parts.append(_template(notification).format_map(_fields(notification, connection, members, users)))
    if facts.outages:
        held = "; that it works again is sent when it is stable" if notification.level_to != FINE else ""
        parts.append(f"It failed {facts.outages} times recently{held}.")
    if facts.first_check and notification.level_to != FINE:
        parts.append("Already failing at the first check." if notification.level_to in _FAILING else "Already so at the first check.")
    parts += _unseen(notification)
    if facts.suspected_false_negative:
        parts.append("A post has succeeded since, so the test itself may be wrong.")
    parts.append("Its token has expired." if facts.merged_expiry else _life_left(notification))
    parts.append(notification_advice(notification))
    return " ".join(filter(None, parts))


def _unseen(notification: Notification) -> Iterator[str]:
    """What no check has seen: the true beginning of a failure, or whether it still lasts."""
    facts = notification.facts
    if facts.last_worked_at is not None:
        yield f"It may have begun earlier: the last passed check was at {moment(facts.last_worked_at)}."
    if facts.last_evidence_at is not None:
        yield f"No check has been conclusive since {moment(facts.last_evidence_at)}."


def _template(notification: Notification) -> str:
    """The sentence by type, scope kind and the way it closed; a reminder repeats the sentence of the opening."""
    kind, closed_why = notification.type, notification.facts.closed_why or ""
    scope_kind = kind_word(ScopeKey.parse(notification.incident.subject))
    if kind is EventType.REMINDER:
        topic = notification.incident.topic
        if topic is Topic.SCOPE:
            kind = _SCOPE_OPENINGS.get(scope_kind, EventType.API_FAILED)
        else:
            kind = _OPENINGS.get((topic, notification.level_to), _OPENING_OF[topic])
    if notification.facts.cause_since is not None and kind in _OTHER_CAUSE:
        return _OTHER_CAUSE[kind]
    if notification.facts.still_failing and kind in _NO_LONGER_TOGETHER:
        return _NO_LONGER_TOGETHER[kind]
    if notification.facts.untested and kind is EventType.PUBLISHING_FAILING:
        return _POSTS_FAIL_UNTESTED
    return (
        _CLOSED_WITHOUT_RECOVERY.get((closed_why, kind)) or _KIND_SENTENCES.get((scope_kind, kind)) or _SENTENCES.get(kind, "{who}: {why}.")
    )


def _life_left(notification: Notification) -> str:
    """The remaining life of a rejected credential, by its date; the platform's own text may call it expired."""
    ends_at = notification.facts.expires_at
    rejected = notification.reason is Reason.CREDENTIAL_REJECTED and notification.level_to == "error"
    if not rejected or ends_at is None or ends_at <= notification.at:
        return ""
    return f"The token was valid until {ends_at.astimezone(UTC):%Y-%m-%d} ({span(ends_at - notification.at)} left)."


def _fields(
    notification: Notification, connection: Connection | None, members: Sequence[Connection], users: Mapping[str, str]
) -> dict[str, str]:
    facts, subject = notification.facts, notification.incident.subject
    quoted = f"“{one_line(notification.detail, _QUOTED)}”" if notification.detail.strip() else "no details known"
    key = ScopeKey.parse(subject) if connection is None else None
    name = full_name(connection, facts.username) if connection is not None else _scope_name(subject, users)
    return {
        "who": name,
        "name": name,
        "platform": platform_name(connection.platform if connection else key.platform if key else ""),
        "owner": scope_name(key, users) if key else "",
        "number": str(facts.affected or len(members) or "Several"),
        "left": f"{facts.still_failing} of {facts.affected} still fail{'s' if facts.still_failing == 1 else ''}",
        "members": _members(facts.affected or 0, members, users),
        "since": moment(facts.failed_at or notification.incident.opened_at),
        "why": _why(notification, quoted),
        "quoted": quoted,
        "after": f" after {span(facts.duration)}" if facts.duration is not None else "",
        "closed": _closed(facts),
        "cause_since": moment(facts.cause_since) if facts.cause_since is not None else "",
        "renewed": f"; its token now expires {_when(notification)}" if _renewed(notification) else "",
        "meanwhile": _meanwhile(facts),
        "when": _when(notification),
        "on": f" on {moment(facts.expires_at)}" if facts.expires_at is not None and facts.expires_at <= notification.at else "",
        "failing": f"; the connection is broken since {moment(facts.failed_at)}" if facts.failed_at is not None else "",
        "until": f"; it now expires {_when(notification)}" if facts.expires_at is not None else "",
        "lost": one_line(", ".join(facts.permissions_lost) or notification.detail, _QUOTED),
        "affected": f" {count(facts.affected, 'connection')} affected." if facts.affected is not None else "",
    }


def _scope_name(subject: str, users: Mapping[str, str]) -> str:
    key = ScopeKey.parse(subject)
    return scope_name(key, users) if key.user in users else one_line(key.path or subject, 120)


def _members(affected: int, members: Sequence[Connection], users: Mapping[str, str]) -> str:
    """The names of the first few of the connections that fail together; with the user, or else the account, where several have one name."""
    if not members:
        return ""
    called = Counter(member.name or member.platform_id for member in members)
    names = []
    for member in members[:_NAMED]:
        name = member.name or member.platform_id
        owner = f" ({one_line(users.get(member.user_id) or member.account_label, 60)})" if called[name] > 1 else ""
        names.append(one_line(name, 60) + owner)
    others = max(affected, len(members)) - len(names)
    return f" They are {', '.join(names)}{f' and {others} more' if others else ''}."


def _closed(facts: NotificationFacts) -> str:
    if facts.closed_why == REMOVED and facts.listed:
        return "it is gone from the API's list of connections, or its account from the configuration"
    return _CLOSED.get(facts.closed_why or "", one_line(facts.closed_why or "it is over", 80))


def _renewed(notification: Notification) -> bool:
    ends_at = notification.facts.expires_at
    return ends_at is not None and ends_at > notification.at


def _meanwhile(facts: NotificationFacts) -> str:
    """The posts that failed during the failure; the API names only the last one, so there may have been more."""
    if not facts.failed_posts or facts.last_failed_post_at is None:
        return ""
    return f" At least {count(facts.failed_posts, 'post')} failed meanwhile, the last at {moment(facts.last_failed_post_at)}."


def _why(notification: Notification, quoted: str) -> str:
    reason = reason_text(notification.reason) if notification.reason else ""
    if not notification.detail.strip():
        return reason or "no details known"
    return f"{reason} ({quoted})" if reason else quoted


def _when(notification: Notification) -> str:
    facts = notification.facts
    if facts.expires_at is None:
        return "soon"
    left = facts.expires_at - notification.at
    uncertainty = facts.expires_uncertainty
    margin = f" ± {span(uncertainty)}" if uncertainty is not None and uncertainty > timedelta(minutes=1) else ""
    return f"in {span(left)} ({moment(facts.expires_at)}{margin})" if left > timedelta(0) else f"now ({moment(facts.expires_at)})"
