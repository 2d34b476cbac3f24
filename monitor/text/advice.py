"""What to do about it, by reason or topic."""

from collections.abc import Iterator

from monitor.domain import topics
from monitor.domain.events import FINE, Notification, Topic
from monitor.domain.reasons import Health, Outcome, Scope, outcome_of
from monitor.domain.states import ConnectionState
from monitor.errors import Reason
from monitor.text.report import ConnectionReport

RECONNECT = "Reconnect the account on the PostPost dashboard."
RECONNECT_IN_TIME = f"{RECONNECT[:-1]} before the token expires."
_CRASHED = "Wait a while. If it lasts, reconnect the account, or ask PostPost's support about this connection."
_WAIT = "Nothing to do at the connection; checks go on and this clears by itself."
_NO_HELP = "Ask PostPost's support: reconnecting does not help."
_NETWORK = "Check this machine's network and the API's status page."

_BY_REASON: dict[Reason, str] = {
    Reason.CREDENTIAL_REJECTED: RECONNECT,
    Reason.TOKEN_EXPIRED: RECONNECT,
    Reason.RIGHTS_LOST: "Give the account its role and permissions back at the platform, then reconnect it on the PostPost dashboard.",
    Reason.BOT_REMOVED: "Add the bot to the channel or group again, as an administrator that may post.",
    Reason.ACCOUNT_RESTRICTED: "Log in at the platform and confirm the account or appeal; then reconnect it on the PostPost dashboard.",
    Reason.TARGET_GONE: "Check whether the page, channel or profile still exists; connect another one, or remove this connection.",
    Reason.APP_REFUSED: _NO_HELP,
    Reason.PLATFORM_LIMITED: _WAIT,
    Reason.PLATFORM_TROUBLE: _WAIT,
    Reason.VALIDATION_FAILED: "Read the platform's message; if it does not clear by itself, reconnect the account on the PostPost dashboard.",
    Reason.CONNECTION_MISSING: "It was removed, or reconnected under another id: update the configuration, or reconnect it.",
    Reason.ID_REFUSED: "Correct the id in the configuration; copy it from the list of connections.",
    Reason.API_VALIDATOR_FAILED: _CRASHED,
    Reason.API_UNAUTHORIZED: "Put a valid API key into the account's key file and reload.",
    Reason.API_FORBIDDEN: "Check the account's plan with PostPost.",
    Reason.WORKSPACE_FORBIDDEN: "Ask PostPost to switch on workspace access for this key.",
    Reason.USER_NOT_MANAGED: "Attach the user again on the PostPost dashboard; if the account's user_id names it, check that id.",
    Reason.USER_ID_INVALID: "Correct the account's user_id.",
    Reason.API_THROTTLED: "Lower requests_per_second or raise the interval.",
    Reason.API_DNS_FAILED: _NETWORK,
    Reason.API_UNREACHABLE: _NETWORK,
    Reason.API_TLS_EXPIRED: _NETWORK,
    Reason.API_TLS_FAILED: _NETWORK,
    Reason.API_TIMEOUT: _WAIT,
    Reason.API_DISCONNECTED: _WAIT,
    Reason.API_REDIRECTED: _NETWORK,
    Reason.API_FAILED: _WAIT,
    Reason.API_REFUSED: "Update this program; it does not match the API.",
    Reason.API_NOT_FOUND: "Check api.base_url.",
    Reason.PROXY_ANSWERED: _NETWORK,
    Reason.CAPTIVE_PORTAL: _NETWORK,
    Reason.REPLY_TOO_LARGE: _WAIT,
    Reason.REPLY_ENCODED: _WAIT,
    Reason.REPLY_NOT_JSON: _WAIT,
    Reason.REPLY_INVALID: _WAIT,
    Reason.REPLY_MISMATCHED: _WAIT,
    Reason.MONITOR_INTERNAL: "See the log; please report it.",
    Reason.STORAGE_FAILED: "Look at the database; checks go on, and are kept in memory.",
}
# The advice to one connection, as it is given to several.
_OF_SEVERAL = {RECONNECT: "Reconnect them on the PostPost dashboard.", _WAIT: "Nothing to do; checks go on and this clears by itself."}
_BY_TOPIC = {
    Topic.EXPIRY: RECONNECT_IN_TIME,
    Topic.RENEWAL: "Reconnect the account if the token is not renewed.",
    Topic.PUBLISHING: "Read the posting error; correct the post or reconnect the account.",
    Topic.PERMISSIONS: "Reconnect the account and grant the missing permissions.",
}
_BY_LEVEL = {
    (Topic.CONNECTION, topics.STALE): "Read the last errors of this connection; checks continue.",
    (Topic.CONNECTION, topics.FLAPPING): "Reconnect the account if the flapping continues.",
    (Topic.EXPIRY, topics.EXPIRED): RECONNECT,
}
_GONE_FROM_LIST = (
    "It was removed at PostPost, or reconnected under another id, which is then found by itself. "
    "If that was not intended, connect the account again."
)
RECEIVER_ADVICE = "Check the receiver and its address; pending messages are kept."
_STORAGE: tuple[tuple[str, str], ...] = (
    ("damaged", "Repair it as the log says; nothing is checked until then."),
    ("SQLITE_BUSY", "End the other program that locks the file, such as an open sqlite3."),
    ("SQLITE_LOCKED", "End the other program that locks the file, such as an open sqlite3."),
    ("SQLITE_FULL", "Free space on its disk."),
    ("SQLITE_", "Look at its disk and the permissions of the file; `postpost-monitor db check` examines it."),
    ("", "Look at the database server and the network to it; writing goes on by itself once it answers."),
)
_PLATFORM = "Wait for the platform first: many of its connections failed together. If this one stays broken alone, continue as below."
_FALSE_NEGATIVE = (
    "Check whether posts still succeed. If they do, set expect: unsupported for the connection, "
    "or add its message to policy.known_false_negatives."
)


def reconnects(advice: str) -> bool:
    """Whether *advice* says to reconnect an account: then the address of the dashboard belongs to it."""
    return "reconnect" in advice.lower() and advice != _NO_HELP


def reason_advice(reason: Reason, *, listed: bool = False) -> str:
    """What to do about *reason*; empty when nothing is needed. *listed*: the connection was found by discovery."""
    if listed and reason is Reason.CONNECTION_MISSING:
        return _GONE_FROM_LIST
    return _BY_REASON.get(reason, "")


def storage_advice(cause: str) -> str:
    """What to do about a database that takes no writes; *cause* is its own message."""
    return next(advice for words, advice in _STORAGE if words in cause)


def topic_advice(topic: Topic, level: str) -> str:
    """What to do at *level* of *topic*; empty when only the reason can say it."""
    return _BY_LEVEL.get((topic, level)) or _BY_TOPIC.get(topic, "")


def notification_advice(notification: Notification) -> str:
    """What to do about what a notification says; empty when nothing is needed."""
    if notification.level_to == FINE:
        return ""
    if notification.scope is Scope.RECEIVER:
        return RECEIVER_ADVICE
    if notification.scope is Scope.STORAGE:
        return storage_advice(notification.detail)
    facts = notification.facts
    if facts.suspected_false_negative:
        return _FALSE_NEGATIVE
    by_topic = topic_advice(notification.incident.topic, notification.level_to)
    advice = by_topic or (reason_advice(notification.reason, listed=facts.listed) if notification.reason is not None else "")
    return _OF_SEVERAL.get(advice, advice) if facts.members else advice


def health_advice(state: ConnectionState, *, listed: bool = False) -> str:
    """What to do about a broken connection; empty when it is not broken."""
    if not state.health.broken:
        return ""
    if state.health is Health.ERROR and state.suspected_false_negative:
        return _FALSE_NEGATIVE
    failed = state.cause is not None and outcome_of(state.cause) is Outcome.FAILED
    return reason_advice(state.cause, listed=listed) if state.cause is not None and failed else RECONNECT


def report_advice(report: ConnectionReport) -> Iterator[str]:
    """What to do about one connection, the widest cause first; lines may be empty, or repeated."""
    for scope in report.above:
        if scope.open and scope.reason is not None:
            yield _PLATFORM if scope.kind == "platform" and scope.hides_state else reason_advice(scope.reason)
    state = report.state
    yield health_advice(state, listed=report.connection.listed)
    if state.topic(Topic.CONNECTION).level == topics.STALE and state.last_reason is not None:
        yield reason_advice(state.last_reason)
    for topic, value in state.topics.items():
        if topic is not Topic.CONNECTION and value.level != FINE and not topics.clearing(state, topic):
            yield topic_advice(topic, value.level)
    if any(delivery.state == "dead" for record in report.notifications for delivery in record.deliveries):
        yield "Retry abandoned deliveries: postpost-monitor deliveries retry NUMBER."
    if not report.retired and state.last_check_at is None:
        yield "Start the monitor (postpost-monitor run), or test it now: postpost-monitor check."
