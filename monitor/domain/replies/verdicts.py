"""
The verdict on one answer; known false negatives.

Source: api-contract.md 3.2 and 3.3; reliability.md 3.1.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from monitor.domain.connections import SHORT_LIVED, Connection
from monitor.domain.reasons import CREDENTIAL, UPSTREAM, Outcome, outcome_of
from monitor.domain.replies.checks import Reply, Verdict
from monitor.domain.replies.platform_texts import ANY_PLATFORM, NO_PLATFORM_TEXTS, PlatformTexts, words_pattern
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
    # Such as HTTP/1.1 503, response code 503, ...
    rf"(?:(?:http(?:/[0-9](?:\.[0-9])?)?|status|respon(?:se|ded)){_FILLING}"
    # ... returned 502 for url, but not error: 500 characters are allowed, ...
    rf"|(?<![a-z])(?:error|code|failed|returned|got|received){_FILLING}(?=[0-9]{{3}}(?:\W*$|[^\w\s]|\s+(?:{_REASON_PHRASE}|for|from)))"
    # ... 504 Gateway Time-out, or nothing but 503.
    rf"|(?<![\w.#])(?=[0-9]{{3}}[\s:-]+{_REASON_PHRASE})|^\W*(?=[0-9]{{3}}\W*$)){_STATUS}"
)
_BY_STATUS = {
    **dict.fromkeys(("420", "429", "999"), Reason.PLATFORM_LIMITED),
    "401": Reason.CREDENTIAL_REJECTED,
    "403": Reason.RIGHTS_LOST,
    "404": Reason.TARGET_GONE,
    "410": Reason.TARGET_GONE,
}


def _found_by(*patterns: str) -> re.Pattern[str]:
    return re.compile(words_pattern("|".join(patterns)))


# A person repairs these, and a text that names one is believed whatever status or request to try again comes with it.
_REPAIRED = CREDENTIAL | {Reason.ACCOUNT_RESTRICTED, Reason.BOT_REMOVED, Reason.APP_REFUSED}

# What the table of platform texts does not know: the words of HTTP clients, and those that platforms share. First match wins.
_CERTAIN_TEXTS = (
    (Reason.BOT_REMOVED, _found_by(r"bot (?:was|has been) (?:kicked|removed)|bot is not (?:a member|in (?:the|this) )")),
    (
        Reason.APP_REFUSED,
        _found_by(r"app(?:lication)? (?:is |was |has been )(?:suspended|disabled|blocked|deleted)", "api plan does not include"),
    ),
    (
        Reason.ACCOUNT_RESTRICTED,
        _found_by(
            r"account (?:is |was |has been |have been )?(?:temporarily |permanently )?"
            r"(?:suspended|locked|disabled|restricted|deactivated|banned|terminated|frozen)",
            r"user (?:is |was |has been )?(?:suspended|banned|deactivated)",
            "checkpoint|challenge required",
        ),
    ),
    (Reason.TOKEN_EXPIRED, _found_by(r"session (?:has )?expired|token (?:\w+ ){0,5}expired|expired (?:access |refresh )?token")),
    (
        Reason.CREDENTIAL_REJECTED,
        _found_by(
            "session (?:has )?been invalidated|error validating access token|invalid oauth|invalid grant|login required",
            r"(?:invalid|malformed) (?:access |refresh |auth |bot )?token|(?<!unexpected\s)token (?:\w+ ){0,5}(?:invalid|revoked|removed|not valid)",
            "invalid (?:credential|identifier or password)",
            "(?:authori[sz]ation|access|session|token) (?:was |has been )?revoked|revoked (?:access|authori[sz]ation)",
            r"(?<!proxy\s)authentication required|authorization code is (?:invalid|expired)",
        ),
    ),
    (
        Reason.PLATFORM_LIMITED,
        _found_by(
            "rate.?limit|too many (?:requests|calls)|quota|(?:daily|hourly|usage|request) (?:limit|cap) (?:is |was )?(?:exceeded|reached)",
            "wait a few minutes before|posting too fast|limit how often|retry after [0-9]|error (?:code:? )?1015\\b",
        ),
    ),
)
_COMMON_TEXTS = (
    # Certificates expire too; so they come before the words for credentials.
    (
        Reason.PLATFORM_TROUBLE,
        _found_by(
            r"(?<![a-z])cert(?:ificate)?(?![a-z])|x509|self.signed|unable_to_verify|\bssl|\btlsv?[0-9]|\btls\b|wrong version number|pkix path"
        ),
    ),
    (Reason.CREDENTIAL_REJECTED, _found_by("revoked|unauthorized|reauth|re-auth|reconnect|unknown authentication scheme")),
    (Reason.RIGHTS_LOST, _found_by("posting rights|permission|not authorized|forbidden|insufficient[ _]scope|not (?:an? )?admin")),
    (
        Reason.PLATFORM_TROUBLE,
        _found_by(
            # Node (libuv, c-ares) and its clients (undici, axios, got, node-fetch)
            r"\be(?:ai_[a-z]+|acces|addr[a-z]+|again|already|badf|bad(?:name|query|resp)|busy|cancell?ed|charset|conn[a-z]+|destruction|fault|formerr"
            r"|host(?:unreach|down)|intr|inval|io|isconn|mfile|msgsize|net(?:unreach|down|reset)|nfile|no(?:bufs|data|dev|ent|mem|name|spc|sys)"
            r"|not(?:conn|found|imp|sock|sup)|overflow|perm|pipe|proto[a-z]*|refused|servfail|shutdown|(?:socket)?timed?out|timeout)\b",
            r"\bund_err|\berr_(?:network|bad_response|canceled|http2|stream|socket|ssl|tls|non_2xx|got)|\bhpe_|nghttp2|goaway|stream error",
            "fetch failed|network error|socket (?:hang up|error|closed|disconnected)|other side closed|premature (?:close|eof)|^(?:\\w+: )?terminated$",
            "network socket disconnected|(?:operation|request|stream|response) (?:was |has been )?aborted|aborterror|server aborted|^(?:aborted|cancell?ed)$|parse error",
            # Python, Go, Java
            "max retries exceeded|(?:name|host)(?:name)? (?:or service )?not known|unknown ?host|no such host|name resolution|failed to resolve",
            "no address associated|cannot connect to (?:host|server)|failed to (?:establish a|connect to|respond)|connection attempts failed|server disconnected",
            r"connection (?:was |is |has been |attempt )?(?:refused|reset|aborted|closed|terminated|lost|error|failed|broken|termination)",
            r"closed (?:network |idle |the )?connection|remote disconnected|incompleteread|(?:connect|read|write|remoteprotocol|ssl|socket)"
            r"(?:error|exception)\b|noroutetohost|nohttpresponse|no route to host|network is unreachable|broken pipe|i/o (?:timeout|error)|\beof\b",
            "end of (?:file|stream)|dial tcp|server misbehaving|context (?:deadline|canceled)|stream (?:closed|was reset)",
            # no JSON, but a page
            "unexpected (?:token|end of json)|not valid json|invalid json|<!doctype|<html",
            # proxies and platforms
            "time.?d? ?out|deadline exceeded|took too long|upstream|no healthy|bad gateway|gateway time|web server is down|origin (?:is unreachable|dns)",
            r"error (?:code:? )?10[0-9]{2}\b|(?:internal|backend|server|transient|temporary) (?:server )?(?:error|failure|problem)",
            r"(?:unexpected|unknown) error|something (?:went|is (?:technically )?)(?: ?wrong| ?broken)|over.?(?:capacity|loaded)",
            r"\b(?:re)?try (?:\w+ ){0,4}later|try again (?:in|after|shortly|soon)|wait a moment|maintenance",
            r"(?:service|server|api|temporarily|currently) (?:is )?(?:currently |temporarily )?(?:unavailable|offline|down)\b|^unavailable$",
            r"\"unavailable\"|api unknown|temporarily (?:out|not)",
        ),
    ),
    (
        Reason.TARGET_GONE,
        _found_by(
            r"(?:channel|page|content) (?:is un|is not |isn.?t )available|not found|could not (?:find|be found)",
            r"(?:user|account|page|channel|profile|board|chat|group|resource|member) (?:\S+ ){0,3}(?:(?:does not|no longer) exists?)",
            "has deleted (?:the|their) account|account (?:has been |was |is )(?:deleted|closed)",
        ),
    ),
)


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
    FalseNegativeRule(
        ANY_PLATFORM,
        r".*",
        r"duplicate[_ -]?(?:post|status|tweet|content|message)|is a duplicate\b|\(#506\)|\bcode\W{1,3}506\b",
    ),
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
    text = message.casefold()
    known = texts.reason(platform, message)
    if known in _REPAIRED:
        return known
    certain = _find(_CERTAIN_TEXTS, text)
    if certain is not None and (known is None or (known in UPSTREAM and certain in _REPAIRED)):
        return certain
    if known in UPSTREAM:
        return known
    found = _HTTP_STATUS.search(text)
    coded = _BY_STATUS.get(found[1], Reason.PLATFORM_TROUBLE) if found is not None else None
    # That a platform fails or limits requests is certain from its status, unless its text says what a person must repair.
    if coded in UPSTREAM:
        return coded
    return known or coded or _find(_COMMON_TEXTS, text) or Reason.VALIDATION_FAILED


def _find(texts: Iterable[tuple[Reason, re.Pattern[str]]], text: str) -> Reason | None:
    return next((reason for reason, pattern in texts if pattern.search(text)), None)


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
