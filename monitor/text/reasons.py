"""A reason, a state or a preflight result as one clause."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType

from monitor.domain import topics
from monitor.domain.events import FINE, Topic
from monitor.domain.projections.preflight import PreflightCause, PreflightResult
from monitor.domain.reasons import Health, Outcome, outcome_of
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.states import ConnectionState
from monitor.errors import DeliveryReason, Reason
from monitor.text.durations import span
from monitor.text.format import one_line, scope_text, title_of

_QUOTED = 300

REASON_TEXTS: dict[Reason, str] = {
    Reason.OK: "the connection works",
    Reason.CREDENTIAL_REJECTED: "the platform rejects the stored credential",
    Reason.TOKEN_EXPIRED: "the access token has expired",
    Reason.RIGHTS_LOST: "the account lost a right it needs for posting",
    Reason.BOT_REMOVED: "the bot was removed from the channel or group",
    Reason.ACCOUNT_RESTRICTED: "the platform suspended or locked the account",
    Reason.TARGET_GONE: "the page, channel or profile is gone",
    Reason.APP_REFUSED: "the platform refuses the app of PostPost, not this account",
    Reason.PLATFORM_LIMITED: "the platform limits requests",
    Reason.PLATFORM_TROUBLE: "the platform itself has trouble",
    Reason.VALIDATION_FAILED: "the test of the connection failed",
    Reason.CONNECTION_MISSING: "the API does not know this connection",
    Reason.ID_REFUSED: "the API refuses the configured id",
    Reason.PLATFORM_UNKNOWN: "the API has no test for this platform",
    Reason.VALIDATOR_LACKS_MTPROTO: "the API cannot test Telegram MTProto connections",
    Reason.VALIDATOR_LACKS_CREDENTIALS: "the API's test lacks the credentials of this platform",
    Reason.ID_UNSUPPORTED: "the API's test cannot read this id although the API listed it",
    Reason.KNOWN_FALSE_NEGATIVE: "the answer matches a configured known false negative",
    Reason.EXPECTED_UNSUPPORTED: "the configuration says that this connection cannot be tested",
    Reason.API_VALIDATOR_FAILED: "the API's test crashed for this connection",
    Reason.API_UNAUTHORIZED: "the API key is revoked or wrong",
    Reason.API_FORBIDDEN: "the account has no API access",
    Reason.WORKSPACE_FORBIDDEN: "the key may not act for managed users",
    Reason.USER_NOT_MANAGED: "the key does not manage this user",
    Reason.USER_ID_INVALID: "the managed user's id is malformed",
    Reason.API_THROTTLED: "the API limits our requests",
    Reason.API_DNS_FAILED: "the API's name cannot be resolved",
    Reason.API_UNREACHABLE: "the API cannot be reached",
    Reason.API_TLS_EXPIRED: "the API's certificate has expired",
    Reason.API_TLS_FAILED: "the API's certificate is not trusted",
    Reason.API_TIMEOUT: "the API did not answer in time",
    Reason.API_DISCONNECTED: "the API's answer was cut off",
    Reason.API_REDIRECTED: "the API answered with a redirect, which is never followed",
    Reason.API_FAILED: "the API answered with a server error",
    Reason.API_REFUSED: "the API refused the request",
    Reason.API_NOT_FOUND: "there is no API at this address",
    Reason.PROXY_ANSWERED: "a proxy or gateway answered in place of the API",
    Reason.CAPTIVE_PORTAL: "a web page answered in place of the API",
    Reason.REPLY_TOO_LARGE: "the answer was too large",
    Reason.REPLY_ENCODED: "the answer was compressed although we asked for none",
    Reason.REPLY_NOT_JSON: "the answer was not JSON",
    Reason.REPLY_INVALID: "the answer did not have the documented form",
    Reason.REPLY_MISMATCHED: "the answer was about another connection",
    Reason.MONITOR_INTERNAL: "the monitor itself failed",
    Reason.STORAGE_FAILED: "its database takes no writes",
}


def reason_text(reason: Reason) -> str:
    """What *reason* says, as a clause without a full stop."""
    return REASON_TEXTS[reason]


def quoted_reason(reason: Reason, detail: str, limit: int = _QUOTED) -> str:
    """What *reason* says, with the text of the API or platform in quotes."""
    text = reason_text(reason)
    return f"{text} (“{one_line(detail, limit)}”)" if detail.strip() and detail != text else text


def reason_with_detail(reason: Reason, detail: str) -> str:
    """What *reason* says, then *detail* after a colon."""
    return f"{reason_text(reason)}: {detail}" if detail else reason_text(reason)


_TOPIC_TEXTS = {
    Topic.EXPIRY: "the token expires soon",
    Topic.RENEWAL: "the token's usual renewal is overdue",
    Topic.PUBLISHING: "the test passes, but posts fail",
    Topic.PERMISSIONS: "permissions are missing",
}
# While one more check has to confirm the recovery.
_CLEARING_TEXTS = {
    Topic.EXPIRY: "the token seems to be renewed",
    Topic.PERMISSIONS: "the permissions seem to be restored",
}
_LEVEL_TEXTS = {
    topics.STALE: "no conclusive check for too long",
    topics.FLAPPING: "it changes between working and broken again and again",
}


def state_text(
    state: ConnectionState,
    open_topics: Sequence[Topic],
    suppressed_by: str | None,
    *,
    level: str = FINE,
    users: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """
    Why a connection is in its state, in one clause; empty when it works.

    Args:
        open_topics: the topics that have an open incident.
        suppressed_by: the open scope incident above it, or None.
        level: of the topic `connection`.
    """
    if suppressed_by is not None:
        title = title_of(suppressed_by, users)
        return title[:1].lower() + title[1:]
    if state.health not in {Health.OK, Health.UNKNOWN} and state.reason is not None and outcome_of(state.reason) is not Outcome.PASSED:
        return quoted_reason(state.reason, state.detail, limit=160)
    if level in _LEVEL_TEXTS:
        return _LEVEL_TEXTS[level]
    if state.last_check_at is None:
        return "never checked"
    clauses = [_topic_text(state, topic) for topic in open_topics if topic in _TOPIC_TEXTS]
    if state.pending is not None and state.last_reason is not None:
        clauses.append(f"being confirmed: {reason_text(state.last_reason)}")
    elif state.last_reason is not None and outcome_of(state.last_reason) is Outcome.INCONCLUSIVE:
        clauses.append(f"last check inconclusive: {reason_text(state.last_reason)}")
    return "; ".join(clauses)


def _topic_text(state: ConnectionState, topic: Topic) -> str:
    if topic in _CLEARING_TEXTS and topics.clearing(state, topic):
        return _CLEARING_TEXTS[topic]
    if topic is Topic.EXPIRY and state.topic(topic).level == topics.EXPIRED:
        return "the token has expired"
    return _TOPIC_TEXTS[topic]


_PREFLIGHT_TEXTS = {
    PreflightCause.NOT_WATCHED: "the monitor does not watch it",
    PreflightCause.STORAGE_FAILED: "the database takes no writes, so the last checks may not be known",
    PreflightCause.NO_EVIDENCE: "no conclusive check yet",
    PreflightCause.SCOPE_INCIDENT: "its state cannot be known during the incident of {scope}",
    PreflightCause.INCONCLUSIVE: "the last check was inconclusive: {reason}",
    PreflightCause.UNCONFIRMED: "the last check contradicts the earlier ones and is being confirmed",
    PreflightCause.TOO_OLD: "the last conclusive check was {duration} ago, longer than {limit}",
    PreflightCause.CLOCK_CHANGED: "the last check is dated in the future, so the clock is or was wrong",
    PreflightCause.HEALTH: "{reason}",
    PreflightCause.VERDICT: "{reason}",
    PreflightCause.TOKEN_LIFE: "the token has only {duration} left, less than {limit}",
    PreflightCause.TOKEN_UNPARSED: "it works, but the remaining life of its token cannot be read",
}
_MAY_BE_EXPIRED = "the token may expire at any moment, less than {limit} from now"


def preflight_text(result: PreflightResult) -> str:
    """Why a preflight says what it says, in one clause."""
    verdict, duration = result.verdict, result.duration or timedelta(0)
    reason = reason_with_detail(verdict.reason, verdict.detail) if verdict is not None else "unknown"
    passed = verdict is None or outcome_of(verdict.reason) is Outcome.PASSED
    if result.cause is PreflightCause.HEALTH and passed:
        reason = f"its health is {result.health}"
    expired = result.cause is PreflightCause.TOKEN_LIFE and duration <= timedelta(0)
    text = _MAY_BE_EXPIRED if expired else _PREFLIGHT_TEXTS[result.cause]
    return text.format(
        reason=reason,
        duration=span(duration),
        limit=span(result.limit or timedelta(0)),
        scope=scope_text(ScopeKey.parse(result.scope), {}) if result.scope else "",
    )


OUTCOME_TEXTS = {
    Outcome.PASSED: "passed",
    Outcome.FAILED: "failed",
    Outcome.INCONCLUSIVE: "inconclusive",
    Outcome.UNSUPPORTED: "cannot be tested",
}
RESPONSE_TEXTS = {
    DeliveryReason.DELIVERED: "accepted",
    DeliveryReason.CLIENT_ERROR: "refused the message",
    DeliveryReason.AUTH_ERROR: "refused our credentials",
    DeliveryReason.GONE: "answered that it is gone",
    DeliveryReason.RATE_LIMITED: "asked for fewer messages",
    DeliveryReason.SERVER_ERROR: "failed",
    DeliveryReason.REDIRECTED: "answered with a redirect, which is never followed",
    DeliveryReason.TIMEOUT: "did not answer in time",
    DeliveryReason.UNREACHABLE: "could not be reached",
    DeliveryReason.ADDRESS_REFUSED: "has an address that is not allowed",
    DeliveryReason.DISCONNECTED: "closed the connection",
    DeliveryReason.UNKNOWN: "did not take the message, for a reason that is not known",
    DeliveryReason.INTERNAL: "got no request: the monitor failed",
    DeliveryReason.NOT_SENT: "takes no such messages",
}
"""What a receiver did with a message, as the rest of a sentence about it."""
