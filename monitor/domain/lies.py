"""
Known lies: answers that say `error` although the connection works, because the API's own test can't do better.

A table, so that it can be extended in the configuration without a release. First match wins.

Source: api-contract.md 3.2; the API's page on test-connection.
"""

import re
from dataclasses import dataclass

from monitor.domain.model import Outcome
from monitor.domain.reasons import outcome_of
from monitor.errors import Reason

ANY_PLATFORM = "*"


@dataclass(frozen=True, slots=True)
class KnownLie:
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

    def covers(self, platform: str, platform_id: str, message: str) -> bool:
        """Whether an error *message* about this connection is this lie."""
        if self.platform not in (ANY_PLATFORM, platform):
            return False
        return bool(re.fullmatch(self.id_pattern, platform_id) and re.search(self.message_pattern, message, re.IGNORECASE))


DEFAULT_LIES: tuple[KnownLie, ...] = (
    KnownLie(ANY_PLATFORM, r".*", r"^unknown platform\b", Reason.PLATFORM_UNKNOWN),
    # A bot's id has two dashes: chat ids are negative. There the same text is the truth.
    KnownLie("telegram", r"[Tt][Ee][Ll][Ee][Gg][Rr][Aa][Mm]-[0-9]+", r"invalid bot (?:token|connection)", Reason.VALIDATOR_LACKS_MTPROTO),
    # "Invalid credentials" would mean that the test has learned to try; so would any answer of Bluesky's own.
    KnownLie(
        "bluesky",
        r".*",
        r"^(?!.*(?:\binvalid|status code|timeout|timed out|rate limit|expired|revoked))"
        r"(?=.*(?:\bmissing\b|\bno\b|\black(?:s|ing)?\b|\bwithout\b|\brequire|\bnot (?:found|set|configured)\b))"
        r"(?=.*(?:credential|access[ _]?token))",
        Reason.VALIDATOR_LACKS_CREDENTIALS,
    ),
)
