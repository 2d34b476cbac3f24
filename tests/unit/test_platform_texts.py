"""The table of platform texts: every documented message has its reason, configured ones come first, unknown ones stay unknown."""

import re
import time
from collections.abc import Callable
from typing import get_args

import pytest

from monitor.config.platform_texts import built_in_texts, platform_texts_of
from monitor.config.sections.policy import PolicySettings, TextReason
from monitor.domain.reasons import Advice, advice_of
from monitor.domain.replies.platform_texts import TEXT_REASONS, PlatformText, PlatformTexts, code_pattern
from monitor.domain.replies.token_life import parse_token_life
from monitor.domain.replies.verdicts import classify, judge
from monitor.errors import Reason
from tests.builders import a_connection, a_reply
from tests.configured import ACCOUNT, refused
from tests.platform_messages import UNKNOWN, known_messages

TABLE = platform_texts_of(PolicySettings())
KNOWN = tuple(known_messages())
PLATFORMS = ("linkedin", "facebook", "instagram", "threads", "twitter", "tiktok", "youtube", "bluesky", "mastodon", "telegram", "pinterest")


@pytest.mark.parametrize("platform", PLATFORMS)
def test_documented_messages(platform: str) -> None:
    """Every documented message of a platform has the reason that its documentation gives it, whatever its case."""
    wrong = [
        (message, source, found)
        for each, message, reason, source in KNOWN
        if each == platform
        for found in (classify(message, platform, TABLE), classify(message.upper(), platform, TABLE))
        if found is not reason
    ]
    assert wrong == []


def test_extent() -> None:
    """At least 150 different texts, each with its source; every platform has a text for each kind of failure that it documents."""
    assert len({message for _, message, _, _ in KNOWN}) >= 150
    assert all("." in source and "/" in source for *_, source in KNOWN)
    own = [(platform, reason) for platform, _, reason, source in KNOWN if "rfc-editor" not in source]
    kinds = {platform: {reason for each, reason in own if each == platform} for platform in PLATFORMS}
    everywhere = {Reason.CREDENTIAL_REJECTED, Reason.RIGHTS_LOST, Reason.PLATFORM_LIMITED, Reason.PLATFORM_TROUBLE}
    assert {platform: everywhere - found for platform, found in kinds.items() if everywhere - found} == {}
    # A TikTok connection posts to the account itself; Pinterest documents no text for an account.
    assert {platform for platform, found in kinds.items() if Reason.TARGET_GONE not in found} == {"tiktok"}
    assert {platform for platform, found in kinds.items() if Reason.ACCOUNT_RESTRICTED not in found} == {"pinterest"}


@pytest.mark.parametrize("platform", [*PLATFORMS, "snapchat"])
@pytest.mark.parametrize("message", UNKNOWN)
def test_unknown(platform: str, message: str) -> None:
    """A message that no table knows keeps its words and asks for a look."""
    reply = a_reply(passed=False, platform=platform, platform_id=f"{platform}--1", message=message)
    verdict = judge(reply, a_connection(platform_id=f"{platform}--1", platform=platform), texts=TABLE)
    assert (verdict.reason, verdict.detail) == (Reason.VALIDATION_FAILED, message)
    assert advice_of(verdict.reason) is Advice.READ_MESSAGE


@pytest.mark.parametrize(
    ("message", "says", "reason"),
    [
        ("The token used in the request has expired", "expired", Reason.TOKEN_EXPIRED),
        ("The token used in the request has expired", None, Reason.TOKEN_EXPIRED),
        ("The token used in the request has expired", "< 1h", Reason.TOKEN_EXPIRED),
        ("The token used in the request has expired", "40d 2h", Reason.CREDENTIAL_REJECTED),
        ("The token used in the request has been revoked by the user", "expired", Reason.TOKEN_EXPIRED),
        ("Not enough permissions to access: GET /me", "expired", Reason.RIGHTS_LOST),
    ],
)
def test_expired(message: str, says: str | None, reason: Reason) -> None:
    """Text and countdown together say whether a rejected token has expired."""
    reply = a_reply(passed=False, message=message, token=parse_token_life(says))
    assert judge(reply, a_connection(), texts=TABLE).reason is reason


@pytest.mark.parametrize(
    ("message", "matches"),
    [
        ("(#190) x", True),
        ("[190] x", True),
        ("error code 190", True),
        ("code: 190", True),
        ('"error_subcode":190', True),
        ("OAuthException: 190", True),
        ("(#1900) x", False),
        ("Request failed with status code 190", False),
        ('"statusCode":190', False),
        ("190 apples", False),
        ("Error 190", True),
        ("Error 190: x", True),
        ("Error: 190 characters are allowed", False),
    ],
)
def test_codes(message: str, *, matches: bool) -> None:
    """A platform's error number is found in every form in which messages have it; an HTTP status is no error number."""
    assert (PlatformTexts([PlatformText(("*",), (code_pattern([190]),), Reason.TARGET_GONE)]).find("x", message) is not None) is matches


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("HTTP 500: Error validating access token: The user has not authorized application 12.", Reason.CREDENTIAL_REJECTED),
        ("Request failed with status code 503: token expired", Reason.TOKEN_EXPIRED),
        ("HTTP 429: Your account has been suspended", Reason.ACCOUNT_RESTRICTED),
        ("503 Service Unavailable: page not found", Reason.PLATFORM_TROUBLE),
        ("Your account is suspended. Please try again later.", Reason.ACCOUNT_RESTRICTED),
        ("Invalid access token. Something went wrong.", Reason.CREDENTIAL_REJECTED),
    ],
)
def test_words_before_numbers(message: str, reason: Reason) -> None:
    """What a text says of the credential or the account is believed before a number in it, and before its request to try again."""
    assert {platform: classify(message, platform, TABLE) for platform in ("facebook", "snapchat")} == {
        "facebook": reason,
        "snapchat": reason,
    }


@pytest.mark.parametrize("platform", ["facebook", "twitter", "linkedin"])
@pytest.mark.parametrize(
    "message", ["(#506) Duplicate status message", '{"message":"Duplicate Post","code":506}', "Status is a duplicate.", "DUPLICATE_POST"]
)
def test_duplicate(platform: str, message: str) -> None:
    """A post that is refused as a duplicate says nothing against the connection."""
    reply = a_reply(passed=False, platform=platform, platform_id=f"{platform}-1", message=message)
    assert judge(reply, a_connection(platform_id=f"{platform}-1", platform=platform), texts=TABLE).reason is Reason.KNOWN_FALSE_NEGATIVE


def test_configured_texts_come_first() -> None:
    """The configuration's entries are tried before the built-in ones, for their platform only."""
    settings = PolicySettings.model_validate(
        {"platform_texts": [{"platform": "linkedin", "message": "not enough permissions", "reason": "app_refused"}]}
    )
    table = platform_texts_of(settings)
    assert classify("Not enough permissions to access: GET /me", "linkedin", table) is Reason.APP_REFUSED
    assert classify("Not enough permissions to access: GET /me", "linkedin", TABLE) is Reason.RIGHTS_LOST
    assert classify("not enough permissions", "mastodon", table) is classify("not enough permissions", "mastodon", TABLE)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["platform: linkedn", "message: x", "reason: target_gone"], "is not a known platform (did you mean linkedin?)"),
        (["message: x", "reason: target_gne"], "did you mean target_gone?"),
        (["message: x", "reason: ok"], "reason must be one of: credential_rejected"),
        (["message: '('", "reason: target_gone"], "is not a regular expression"),
        (["message: 'x*'", "reason: target_gone"], "would match every message"),
        (["mesage: x", "reason: target_gone"], "did you mean message?"),
        (["message: x"], "reason is missing"),
    ],
)
def test_bad_entry(lines: list[str], problem: str) -> None:
    """A bad entry is refused with file and line, and with the nearest right value."""
    entry = "".join(f"      {line}\n" for line in lines)
    problems = refused(f"{ACCOUNT}policy:\n  platform_texts:\n    -\n{entry}").problems
    assert next(each.location for each in problems if problem in str(each)) in {f"config.yaml:{number}" for number in range(4, 8)}


def test_reasons_of_the_configuration() -> None:
    """The configuration takes exactly the reasons that a platform's error can have; each is used by the built-in table or is the rest."""
    assert tuple(get_args(TextReason)) == tuple(str(reason) for reason in TEXT_REASONS)
    assert {entry.reason for entry in built_in_texts()} == {*TEXT_REASONS} - {Reason.VALIDATION_FAILED}


def test_built_in_patterns() -> None:
    """Every built-in pattern is valid, and in lower case, as messages are compared."""
    assert [pattern for entry in built_in_texts() for pattern in entry.patterns if re.search(r"(?<!\\)[A-Z]", pattern)] == []
    assert all(entry.compiled() for entry in built_in_texts())


def test_invalid_entry() -> None:
    """An invalid pattern is refused when it is compiled, a reason that no platform can cause at once."""
    with pytest.raises(ValueError, match="not a valid regular expression"):
        PlatformText(("*",), ("(",), Reason.TARGET_GONE).compiled()
    with pytest.raises(ValueError, match="no reason of a platform"):
        PlatformText(("*",), ("x",), Reason.API_TIMEOUT)


def test_compiled_once() -> None:
    """A platform's patterns are compiled at its first failure; ten later ones that match nothing cost less than that."""
    table, message = PlatformTexts(built_in_texts()), "lorem ipsum " * 41
    re.purge()
    first = _cpu_seconds(lambda: table.find("facebook", message))
    later = _cpu_seconds(lambda: [table.find("facebook", message) for _ in range(10)])
    assert later < first


def _cpu_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
