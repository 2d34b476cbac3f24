"""
The verdict on one answer; known false negatives.

Source: api-contract.md 3.2 and 3.3; reliability.md 3.1.
"""

import re
from dataclasses import dataclass

from monitor.domain.checks import Reply, Verdict
from monitor.domain.connections import Connection
from monitor.domain.reasons import Outcome, outcome_of
from monitor.domain.token_life import TokenSays
from monitor.errors import ApiError, Reason

EXPECT_OK = "ok"
EXPECT_UNSUPPORTED = "unsupported"

_STATUS_CODE = re.compile(r"status code:? ([0-9]{3})\b")
_BY_STATUS_CODE = {"401": Reason.CREDENTIAL_REJECTED, "403": Reason.RIGHTS_LOST, "404": Reason.TARGET_GONE, "429": Reason.PLATFORM_TROUBLE}

# First match wins. The texts are the platforms' own and change without notice: substrings, never equality.
_MESSAGE_CLASSES = (
    (
        Reason.CREDENTIAL_REJECTED,
        re.compile(
            r"session (?:has )?(?:expired|been invalidated)|error validating access token|invalid[ _]oauth|invalid_grant"
            r"|token (?:has |is |was )?expired|expired (?:access |refresh )?token|invalid (?:access |refresh |auth )?token"
            r"|invalid (?:credential|identifier or password)|revoked|unauthorized|invalid bot token|reauth|re-auth|reconnect"
        ),
    ),
    (Reason.RIGHTS_LOST, re.compile(r"posting rights|permission|not authorized|forbidden|insufficient[ _]scope")),
    (
        Reason.PLATFORM_TROUBLE,
        re.compile(
            r"rate limit|too many requests|timeout|timed out|etimedout|econnreset|econnrefused|enotfound|eai_again"
            r"|socket hang up|network error|temporarily unavailable|service unavailable|bad gateway"
        ),
    ),
    (Reason.TARGET_GONE, re.compile(r"channel is unavailable|not found")),
)


@dataclass(frozen=True, slots=True)
class FalseNegativeRule:
    """
    A failure that the API's test is known to report for working connections.

    Attributes:
        platform: the platform, lower case, or `"*"`.
        id_pattern: regular expression that matches the whole platform id.
        message_pattern: regular expression that is searched in the message, ignoring case.
        reason: the reason of the verdict; one with the outcome `unsupported`.

    Raises:
        ValueError: a pattern is not a valid regular expression, or the reason has another outcome.
    """

    platform: str
    id_pattern: str
    message_pattern: str
    reason: Reason = Reason.KNOWN_FALSE_NEGATIVE

    def __post_init__(self) -> None:
        for pattern in (self.id_pattern, self.message_pattern):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a valid regular expression: {error}") from None
        if outcome_of(self.reason) is not Outcome.UNSUPPORTED:
            raise ValueError(f"{self.reason} does not say that a connection cannot be tested")

    def matches(self, platform: str, platform_id: str, message: str) -> bool:
        """Whether an error *message* about this connection is this false negative."""
        if self.platform not in (ANY_PLATFORM, platform):
            return False
        return bool(re.fullmatch(self.id_pattern, platform_id) and re.search(self.message_pattern, message, re.IGNORECASE))


ANY_PLATFORM = "*"


DEFAULT_FALSE_NEGATIVES: tuple[FalseNegativeRule, ...] = (
    FalseNegativeRule(ANY_PLATFORM, r".*", r"^unknown platform\b", Reason.PLATFORM_UNKNOWN),
    # User sessions only. A bot's id has two dashes, because chat ids are negative; for bots the same message is a real failure.
    FalseNegativeRule(
        "telegram", r"[Tt][Ee][Ll][Ee][Gg][Rr][Aa][Mm]-[0-9]+", r"invalid bot (?:token|connection)", Reason.VALIDATOR_LACKS_MTPROTO
    ),
    # The test has no credentials to try. "Invalid credentials", or an answer of Bluesky itself, would be a real failure.
    FalseNegativeRule(
        "bluesky",
        r".*",
        r"^(?!.*(?:\binvalid|status code|timeout|timed out|rate limit|expired|revoked))"
        r"(?=.*(?:\bmissing\b|\bno\b|\black(?:s|ing)?\b|\bwithout\b|\brequire|\bnot (?:found|set|configured)\b))"
        r"(?=.*(?:credential|access[ _]?token))",
        Reason.VALIDATOR_LACKS_CREDENTIALS,
    ),
)


def judge(answer: Reply | ApiError, connection: Connection, rules: tuple[FalseNegativeRule, ...] = DEFAULT_FALSE_NEGATIVES) -> Verdict:
    """
    Return the verdict on one answer about *connection*.

    Args:
        answer: the parsed reply, or the error.
        connection: its `expect` and `listed` decide whether a failure means "cannot be tested".
        rules: the known false negatives; not applied where the operator expects `ok`.
    """
    if isinstance(answer, ApiError):
        return _judge_error(answer, connection)
    if answer.passed:
        return Verdict(Reason.OK, answer.message)
    if connection.expect == EXPECT_UNSUPPORTED:
        return Verdict(Reason.EXPECTED_UNSUPPORTED, answer.message)
    if connection.expect != EXPECT_OK:
        for rule in rules:
            if rule.matches(answer.platform, answer.platform_id, answer.message):
                return Verdict(rule.reason, answer.message)
    reason = classify(answer.message)
    if reason is Reason.CREDENTIAL_REJECTED and answer.token.says is TokenSays.EXPIRED:
        reason = Reason.TOKEN_EXPIRED
    return Verdict(reason, answer.message)


def classify(message: str) -> Reason:
    """Return the reason for a platform's error message."""
    text = message.casefold()
    coded = _STATUS_CODE.search(text)
    if coded is not None:
        # The platform's status code is more reliable than the text around it.
        reason = Reason.PLATFORM_TROUBLE if coded[1].startswith("5") else _BY_STATUS_CODE.get(coded[1])
        if reason is not None:
            return reason
    for reason, pattern in _MESSAGE_CLASSES:
        if pattern.search(text):
            return reason
    return Reason.VALIDATION_FAILED


def _judge_error(error: ApiError, connection: Connection) -> Verdict:
    """Return the verdict on an error: a refused id that the API itself listed cannot be tested, a configured one is wrong."""
    if error.reason is Reason.ID_REFUSED:
        if connection.expect == EXPECT_UNSUPPORTED:
            return Verdict(Reason.EXPECTED_UNSUPPORTED, error.detail)
        if connection.listed and connection.expect != EXPECT_OK:
            return Verdict(Reason.ID_UNSUPPORTED, error.detail)
    return Verdict(error.reason, error.detail)
