"""
From one answer to one verdict; known false negatives.

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
    One of them.

    Attributes:
        platform: the platform it is about, lower case, or `"*"`.
        id_pattern: regular expression that the whole platform id matches.
        message_pattern: regular expression found in the message, whatever its case.
        reason: what the answer stands for; an `unsupported` one.

    Raises:
        ValueError: a pattern is no regular expression, or the reason is evidence.
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
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        if outcome_of(self.reason) is not Outcome.UNSUPPORTED:
            raise ValueError(f"{self.reason} does not say that a connection cannot be tested")

    def matches(self, platform: str, platform_id: str, message: str) -> bool:
        """Whether an error *message* about this connection is this lie."""
        if self.platform not in (ANY_PLATFORM, platform):
            return False
        return bool(re.fullmatch(self.id_pattern, platform_id) and re.search(self.message_pattern, message, re.IGNORECASE))


ANY_PLATFORM = "*"


DEFAULT_FALSE_NEGATIVES: tuple[FalseNegativeRule, ...] = (
    FalseNegativeRule(ANY_PLATFORM, r".*", r"^unknown platform\b", Reason.PLATFORM_UNKNOWN),
    # A bot's id has two dashes: chat ids are negative. There the same text is the truth.
    FalseNegativeRule(
        "telegram", r"[Tt][Ee][Ll][Ee][Gg][Rr][Aa][Mm]-[0-9]+", r"invalid bot (?:token|connection)", Reason.VALIDATOR_LACKS_MTPROTO
    ),
    # "Invalid credentials" would mean that the test has learned to try; so would any answer of Bluesky's own.
    FalseNegativeRule(
        "bluesky",
        r".*",
        r"^(?!.*(?:\binvalid|status code|timeout|timed out|rate limit|expired|revoked))"
        r"(?=.*(?:\bmissing\b|\bno\b|\black(?:s|ing)?\b|\bwithout\b|\brequire|\bnot (?:found|set|configured)\b))"
        r"(?=.*(?:credential|access[ _]?token))",
        Reason.VALIDATOR_LACKS_CREDENTIALS,
    ),
)


def judge(answer: Reply | ApiError, connection: Connection, lies: tuple[FalseNegativeRule, ...] = DEFAULT_FALSE_NEGATIVES) -> Verdict:
    """
    What one answer tells about one connection.

    Args:
        answer: the parsed reply, or why there is none.
        connection: decides what may be believed: `expect`, and whether the API itself listed the id.
        lies: error messages that mean "cannot be tested"; not applied where the operator expects `ok`.
    """
    if isinstance(answer, ApiError):
        return _judge_error(answer, connection)
    if answer.passed:
        return Verdict(Reason.OK, answer.message)
    if connection.expect == EXPECT_UNSUPPORTED:
        return Verdict(Reason.EXPECTED_UNSUPPORTED, answer.message)
    if connection.expect != EXPECT_OK:
        for lie in lies:
            if lie.matches(answer.platform, answer.platform_id, answer.message):
                return Verdict(lie.reason, answer.message)
    reason = classify(answer.message)
    if reason is Reason.CREDENTIAL_REJECTED and answer.token.says is TokenSays.EXPIRED:
        reason = Reason.TOKEN_EXPIRED
    return Verdict(reason, answer.message)


def classify(message: str) -> Reason:
    """The kind of failure an error message tells of."""
    text = message.casefold()
    coded = _STATUS_CODE.search(text)
    if coded is not None:
        # The platform's own status code is more reliable than the words around it.
        reason = Reason.PLATFORM_TROUBLE if coded[1].startswith("5") else _BY_STATUS_CODE.get(coded[1])
        if reason is not None:
            return reason
    for reason, pattern in _MESSAGE_CLASSES:
        if pattern.search(text):
            return reason
    return Reason.VALIDATION_FAILED


def _judge_error(error: ApiError, connection: Connection) -> Verdict:
    """An id that the API listed and now refuses is the limit of its test; one that a person wrote is a mistake."""
    if error.reason is Reason.ID_REFUSED:
        if connection.expect == EXPECT_UNSUPPORTED:
            return Verdict(Reason.EXPECTED_UNSUPPORTED, error.detail)
        if connection.listed and connection.expect != EXPECT_OK:
            return Verdict(Reason.ID_UNSUPPORTED, error.detail)
    return Verdict(error.reason, error.detail)
