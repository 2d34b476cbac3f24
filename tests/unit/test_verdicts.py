"""From answers to verdicts: classes of messages, known lies, and what the operator expects."""

from functools import partial

import pytest

from monitor.domain.replies import verdicts
from monitor.domain.replies.token_life import TokenLife, TokenSays
from monitor.domain.replies.verdicts import DEFAULT_FALSE_NEGATIVES, FalseNegativeRule
from monitor.errors import ApiError, Reason
from tests.builders import a_connection, a_reply
from tests.configured import PLATFORM_TEXTS

classify = partial(verdicts.classify, texts=PLATFORM_TEXTS)
judge = partial(verdicts.judge, texts=PLATFORM_TEXTS)

CLASSES = {
    Reason.TOKEN_EXPIRED: ["Error validating access token: Session has expired", "Token expired", "The access token has expired"],
    Reason.ACCOUNT_RESTRICTED: ["Your account is suspended", "This account has been temporarily locked", "checkpoint required"],
    Reason.BOT_REMOVED: ["Bot was kicked from the channel"],
    Reason.PLATFORM_LIMITED: ["Request failed with status code 429", "Rate limit exceeded", "Too Many Requests"],
    Reason.CREDENTIAL_REJECTED: [
        "Invalid OAuth access token - Cannot parse",
        "access token is invalid or not found",
        "Token has been revoked",
        "Request failed with status code 401",
        "Unauthorized",
        "Invalid bot token",
        "Please reauthenticate",
        "Please reconnect your account",
        "invalid_grant",
        "Invalid credentials",
    ],
    Reason.RIGHTS_LOST: [
        "Bot needs channel administrator posting rights",
        "Request failed with status code 403",
        "(#200) Requires pages_manage_posts permission",
        "User not authorized for this page",
    ],
    Reason.TARGET_GONE: ["Channel is unavailable", "Request failed with status code 404", "Page not found"],
    Reason.PLATFORM_TROUBLE: [
        "Request failed with status code 500",
        "Request failed with status code 503: please reconnect later",
        "timeout of 10000ms exceeded",
        "connect ETIMEDOUT 1.2.3.4:443",
        "read ECONNRESET",
        "getaddrinfo ENOTFOUND api.linkedin.com",
        "socket hang up",
        "Network Error",
    ],
    Reason.VALIDATION_FAILED: ["", "Something odd", "Request failed with status code 400", "Invalid image format"],
}


@pytest.mark.parametrize(("reason", "message"), [(reason, message) for reason, messages in CLASSES.items() for message in messages])
def test_class(reason: Reason, message: str) -> None:
    """Each message belongs to one class, whatever its case."""
    assert classify(message) is reason
    assert classify(message.upper()) is reason


BLUESKY = [
    ("Missing credentials", Reason.VALIDATOR_LACKS_CREDENTIALS),
    ("Access token not found", Reason.VALIDATOR_LACKS_CREDENTIALS),
    ("No accessToken stored", Reason.VALIDATOR_LACKS_CREDENTIALS),
    ("Bluesky requires credentials", Reason.VALIDATOR_LACKS_CREDENTIALS),
    ("credentials not configured", Reason.VALIDATOR_LACKS_CREDENTIALS),
    ("Invalid identifier or password", Reason.CREDENTIAL_REJECTED),
    ("Invalid credentials: missing app password credential", Reason.CREDENTIAL_REJECTED),
    ("Request failed with status code 502", Reason.PLATFORM_TROUBLE),
    ("Request failed with status code 401: missing access token", Reason.CREDENTIAL_REJECTED),
    ("Something odd", Reason.VALIDATION_FAILED),
]


@pytest.mark.parametrize(("message", "reason"), BLUESKY)
def test_bluesky(message: str, reason: Reason) -> None:
    """Bluesky's lie is that the test lacks something; a real attempt that failed is a failure."""
    reply = a_reply(passed=False, platform="bluesky", platform_id="bluesky-did:plc:abc", message=message)
    assert judge(reply, a_connection(platform_id="bluesky-did:plc:abc")).reason is reason


def test_lie_belongs_to_its_platform() -> None:
    """A lie of one platform is the truth on another."""
    reply = a_reply(passed=False, message="Missing credentials")
    assert judge(reply, a_connection(platform_id="linkedin-page1")).reason is Reason.VALIDATION_FAILED


def test_passed_beats_every_expectation() -> None:
    """A connection that passes is ok, also where nobody expected it: the API has learned to test it."""
    for expect in ("auto", "ok", "unsupported"):
        assert judge(a_reply(message="Unknown platform: x"), a_connection(expect=expect)).reason is Reason.OK


@pytest.mark.parametrize(
    ("expect", "reason"),
    [("auto", Reason.PLATFORM_UNKNOWN), ("ok", Reason.VALIDATION_FAILED), ("unsupported", Reason.EXPECTED_UNSUPPORTED)],
)
def test_expect(expect: str, reason: Reason) -> None:
    """`expect: ok` believes every failure, `expect: unsupported` none."""
    assert judge(a_reply(passed=False, message="Unknown platform: x"), a_connection(expect=expect)).reason is reason


@pytest.mark.parametrize(
    ("listed", "expect", "reason"),
    [
        (True, "auto", Reason.ID_UNSUPPORTED),
        (True, "ok", Reason.ID_REFUSED),
        (True, "unsupported", Reason.EXPECTED_UNSUPPORTED),
        (False, "auto", Reason.ID_REFUSED),
        (False, "unsupported", Reason.EXPECTED_UNSUPPORTED),
    ],
)
def test_refused_id(listed: bool, expect: str, reason: Reason) -> None:
    """A refused id is the API's limit if the API listed it, and a mistake if a person wrote it."""
    answer = ApiError(Reason.ID_REFUSED, "HTTP 400 Invalid platformId format")
    verdict = judge(answer, a_connection(listed=listed, expect=expect))
    assert (verdict.reason, verdict.detail) == (reason, "HTTP 400 Invalid platformId format")


def test_other_errors_pass_through() -> None:
    """Whatever else went wrong stays what it is, also where the test is expected not to work."""
    for reason in (Reason.CONNECTION_MISSING, Reason.API_UNAUTHORIZED, Reason.API_TIMEOUT):
        assert judge(ApiError(reason), a_connection(expect="unsupported")).reason is reason


def test_expired_token_explains_a_rejected_credential() -> None:
    """Rejected and expired is `token_expired`; an expired token alone explains nothing else, and never a pass."""
    expired = TokenLife(TokenSays.EXPIRED, raw="expired")
    rejected = a_reply(passed=False, message="Session has expired", token=expired)
    assert judge(rejected, a_connection()).reason is Reason.TOKEN_EXPIRED
    assert judge(a_reply(passed=False, message="status code 503", token=expired), a_connection()).reason is Reason.PLATFORM_TROUBLE
    assert judge(a_reply(token=expired), a_connection()).reason is Reason.OK


def test_configured_lie() -> None:
    """A lie from the configuration is applied besides the known ones."""
    lie = FalseNegativeRule("mastodon", r"mastodon-9.*", "instance not supported")
    lies = (*DEFAULT_FALSE_NEGATIVES, lie)
    reply = a_reply(passed=False, platform="mastodon", platform_id="mastodon-99", message="Instance not supported")
    assert judge(reply, a_connection(platform_id="mastodon-99"), lies).reason is Reason.KNOWN_FALSE_NEGATIVE
    assert judge(reply, a_connection(platform_id="mastodon-99")).reason is Reason.VALIDATION_FAILED
    assert not lie.matches("mastodon", "mastodon-19", "Instance not supported")


def test_unusable_lie() -> None:
    """An invalid pattern, and a reason that is evidence, are refused at once."""
    with pytest.raises(ValueError, match="not a valid regular expression"):
        FalseNegativeRule("*", "(", "x")
    with pytest.raises(ValueError, match="does not say"):
        FalseNegativeRule("*", ".*", "x", Reason.OK)
