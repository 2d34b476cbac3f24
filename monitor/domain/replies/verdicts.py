"""
The verdict on one answer; known false negatives.

Source: api-contract.md 3.2 and 3.3; reliability.md 3.1.
"""

import re
from dataclasses import dataclass

from monitor.domain.connections import SHORT_LIVED, Connection
from monitor.domain.reasons import CREDENTIAL, UPSTREAM, Outcome, outcome_of
from monitor.domain.replies.checks import Reply, Verdict
from monitor.domain.replies.platform_texts import ANY_PLATFORM, NO_PLATFORM_TEXTS, PlatformTexts
from monitor.domain.replies.token_life import TokenLife, TokenSays
from monitor.errors import ApiError, Reason

EXPECT_OK = "ok"
EXPECT_UNSUPPORTED = "unsupported"

# HTTP statuses that platforms, and the networks before them, answer with; error numbers of a platform are others.
_STATUS = r"(401|403|404|408|410|420|425|429|50[0-4789]|52[0-9]|530|59[89]|999)\b"
_REASON_PHRASE = (
    r"(?:internal|server|client|bad|gateway|service|web|origin|unknown|too many|unauthorized|forbidden|not found|gone|site|network|backend"
    r"|connection|time|error)\b"
)
_FILLING = r"(?:[\s:=!\"'(_]|with|an?\b|http|error|status|code|response|server)*"
_HTTP_STATUS = re.compile(
    rf"(?:(?:http(?:/[0-9](?:\.[0-9])?)?|status|respon(?:se|ded)){_FILLING}"
    # Such as HTTP/1.1 503; returned 502 for url, but not error: 500 characters are allowed; 504 Gateway Time-out.
    rf"|(?<![a-z])(?:error|code|failed|returned|got|received){_FILLING}(?=[0-9]{{3}}(?:\W*$|[^\w\s]|\s+(?:{_REASON_PHRASE}|for|from)))"
    rf"|(?<![\w.#])(?=[0-9]{{3}}[\s:-]+{_REASON_PHRASE})|^\W*(?=[0-9]{{3}}\W*$)){_STATUS}"
)
_BY_STATUS = dict.fromkeys(("420", "429", "999"), Reason.PLATFORM_LIMITED) | dict.fromkeys(("404", "410"), Reason.TARGET_GONE)
_BY_STATUS |= {"401": Reason.CREDENTIAL_REJECTED, "403": Reason.RIGHTS_LOST}

# A text that names one of these is believed whatever status or request to try again comes with it.
_CERTAIN = CREDENTIAL | UPSTREAM | {Reason.ACCOUNT_RESTRICTED, Reason.BOT_REMOVED, Reason.APP_REFUSED}


@dataclass(frozen=True, slots=True)
class FalseNegativeRule:
    """
    A failure that the API's test is known to report for working connections.

    Attributes:
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
    # A post that was refused as a duplicate shows that the connection works.
    FalseNegativeRule(ANY_PLATFORM, r".*", r"duplicate[_ -]?(?:post|status|tweet|content)|is a duplicate\b|\(#506\)|\bcode\W{1,3}506\b"),
)


def judge(
    answer: Reply | ApiError,
    connection: Connection,
    rules: tuple[FalseNegativeRule, ...] = DEFAULT_FALSE_NEGATIVES,
    texts: PlatformTexts = NO_PLATFORM_TEXTS,
) -> Verdict:
    """
    Return the verdict on one answer about *connection*.

    Args:
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
    reason = classify(answer.message, connection.platform, texts)
    # Texts about a token that the API renews by itself do not say why the credential is refused.
    if reason in CREDENTIAL and connection.platform not in SHORT_LIVED:
        reason = _expired_or_rejected(reason, answer.token)
    return Verdict(reason, answer.message)


def classify(message: str, platform: str = "", texts: PlatformTexts = NO_PLATFORM_TEXTS) -> Reason:
    """Return the reason for the error *message* of *platform*; `validation_failed` for a message that is not known."""
    entry = texts.find(platform, message)
    certain = entry.reason if entry is not None and not entry.weak else None
    if certain in _CERTAIN:
        return certain
    found = _HTTP_STATUS.search(message.casefold())
    coded = _BY_STATUS.get(found[1], Reason.PLATFORM_TROUBLE) if found is not None else None
    # That a platform fails or limits requests is certain from its status, unless its text says what a person must repair.
    if coded in UPSTREAM:
        return coded
    return certain or coded or (entry.reason if entry is not None else Reason.VALIDATION_FAILED)


def _expired_or_rejected(reason: Reason, token: TokenLife) -> Reason:
    """A rejected credential whose token is reported as expired is expired; a text that says so is not believed while time is left."""
    if token.says is TokenSays.EXPIRED:
        return Reason.TOKEN_EXPIRED
    return Reason.CREDENTIAL_REJECTED if token.says is TokenSays.LEFT and not token.below else reason


def _judge_error(error: ApiError, connection: Connection) -> Verdict:
    """Return the verdict on an error: a refused id that the API itself listed cannot be tested, a configured one is wrong."""
    if error.reason is Reason.ID_REFUSED:
        if connection.expect == EXPECT_UNSUPPORTED:
            return Verdict(Reason.EXPECTED_UNSUPPORTED, error.detail)
        if connection.listed and connection.expect != EXPECT_OK:
            return Verdict(Reason.ID_UNSUPPORTED, error.detail)
    return Verdict(error.reason, error.detail)
