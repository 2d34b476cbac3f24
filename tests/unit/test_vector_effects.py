"""What follows from the API's answers: the effect of every vector of the contract, from its bytes to what people hear."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from monitor.config.sections.core import ScheduleSettings
from monitor.config.sections.policy import PolicySettings, policy_of
from monitor.domain.connections import id_problem
from monitor.domain.events import Severity
from monitor.domain.expiry.estimate import window
from monitor.domain.policy import ExpiryPolicy, Policy
from monitor.domain.reasons import Health
from monitor.domain.replies.checks import Reply
from monitor.domain.replies.verdicts import judge
from monitor.domain.states import SuppressionReason
from monitor.errors import ApiError, Reason
from monitor.postpost.errors import refusal
from monitor.postpost.responses import parse_listing, parse_reply
from tests.builders import DAY, HOUR, MINUTE, START, a_connection
from tests.configured import PLATFORM_TEXTS
from tests.raw_server import KEY, a_test_answer
from tests.story import Story

# The numbers of the contract's table; it has gaps.
LISTED = {
    1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 13, 14, 15, 18, 19, 20, 21, 22, 24, 26, 27, 28, 29, 32, 33, 34, 37, 38, 39, 41, 42, 43, 44, 45, 47, 48,
    49, 52, 53, 54, 55, 56, 58, 59, 63, 64, 65, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 79, 81, 82, 87, 89, 90, 91, 92, 97, 98, 99, 100,
    101, 102, 103, 105, 107, 108, 109, 111, 112, 114, 118, 120,
}  # fmt: skip

ROOT = Path(__file__).parents[2]

# Vectors whose effect is on no connection, and the test that shows it.
ELSEWHERE = {
    55: "tests/integration/test_discovery.py::test_failed_list",
    63: "tests/unit/test_gate.py::test_a_used_up_budget",
    98: "tests/unit/test_config_secrets.py::test_file_content",
    99: "tests/integration/test_discovery.py::test_empty_list",
    100: "tests/integration/test_api_vectors.py::test_list",
    101: "tests/integration/test_discovery.py::test_malformed_list",
    102: "tests/integration/test_api_vectors.py::test_list",
    114: "tests/integration/test_api_vectors.py::test_users",
    118: "tests/integration/test_discovery.py::test_workspace_refused",
    120: "tests/integration/test_discovery.py::test_workspace",
}

POLICY = policy_of(PolicySettings(), ScheduleSettings())
LINKEDIN, TELEGRAM, BLUESKY = "linkedin-Ab1", "telegram--1001234567890", "bluesky-did:plc:abc"
SESSION = "Error validating access token: Session has expired"
HOLD = {"error": "Account on hold", "message": "...", "holdExpiresAt": "2026-12-01T00:00:00.000Z", "holdReason": "x"}
LIMIT = {"error": "Post limit reached", "code": "POST_LIMIT_REACHED", "limit": 100, "used": 100}

NO_OBJECTS: tuple[Any, ...] = (None, '"ok"', [], 42, True)

# What is told of an answer that comes again and again: nothing, of the connection, of the account, of the API.
NOTHING: tuple[str, ...] = ()
BROKEN, UNTESTED, NEAR_END = ("connection.failed",), ("connection.closed",), ("token.expiring",)
ACCOUNT, API = ("account.failed",), ("api.failed",)


@dataclass(frozen=True)
class Effect:
    """An answer that comes every minute after a check that passed; the types that are told, and the health that is believed."""

    number: int
    answer: dict[str, Any] | list[Any] | str | ApiError | int | bool | None
    told: tuple[str, ...] = NOTHING
    health: Health = Health.OK
    status: int = 200
    connection: dict[str, Any] = field(default_factory=dict)

    @property
    def platform_id(self) -> str:
        """Of whom it tells."""
        return str(self.connection.get("platform_id", LINKEDIN))


def says(number: int, told: tuple[str, ...] = NOTHING, health: Health = Health.OK, platform_id: str = LINKEDIN, **more: Any) -> Effect:
    """A complete answer to a test, with *more* in it."""
    body = a_test_answer(platformId=platform_id, platform=platform_id.partition("-")[0], **more)
    return Effect(number, body, told, health, connection={"platform_id": platform_id})


def fails(number: int, message: str, told: tuple[str, ...] = BROKEN, platform_id: str = LINKEDIN, **more: Any) -> Effect:
    """A failed test."""
    health = Health.ERROR if told == BROKEN else Health.UNSUPPORTED
    return says(number, told, health, platform_id, status="error", message=message, permissions=[], **more)


def refuses(number: int, status: int, body: Any, told: tuple[str, ...], health: Health = Health.OK, **connection: Any) -> Effect:
    """An answer that is no success."""
    return Effect(number, body, told, health, status, connection)


def ends(number: int, reason: Reason) -> Effect:
    """A request that got no usable answer at all."""
    return Effect(number, ApiError(reason, "x"), API)


EFFECTS = [
    says(1, tokenExpiresIn="45d 3h"),
    says(2),
    says(3, NEAR_END, tokenExpiresIn="5h"),
    says(3, NOTHING, platform_id="tiktok-a-_b", tokenExpiresIn="5h"),
    says(3, NOTHING, platform_id="facebook-1", tokenExpiresIn="5h"),
    says(4, NEAR_END, tokenExpiresIn="< 1h"),
    says(4, NOTHING, platform_id="youtube-UCx", tokenExpiresIn="< 1h"),
    says(5, tokenExpiresIn="29 days"),
    fails(9, SESSION, platform_id="threads-17", tokenExpiresIn="expired", lastError={"message": "Session has expired"}),
    fails(10, "Token has been revoked", tokenExpiresIn="40d 2h"),
    fails(11, "Request failed with status code 503"),
    fails(13, "timeout of 10000ms exceeded"),
    says(15, lastError={"message": "Media upload failed: Invalid image format", "occurredAt": "2026-02-22T10:00:00.000Z"}),
    says(18, username=None),
    says(19, subscriptionType="Premium", __v=0, success=True),
    fails(20, "Unknown platform: pinterest", UNTESTED, "pinterest-abc", username="unknown"),
    fails(21, "Unknown platform: snapchat", UNTESTED, "snapchat-1"),
    fails(22, "Invalid bot token", UNTESTED, "telegram-1234567890"),
    fails(24, "Invalid bot token", BROKEN, TELEGRAM),
    fails(26, "Bot needs channel administrator posting rights", BROKEN, TELEGRAM),
    fails(27, "Request failed with status code 401", BROKEN, TELEGRAM),
    fails(28, "Missing credentials", UNTESTED, BLUESKY),
    fails(29, "Request failed with status code 502", BROKEN, BLUESKY),
    refuses(32, 400, {"error": "Invalid platformId format"}, UNTESTED, Health.UNSUPPORTED, platform_id=TELEGRAM, listed=True),
    refuses(33, 400, {"error": "Invalid platformId format"}, ("connection.misconfigured",), Health.MISCONFIGURED, platform_id="linkedin-x"),
    refuses(34, 404, {"error": "Connection not found"}, ("connection.missing",), Health.MISSING),
    refuses(37, 401, {"error": "API key is required"}, ACCOUNT),
    refuses(38, 401, {"error": "Invalid API key"}, ACCOUNT),
    refuses(39, 401, {"error": "Invalid API key owner"}, ACCOUNT),
    refuses(41, 403, {"error": "API access is not enabled for this account"}, ACCOUNT),
    refuses(42, 403, {"error": "MCP access is not enabled for this account"}, ACCOUNT),
    refuses(43, 403, {"error": "Workspace access is not enabled for this key"}, ACCOUNT, user_id="a" * 24),
    refuses(44, 403, {"error": "User is not managed by key"}, ACCOUNT, user_id="a" * 24),
    refuses(45, 400, {"error": "Invalid x-postpost-user-id"}, ACCOUNT, user_id="a" * 24),
    refuses(47, 403, {"error": "Subscription required", "message": "No active plan entitlements found for this account."}, ACCOUNT),
    refuses(48, 403, HOLD, ACCOUNT),
    refuses(49, 403, LIMIT, ACCOUNT),
    refuses(52, 500, {"error": "Failed to test connection"}, NOTHING),
    refuses(53, 500, {"error": "Failed to test connection", "message": "boom"}, NOTHING),
    refuses(54, 500, {"error": "Internal server error"}, API),
    *(refuses(56, status, "<html>nginx</html>", API) for status in (502, 503, 504)),
    refuses(58, 429, "", NOTHING),
    refuses(59, 429, {"success": False, "error": "Rate limit exceeded", "retryAfter": 45}, NOTHING),
    *(refuses(64, status, "", API) for status in (408, 425)),
    *(refuses(65, status, "", API) for status in (405, 410, 411, 413, 415, 431)),
    *(ends(67, reason) for reason in (Reason.API_DNS_FAILED, Reason.API_UNREACHABLE, Reason.API_TLS_EXPIRED)),
    ends(69, Reason.API_DISCONNECTED),
    *(refuses(70, status, "", API) for status in (301, 302, 307, 308)),
    ends(71, Reason.API_TIMEOUT),
    ends(72, Reason.REPLY_TOO_LARGE),
    Effect(73, "", API),
    Effect(74, "<html>captive portal</html>", API),
    *(Effect(75, body, API) for body in NO_OBJECTS),
    Effect(76, {}, API),
    *(Effect(79, a_test_answer(status=status), API) for status in ("degraded", True, None)),
    Effect(81, a_test_answer(platformId="linkedin-ab1"), API),
    says(82, lastError="Session has expired"),
    *(says(87, lastSuccessfulPost=told) for told in ("not a date", 1708600000000, "2999-01-01T00:00:00Z", "0001-01-01T00:00:00Z")),
    fails(89, "x" * 100_000),
    fails(90, "\x1b[31mred\r\nSubject: x\u202e\x00"),
    fails(91, "@everyone <!channel> [click](http://evil)", username="<script>alert(1)</script>"),
    fails(92, f"{KEY} bot123456:AAbbccddeeffgghhiijj access_token=EAABsbCS1234567890"),
]  # fmt: skip


def read(effect: Effect) -> Reply | ApiError:
    """The answer, parsed as the client does."""
    if isinstance(effect.answer, ApiError):
        return effect.answer
    body = effect.answer.encode() if isinstance(effect.answer, str) else json.dumps(effect.answer).encode()
    if effect.status == 200:
        try:
            return parse_reply(body, effect.platform_id, (KEY,))
        except ApiError as error:
            return error
    with_user = "user_id" in effect.connection
    return refusal(effect.status, {}, body, now=START, with_user=with_user, about_connection=True, secrets=(KEY,))


def hear(story: Story, effect: Effect, *, number: int = 1) -> None:
    """One check that ends so."""
    answer = read(effect)
    verdict = judge(answer, story.connections[number], texts=PLATFORM_TEXTS)
    story.check(verdict.reason, number, reply=answer if isinstance(answer, Reply) else None, http_status=effect.status)


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda one: f"{one.number}-{one.platform_id}-{one.status}")
def test_effect(effect: Effect) -> None:
    """What comes again and again leads to its own belief and its own notification, once; nothing else is told."""
    story = Story(policy=POLICY, connections={1: a_connection(**{"platform_id": LINKEDIN, **effect.connection})})
    story.check()
    # Trouble of the platform itself is notified once it has lasted for half an hour.
    for _ in range(33 if "connection.failed" in effect.told else 20):
        story.pass_time(MINUTE)
        hear(story, effect)
    assert tuple(story.types) == effect.told
    assert story.state().health is effect.health
    if effect.told in (API, ACCOUNT, NOTHING) and effect.status != 200:
        assert story.state().failures == 0
        assert story.state().last_evidence_at == START


def test_every_vector() -> None:
    """Each vector of the contract has its effect here, or in a test that is there."""
    here = {one.number for one in EFFECTS} | {6, 7, 14, 68, 97, 103, 105, 107, 108, 109, 111, 112}
    assert here | set(ELSEWHERE) == LISTED
    assert here & set(ELSEWHERE) == set()
    places = (place.partition("::") for place in ELSEWHERE.values())
    assert [name for path, _, name in places if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")] == []


@pytest.mark.parametrize(("text", "told"), [("7d 0h", []), ("6d 23h", ["token.expiring"])])
def test_threshold(text: str, told: list[str]) -> None:
    """Vectors 6 and 7: at exactly the threshold of seven days nothing is told, an hour below it once."""
    story = Story(policy=Policy(expiry=ExpiryPolicy(thresholds=(7 * DAY,))), connections={1: a_connection(platform_id=LINKEDIN)})
    for _ in range(20):
        hear(story, says(6, tokenExpiresIn=text))
        story.pass_time(MINUTE)
    assert story.types == told


def test_recovery() -> None:
    """Vector 14: ok after 9 and 9 is told once, with the time it was down."""
    story = Story(policy=POLICY, connections={1: a_connection(platform_id="threads-17")})
    down = fails(9, SESSION, platform_id="threads-17", tokenExpiresIn="expired")
    for effect in (says(14, platform_id="threads-17"), down, down, *[says(14, platform_id="threads-17", tokenExpiresIn="59d 23h")] * 4):
        hear(story, effect)
        story.pass_time(MINUTE)
    assert story.types == ["connection.failed", "connection.recovered"]
    failed, recovered = story.notifications
    assert recovered.incident == failed.incident
    assert recovered.at - failed.incident.opened_at == 3 * MINUTE


def test_slow_one() -> None:
    """Vector 68: one test that times out while others pass moves nobody and is no outage; it grows stale, once."""
    story = Story(policy=POLICY, connections={number: a_connection(number, interval=5 * MINUTE) for number in range(1, 11)})
    for _ in range(24):
        for number in story.connections:
            story.check(Reason.API_TIMEOUT if number == 3 else Reason.OK, number)
        story.pass_time(5 * MINUTE)
    assert story.told == [("3", "connection.stale", "opened")]
    assert story.state(3).failures == 0


@pytest.mark.parametrize("platform_id", ["x-../../webhooks", "a-b?c", "a-b#c", "a b-c", "a-b%2f.."])
def test_unusable_id(platform_id: str) -> None:
    """Vector 97: an id that could leave its place in the path is refused for what it is, and told as a mistake of the configuration."""
    assert id_problem(platform_id) is not None
    story = Story(policy=POLICY)
    for _ in range(3):
        story.check(judge(ApiError(Reason.ID_REFUSED, "not sent"), story.connections[1]).reason)
        story.pass_time(MINUTE)
    assert story.types == ["connection.misconfigured"]


LISTS: list[tuple[int, str, dict[str, Any], list[str]]] = [
    (103, "facebook-1", {"tokenStatus": "expired", "accessTokenExpiresAt": None}, ["token.expired"]),
    (105, "youtube-UCx", {"tokenStatus": "valid", "accessTokenExpiresAt": START - 3 * HOUR}, []),
    (105, "tiktok-a", {"tokenStatus": "valid", "accessTokenExpiresAt": START - 3 * HOUR}, []),
    (107, "twitter-1", {"tokenStatus": "unknown", "accessTokenExpiresAt": None}, []),
    (108, "tiktok-a", {"tokenStatus": "expiring_soon", "accessTokenExpiresAt": START + 25 * DAY}, ["token.expiring"]),
    (109, "linkedin-1", {"accessTokenExpiresAt": START + 2 * DAY}, ["token.expiring"]),
]


@pytest.mark.parametrize(("number", "platform_id", "row", "told"), LISTS)
def test_list(number: int, platform_id: str, row: dict[str, Any], told: list[str]) -> None:
    """A row that stays so for three lists, while every test passes, is told at most once, and only for what the contract names."""
    story = Story(policy=POLICY, connections={1: a_connection(platform_id=platform_id)})
    document = json.dumps({"connections": [{"platformId": platform_id, **row}]}, default=lambda at: at.isoformat()).encode()
    for _ in range(12):
        story.check()
        story.learn(parse_listing(document).rows[0])
        story.pass_time(15 * MINUTE)
    assert story.types == told
    if number == 108:
        assert [one.severity for one in story.notifications] == [Severity.INFO]
    assert story.state().health is Health.OK


def test_date_beside_a_text() -> None:
    """Vector 111: where date and text imply different hours the date counts, and nothing is remarked."""
    ends_at = START + 82 * DAY + 17 * HOUR
    row = {"platformId": LINKEDIN, "tokenStatus": "valid", "accessTokenExpiresAt": ends_at.isoformat(), "tokenExpiresIn": "82d 4h"}
    story = Story(policy=POLICY, connections={1: a_connection(platform_id=LINKEDIN)})
    hear(story, says(111, tokenExpiresIn="82d 4h"))
    story.learn(parse_listing(json.dumps([row]).encode()).rows[0])
    assert window(story.state().token) == (ends_at, ends_at)
    assert story.state().token.disagrees is False
    assert story.types == []


def test_test_against_row() -> None:
    """Vector 112: a failed test is believed although the row says valid; where the test can tell nothing the row is."""
    row = parse_listing(json.dumps([{"platformId": LINKEDIN, "tokenStatus": "valid"}]).encode()).rows[0]
    gone = parse_listing(json.dumps([{"platformId": BLUESKY, "tokenStatus": "expired"}]).encode()).rows[0]
    story = Story(policy=POLICY, connections={1: a_connection(1, platform_id=LINKEDIN), 2: a_connection(2, platform_id=BLUESKY)})
    for _ in range(4):
        hear(story, fails(112, "Token has been revoked"))
        hear(story, fails(112, "Missing credentials", UNTESTED, BLUESKY), number=2)
        story.learn(row)
        story.learn(gone, 2)
        story.pass_time(MINUTE)
    assert sorted(story.told) == [("1", "connection.failed", "opened"), ("2", "token.expired", "opened")]


def test_hostile_texts() -> None:
    """Vectors 89 to 92: what is told carries no secret, no control character and never more than 500 characters."""
    for effect in (one for one in EFFECTS if one.number in (89, 90, 91, 92)):
        answer = read(effect)
        assert isinstance(answer, Reply)
        assert len(answer.message) <= 500
        assert answer.message.isprintable()
        assert KEY not in repr(answer)
        assert "AAbbccddeeff" not in repr(answer)
        assert "EAABsbCS" not in repr(answer)


def ended(story: Story, *, passed: bool) -> None:
    """One check that prints `expired`, and one quarter of an hour."""
    if passed:
        hear(story, says(9, tokenExpiresIn="expired"))
    else:
        hear(story, fails(9, SESSION, tokenExpiresIn="expired"))
    story.pass_time(15 * MINUTE)


def test_expired_but_passes() -> None:
    """An `expired` beside a test that passes pages nobody; once the test fails that is told, with the urgency it has."""
    story = Story(policy=POLICY, connections={1: a_connection(platform_id=LINKEDIN)})
    for _ in range(8):
        ended(story, passed=True)
    assert [(one.type.value, one.severity) for one in story.notifications] == [("token.expired", Severity.INFO)]
    for _ in range(2):
        ended(story, passed=False)
    assert [(one.type.value, one.severity) for one in story.notifications[1:]] == [("token.expired", Severity.CRITICAL)]


def test_expired_but_flagged_valid() -> None:
    """A date that has passed and an `expired` are told to nobody while the list says `valid` and the test passes; a flag `expired` is."""
    story = Story(policy=POLICY, connections={1: a_connection(platform_id=LINKEDIN)})
    for status, told in (("valid", []), ("expired", [("token.expired", Severity.CRITICAL)])):
        row = {
            "platformId": LINKEDIN,
            "tokenStatus": status,
            "accessTokenExpiresAt": (START - HOUR).isoformat(),
            "tokenExpiresIn": "expired",
        }
        for _ in range(4):
            ended(story, passed=True)
            story.learn(parse_listing(json.dumps([row]).encode()).rows[0])
        assert [(one.type.value, one.severity) for one in story.notifications] == told
    for _ in range(2):
        hear(story, says(1, tokenExpiresIn="59d 23h"))
        story.pass_time(MINUTE)
    assert [(one.type.value, one.severity) for one in story.notifications[1:]] == [("token.renewed", Severity.CRITICAL)]


def test_no_reminder_against_evidence() -> None:
    """A reminder of an ended token that falls due just after a check which found it renewed is not sent: the renewal is."""
    story = Story(policy=POLICY, connections={1: a_connection(platform_id=LINKEDIN)})
    for _ in range(2):
        hear(story, says(9, tokenExpiresIn="expired"))
        story.pass_time(MINUTE)
    story.now = story.notifications[0].at + DAY - MINUTE
    hear(story, says(1, tokenExpiresIn="59d 23h"))
    story.pass_time(5 * MINUTE)
    assert story.types == ["token.expired"]
    assert story.state().suppression is SuppressionReason.AWAITING_CHECK
    hear(story, says(1, tokenExpiresIn="59d 23h"))
    assert story.types == ["token.expired", "token.renewed"]
