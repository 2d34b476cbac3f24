"""The answers of the API, each read for what it is: the table of api-contract.md 6, over real sockets."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest

from monitor.clock import SystemClock
from monitor.config.secrets import Secret
from monitor.config.sections.core import ApiSettings
from monitor.domain.replies.checks import LastError, Reply
from monitor.domain.replies.listings import Listing
from monitor.domain.replies.token_life import TokenSays
from monitor.domain.replies.verdicts import judge
from monitor.errors import ApiError, Reason
from monitor.postpost.client import ApiClient
from tests.builders import a_connection
from tests.configured import PLATFORM_TEXTS
from tests.raw_server import KEY, PLATFORM_ID, USER_ID, a_test_answer, answer, raw_server, says

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
DATE = "Date: Tue, 24 Nov 2026 10:00:00 GMT"
DATE_SECONDS = int(datetime(2026, 11, 24, 10, tzinfo=UTC).timestamp())
TELEGRAM_BOT = "telegram--1001234567890"
BLUESKY = "bluesky-did:plc:abc"


@dataclass(frozen=True)
class Vector:
    """One row: what the API says about one connection, and what we make of it."""

    number: str
    payload: bytes
    reason: Reason
    platform_id: str = PLATFORM_ID
    user_id: str = ""
    retry_after: float | None = None
    reply: dict[str, Any] = field(default_factory=dict)
    detail: str = ""
    connection: dict[str, Any] = field(default_factory=dict)


def t(**overrides: Any) -> bytes:
    platform_id = overrides.get("platformId", PLATFORM_ID)
    overrides.setdefault("platform", platform_id.partition("-")[0] if isinstance(platform_id, str) else "linkedin")
    return answer(200, a_test_answer(**overrides))


def failed(platform_id: str, message: str) -> bytes:
    return t(platformId=platform_id, status="error", message=message, permissions=[])


def about(number: str, platform_id: str, message: str, reason: Reason, **connection: Any) -> Vector:
    return Vector(number, failed(platform_id, message), reason, platform_id, connection=connection)


def error(number: str, status: int, body: object, reason: Reason, *headers: str, **expected: Any) -> Vector:
    return Vector(number, answer(status, body, *headers), reason, **expected)


GATEWAY = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
SESSION = "Error validating access token: Session has expired"
LAST_ERROR = {"message": "Session has expired", "occurredAt": "2026-02-22T10:00:00.000Z"}
IMAGE_ERROR = {"message": "Media upload failed: Invalid image format", "occurredAt": "2026-02-22T10:00:00.000Z"}
HOLD = {"error": "Account on hold", "message": "...", "holdExpiresAt": "2026-12-01T00:00:00.000Z", "holdReason": "x"}
LIMIT = {"error": "Post limit reached", "code": "POST_LIMIT_REACHED", "limit": 100, "used": 100}
THREADS = {"platform": "threads", "platformId": "threads-17", "permissions": []}

VERDICTS = [
    Vector("1", t(tokenExpiresIn="45d 3h"), Reason.OK, reply={"token.left": 45 * DAY + 3 * HOUR, "token.unit": HOUR}),
    Vector("2", t(), Reason.OK, reply={"token.says": TokenSays.NOTHING}),
    Vector("3", t(tokenExpiresIn="5h"), Reason.OK, reply={"token.left": 5 * HOUR}),
    Vector("4", t(tokenExpiresIn="< 1h"), Reason.OK, reply={"token.left": HOUR, "token.below": True}),
    Vector("5", t(tokenExpiresIn="29 days"), Reason.OK, reply={"token.left": 29 * DAY, "token.unit": DAY}),
    Vector("6", t(tokenExpiresIn="7d 0h"), Reason.OK, reply={"token.left": 7 * DAY}),
    Vector("7", t(tokenExpiresIn="6d 23h"), Reason.OK, reply={"token.left": 6 * DAY + 23 * HOUR}),
    Vector(
        "9",
        t(**THREADS, status="error", message=SESSION, tokenExpiresIn="expired", lastError=LAST_ERROR),
        Reason.TOKEN_EXPIRED,
        "threads-17",
        reply={
            "permissions": (),
            "token.says": TokenSays.EXPIRED,
            "last_error": LastError("Session has expired", datetime(2026, 2, 22, 10, tzinfo=UTC)),
        },
    ),
    Vector("9 without expired", t(**THREADS, status="error", message=SESSION), Reason.TOKEN_EXPIRED, "threads-17"),
    Vector("10", t(status="error", message="Token has been revoked", tokenExpiresIn="40d 2h"), Reason.CREDENTIAL_REJECTED),
    about("11", PLATFORM_ID, "Request failed with status code 503", Reason.PLATFORM_TROUBLE),
    about("13", PLATFORM_ID, "timeout of 10000ms exceeded", Reason.PLATFORM_TROUBLE),
    Vector("15", t(lastError=IMAGE_ERROR), Reason.OK, reply={"last_error.message": "Media upload failed: Invalid image format"}),
    Vector("18", t(username=None), Reason.OK, reply={"username": None}),
    Vector("19", t(subscriptionType="Premium", __v=0, success=True), Reason.OK, reply={}),
    Vector(
        "20",
        t(platformId="pinterest-abc", status="error", message="Unknown platform: pinterest", username="unknown", permissions=[]),
        Reason.PLATFORM_UNKNOWN,
        "pinterest-abc",
        reply={"username": None},
    ),
    about("21", "snapchat-1", "Unknown platform: snapchat", Reason.PLATFORM_UNKNOWN),
    about("22", "telegram-1234567890", "Invalid bot token", Reason.VALIDATOR_LACKS_MTPROTO),
    about("22, newer", "telegram-1234567890", "Invalid bot connection", Reason.VALIDATOR_LACKS_MTPROTO),
    about("22, expected", "telegram-1234567890", "Invalid bot token", Reason.CREDENTIAL_REJECTED, expect="ok"),
    about("24", TELEGRAM_BOT, "Invalid bot token", Reason.CREDENTIAL_REJECTED),
    about("24, switched off", TELEGRAM_BOT, "Invalid bot token", Reason.EXPECTED_UNSUPPORTED, expect="unsupported"),
    about("24, newer", TELEGRAM_BOT, "Invalid bot connection", Reason.VALIDATION_FAILED),
    about("26", TELEGRAM_BOT, "Bot needs channel administrator posting rights", Reason.RIGHTS_LOST),
    about("27", TELEGRAM_BOT, "Request failed with status code 401", Reason.CREDENTIAL_REJECTED),
    about("28", BLUESKY, "Missing credentials", Reason.VALIDATOR_LACKS_CREDENTIALS),
    about("29", BLUESKY, "Request failed with status code 502", Reason.PLATFORM_TROUBLE),
    about("29, learned", BLUESKY, "Invalid identifier or password", Reason.CREDENTIAL_REJECTED),
    error("32", 400, {"error": "Invalid platformId format"}, Reason.ID_UNSUPPORTED, platform_id=TELEGRAM_BOT, connection={"listed": True}),
    error("33", 400, {"error": "Invalid platformId format"}, Reason.ID_REFUSED, platform_id="linkedin-x"),
]

REFUSALS = [
    error("34", 404, {"error": "Connection not found"}, Reason.CONNECTION_MISSING, detail="HTTP 404 Connection not found"),
    error("34, for a user", 404, {"error": "Connection not found"}, Reason.CONNECTION_MISSING, user_id=USER_ID),
    error("34, HTML", 404, "<!DOCTYPE html><pre>Cannot POST /v1/x</pre>", Reason.API_NOT_FOUND),
    error("34, other text", 404, {"error": "No such route"}, Reason.API_NOT_FOUND),
    error("C9", 404, {"error": "Managed user not found"}, Reason.USER_NOT_MANAGED, user_id=USER_ID),
    error("37", 401, {"error": "API key is required"}, Reason.API_UNAUTHORIZED),
    error("38", 401, {"error": "Invalid API key"}, Reason.API_UNAUTHORIZED, detail="HTTP 401 Invalid API key"),
    error("39", 401, {"error": "Invalid API key owner"}, Reason.API_UNAUTHORIZED),
    error("38, proxy", 401, "<html><title>Login</title></html>", Reason.PROXY_ANSWERED, detail='HTTP 401 a web page titled "Login"'),
    error("41", 403, {"error": "API access is not enabled for this account"}, Reason.API_FORBIDDEN),
    error("42", 403, {"error": "MCP access is not enabled for this account"}, Reason.API_FORBIDDEN),
    error("43", 403, {"error": "Workspace access is not enabled for this key"}, Reason.WORKSPACE_FORBIDDEN, user_id=USER_ID),
    error("43, older", 403, {"error": "Workspace access not enabled"}, Reason.WORKSPACE_FORBIDDEN, user_id=USER_ID),
    error("44", 403, {"error": "User is not managed by key"}, Reason.USER_NOT_MANAGED, user_id=USER_ID),
    error("45", 400, {"error": "Invalid x-postpost-user-id"}, Reason.USER_ID_INVALID, user_id=USER_ID),
    error("45, brand", 400, {"error": "Invalid x-publora-user-id"}, Reason.USER_ID_INVALID, user_id=USER_ID),
    error("47", 403, {"error": "Subscription required", "message": "No active plan"}, Reason.API_FORBIDDEN),
    error("48", 403, HOLD, Reason.API_FORBIDDEN, detail="HTTP 403 Account on hold (until 2026-12-01 00:00 UTC)"),
    error("49", 403, LIMIT, Reason.API_FORBIDDEN, detail="HTTP 403 POST_LIMIT_REACHED: Post limit reached"),
    error("49, page", 403, "<html>Attention Required! | Cloudflare</html>", Reason.PROXY_ANSWERED),
    error("52", 500, {"error": "Failed to test connection"}, Reason.API_VALIDATOR_FAILED),
    error("53", 500, {"error": "Failed to test connection", "message": "boom"}, Reason.API_VALIDATOR_FAILED),
    error("54", 500, {"error": "Internal server error"}, Reason.API_FAILED),
    *(error(f"56, {status}", status, GATEWAY, Reason.PROXY_ANSWERED) for status in (502, 503, 504)),
    error("56, waits", 503, GATEWAY, Reason.PROXY_ANSWERED, "Retry-After: 9", retry_after=9),
    error("56, JSON", 503, {"error": "Maintenance"}, Reason.API_FAILED),
    error("58", 429, b"", Reason.API_THROTTLED, "Retry-After: 30", retry_after=30),
    error("58, no header", 429, b"", Reason.API_THROTTLED),
    error("58, date", 429, b"", Reason.API_THROTTLED, "Retry-After: Tue, 24 Nov 2026 10:00:45 GMT", DATE, retry_after=45),
    error("58, ten years", 429, b"", Reason.API_THROTTLED, "Retry-After: 315360000", retry_after=3600),
    error("58, past", 429, b"", Reason.API_THROTTLED, "Retry-After: Tue, 24 Nov 2020 10:00:45 GMT", DATE, retry_after=1),
    error("58, negative", 429, b"", Reason.API_THROTTLED, "Retry-After: -7", retry_after=1),
    error("58, garbage", 429, b"", Reason.API_THROTTLED, "Retry-After: soon"),
    error("58, 5000 digits", 429, b"", Reason.API_THROTTLED, "Retry-After: " + "9" * 5000),
    error("59", 429, {"success": False, "error": "Rate limit exceeded", "retryAfter": 45}, Reason.API_THROTTLED, retry_after=45),
    error("59, both", 429, {"retryAfterSec": 45}, Reason.API_THROTTLED, "Retry-After: 50", retry_after=50),
    error("59, page", 429, GATEWAY, Reason.API_THROTTLED),
    Vector(
        "63",
        answer(200, a_test_answer(), DATE, "X-RateLimit-Remaining: 0", f"X-RateLimit-Reset: {DATE_SECONDS + 20}"),
        Reason.OK,
        retry_after=20,
    ),
    Vector("63, span", answer(200, a_test_answer(), "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 20"), Reason.OK, retry_after=20),
    Vector("63, some left", answer(200, a_test_answer(), "X-RateLimit-Remaining: 7", "X-RateLimit-Reset: 20"), Reason.OK),
    error("64, 408", 408, b"", Reason.API_TIMEOUT),
    error("64, 425", 425, b"", Reason.API_FAILED),
    *(error(f"65, {status}", status, b"", Reason.API_REFUSED) for status in (405, 410, 411, 413, 415, 418, 431)),
    error("407", 407, b"", Reason.PROXY_ANSWERED),
    error("511", 511, "<html>Sign in to the network</html>", Reason.CAPTIVE_PORTAL),
    error("999", 999, b"", Reason.API_FAILED),
    *(
        error(
            f"70, {status}",
            status,
            b"",
            Reason.API_REDIRECTED,
            "Location: https://me:pw@evil.example/x?key=1",
            detail=f"HTTP {status} to https://evil.example",
        )
        for status in (301, 302, 303, 307, 308)
    ),
    error("70, 304", 304, b"", Reason.API_REDIRECTED),
]

ODD_STATUSES: list[Any] = ["degraded", True, None, 1, ["ok"], {"ok": True}, "", "o\u212a", "okay", "ok\x00", "x" * 100]
ODD_TIMES: list[Any] = ["not a date", 1708600000000, "2999-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:00", []]

MALFORMED = [
    Vector("73", answer(200), Reason.REPLY_NOT_JSON, detail="the body is empty"),
    Vector("73, 204", b"HTTP/1.1 204 No Content\r\n\r\n", Reason.REPLY_NOT_JSON),
    Vector("74", answer(200, "<html>captive portal</html>"), Reason.CAPTIVE_PORTAL, detail="a web page"),
    *(Vector(f"75, {body}", answer(200, body.encode()), Reason.REPLY_INVALID) for body in ("null", '"ok"', "[]", "42", "true")),
    Vector("76", answer(200, {}), Reason.REPLY_INVALID, detail="status is missing"),
    *(Vector(f"79, {status!r}", t(status=status), Reason.REPLY_INVALID) for status in ODD_STATUSES),
    Vector("79, tolerated", t(status=" OK "), Reason.OK),
    Vector("81", t(platformId="linkedin-ab1", platform="linkedin"), Reason.REPLY_MISMATCHED),
    Vector("81, other", t(platformId="linkedin-Ab2"), Reason.REPLY_MISMATCHED),
    Vector("81, prefix", t(platformId="LinkedIn-Ab1", platform="linkedin"), Reason.OK),
    Vector("81, number", t(platformId=7), Reason.REPLY_INVALID),
    Vector("81, absent", answer(200, {"status": "ok", "platform": "linkedin"}), Reason.OK),
    Vector("81, somebody's own health", answer(200, {"status": "ok"}), Reason.REPLY_INVALID),
    Vector("82", t(lastError="Session has expired"), Reason.OK, reply={"last_error": LastError("Session has expired")}),
    *(Vector(f"87, {value!r}", t(lastSuccessfulPost=value), Reason.OK, reply={"last_successful_post_at": None}) for value in ODD_TIMES),
    Vector("89", t(status="error", message="x" * 200_000), Reason.VALIDATION_FAILED, reply={"message": "x" * 500}),
    Vector("89, a megabyte", t(status="error", message="x" * 1_000_000), Reason.REPLY_TOO_LARGE, detail="the body is larger than 256 KiB"),
    Vector(
        "90",
        t(status="error", message="\x1b[31mred\x1b[0m\r\nSubject: x\u202eevil\x00\u2028next\ud800"),
        Reason.VALIDATION_FAILED,
        reply={"message": "red Subject: xevil next"},
    ),
    Vector("91", t(username="<script>alert(1)</script>"), Reason.OK, reply={"username": "<script>alert(1)</script>"}),
    Vector(
        "92",
        t(status="error", message=f"key {KEY} bot123456:AAbbccddeeff access_token=EAABsbCS1234567890 end"),
        Reason.VALIDATION_FAILED,
        reply={"message": "key <redacted> <redacted> access_token=<redacted> end"},
    ),
    Vector("lone surrogate", t(username="\ud800"), Reason.OK, reply={"username": None}),
    Vector("NaN", answer(200, t().partition(b"\r\n\r\n")[2].replace(b'"m"', b"NaN")), Reason.REPLY_NOT_JSON),
    Vector("5,000 digits", answer(200, t().partition(b"\r\n\r\n")[2].replace(b'"m"', b"9" * 5000)), Reason.REPLY_NOT_JSON),
    Vector("huge float", answer(200, t().partition(b"\r\n\r\n")[2].replace(b'"m"', b"1e999")), Reason.OK, reply={"message": ""}),
    Vector("deep", answer(200, b"[" * 200_000), Reason.REPLY_NOT_JSON),
    Vector("deep objects", answer(200, b'{"status":' * 20_000 + b'"ok"' + b"}" * 20_000), Reason.REPLY_NOT_JSON),
    Vector("marked", answer(200, b"\xef\xbb\xbf" + t().partition(b"\r\n\r\n")[2]), Reason.OK),
    Vector("latin-1", answer(200, t().partition(b"\r\n\r\n")[2].replace(b'"m"', b'"\xe9"')), Reason.REPLY_NOT_JSON),
    Vector("UTF-16", answer(200, t().partition(b"\r\n\r\n")[2].decode().encode("utf-16")), Reason.REPLY_NOT_JSON),
    Vector("cut", answer(200, t().partition(b"\r\n\r\n")[2][:-1]), Reason.REPLY_NOT_JSON),
    Vector("two", answer(200, t().partition(b"\r\n\r\n")[2] * 2), Reason.REPLY_NOT_JSON),
    Vector(
        "numbers for texts",
        t(username=1, message=2, permissions=3, tokenExpiresIn=4, lastSuccessfulPost=5, lastError=6),
        Reason.OK,
        reply={
            "username": None,
            "message": "",
            "permissions": (),
        },
    ),
    Vector("permissions as text", t(permissions="b, a a"), Reason.OK, reply={"permissions": ("a", "b")}),
    Vector("permissions mixed", t(permissions=["b", 1, " a ", None, "", "b"]), Reason.OK, reply={"permissions": ("a", "b")}),
    Vector(
        "status twice, differently",
        answer(200, b'{"platformId":"linkedin-Ab1","status":"error","status":"ok"}'),
        Reason.REPLY_INVALID,
        detail="status is told twice, differently",
    ),
    Vector("status twice, equally", answer(200, b'{"platformId":"linkedin-Ab1","status":"ok","status":"ok"}'), Reason.OK),
    Vector("encoded", answer(200, a_test_answer(), "Content-Encoding: gzip"), Reason.REPLY_ENCODED),
    Vector("identity", answer(200, a_test_answer(), "Content-Encoding: identity"), Reason.OK),
    Vector("encoded refusal", answer(502, b"\x1f\x8b", "Content-Encoding: gzip"), Reason.PROXY_ANSWERED),
    Vector("201", answer(201, a_test_answer()), Reason.OK),
    Vector("text/html", answer(200, a_test_answer(), "Content-Type: text/html"), Reason.OK),
]


@pytest.mark.parametrize("vector", VERDICTS + REFUSALS + MALFORMED, ids=lambda vector: vector.number)
async def test_vector(vector: Vector) -> None:
    """Each answer leads to its own reason, wait and texts, and never shows the key."""
    async with raw_server(says(vector.payload)) as server:
        api = server.api()
        try:
            exchange = await api.test(vector.platform_id, vector.user_id)
        finally:
            await api.close()

    connection = a_connection(platform_id=vector.platform_id, user_id=vector.user_id, **vector.connection)
    verdict = judge(exchange.answer, connection, texts=PLATFORM_TEXTS)
    assert verdict.reason is vector.reason, verdict
    assert (exchange.retry_after.total_seconds() if exchange.retry_after else None) == vector.retry_after
    assert exchange.http_status == int(vector.payload[9:12])
    assert KEY not in repr(exchange)
    if vector.detail:
        assert verdict.detail == vector.detail
    for name, value in vector.reply.items():
        assert isinstance(exchange.answer, Reply)
        found: Any = exchange.answer
        for part in name.split("."):
            found = getattr(found, part)
        assert found == value, name


@pytest.mark.parametrize(
    "platform_id", ["x-../../webhooks", "a-b?c", "a-b#c", "a b-c", "a-b%2f..", "linkedin", "", "-x", "a-b\n", "a-\ud800"]
)
async def test_unusable_id(platform_id: str) -> None:
    """Vector 97: an id that could leave its place in the path is refused here; no request is sent."""
    async with raw_server() as server:
        api = server.api()
        exchange = await api.test(platform_id)
        await api.close()

    assert isinstance(exchange.answer, ApiError)
    assert exchange.answer.reason is Reason.ID_REFUSED
    assert server.connections == 0


async def test_unusable_user_id() -> None:
    """A managed user's id that is not 24 hexadecimal digits is refused here; no request is sent."""
    async with raw_server() as server:
        api = server.api()
        exchange = await api.connections("6626a1f5e4b0c91a2d3f456\r\n")
        await api.close()

    assert isinstance(exchange.answer, ApiError)
    assert exchange.answer.reason is Reason.USER_ID_INVALID
    assert server.connections == 0


def a_row(platform_id: object = "linkedin-Ab1", **more: object) -> dict[str, object]:
    return {"platformId": platform_id, "username": "@a", "displayName": None, "tokenStatus": "valid", **more}


ROWS = [a_row(), None, "x", {}, a_row(""), a_row(7), a_row()]

LISTS: list[tuple[str, bytes, Reason | tuple[int, int]]] = [
    ("99", answer(200, {"success": True, "connections": []}), (0, 0)),
    ("100", answer(200, [a_row(), a_row("x-2")]), (2, 0)),
    ("101, nothing", answer(200, {"success": True}), Reason.REPLY_INVALID),
    ("101, null", answer(200, {"connections": None}), Reason.REPLY_INVALID),
    ("101, object", answer(200, {"connections": {}}), Reason.REPLY_INVALID),
    ("101, failed", answer(200, {"success": False, "error": "x"}), Reason.REPLY_INVALID),
    ("101, failed with rows", answer(200, {"success": False, "connections": []}), Reason.REPLY_INVALID),
    ("101, told twice", answer(200, b'{"connections":[],"connections":[1]}'), Reason.REPLY_INVALID),
    ("102", answer(200, {"success": True, "connections": ROWS}), (1, 6)),
    ("102, all unusable", answer(200, [1, 2, {}]), Reason.REPLY_INVALID),
    ("102, path", answer(200, [a_row(), a_row("x-../../webhooks")]), (1, 1)),
    ("55", answer(500, {"error": "Failed to fetch platform connections"}), Reason.API_FAILED),
    ("404", answer(404, {"error": "Connection not found"}), Reason.API_NOT_FOUND),
    ("118", answer(403, {"error": "Workspace access is not enabled for this key"}), Reason.WORKSPACE_FORBIDDEN),
    ("HTML", answer(200, "<html>"), Reason.CAPTIVE_PORTAL),
    ("8 MiB", answer(200, b"[" + b" " * (8 * 1024 * 1024) + b"]"), Reason.REPLY_TOO_LARGE),
    ("7 MiB", answer(200, b"[" + b" " * (7 * 1024 * 1024) + b"]"), (0, 0)),
]


@pytest.mark.parametrize(("payload", "expected"), [row[1:] for row in LISTS], ids=[row[0] for row in LISTS])
async def test_list(payload: bytes, expected: Reason | tuple[int, int]) -> None:
    """A list is rows and a count of what could not be used, or an error; never "no connections" by accident."""
    async with raw_server(says(payload)) as server:
        api = server.api()
        exchange = await api.connections()
        await api.close()

    if isinstance(expected, Reason):
        assert isinstance(exchange.answer, ApiError)
        assert exchange.answer.reason is expected
    else:
        assert isinstance(exchange.answer, Listing)
        assert (len(exchange.answer.rows), exchange.answer.skipped) == expected
    assert server.requests[0].raw.startswith(b"GET /api/v1/platform-connections HTTP/1.1\r\n")


async def test_long_list() -> None:
    """Reading a list of ten thousand rows leaves the loop free for others."""
    rows = [a_row(f"linkedin-{number}", tokenExpiresIn="45d 3h", lastSuccessfulPost="2026-02-22T09:15:00.000Z") for number in range(10_000)]
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.005)
            turns += 1

    async with raw_server(says(answer(200, rows))) as server:
        api = server.api()
        watcher = asyncio.create_task(watch())
        exchange = await api.connections()
        watcher.cancel()
        await api.close()

    assert isinstance(exchange.answer, Listing)
    assert len(exchange.answer.rows) == 10_000
    assert turns >= 8, "read in the loop itself there is one, whatever else the machine does"


async def test_rows() -> None:
    """Vectors 103 to 111: a row's status, date and texts come out as they went in; an unreadable date is none."""
    rows = [
        a_row("facebook-1", tokenStatus="expired", accessTokenExpiresAt=None, tokenExpiresIn=None),
        a_row("youtube-UCx", accessTokenExpiresAt="2026-05-15T10:30:00.123456789Z", tokenExpiresIn="82d 4h"),
        a_row("twitter-1", tokenStatus="unknown", accessTokenExpiresAt="soon", subscriptionType="Premium"),
        {"platformId": "tiktok-a_-b", "accessTokenExpiresAt": "2026-05-15T12:30:00+02:00", "lastError": {"message": "x"}},
    ]
    async with raw_server(says(answer(200, {"success": True, "connections": rows}))) as server:
        api = server.api()
        exchange = await api.connections(USER_ID)
        await api.close()

    assert isinstance(exchange.answer, Listing)
    facebook, youtube, twitter, tiktok = exchange.answer.rows
    assert (facebook.token_status, facebook.token_expires_at, facebook.username) == ("expired", None, "@a")
    assert youtube.token_expires_at == datetime(2026, 5, 15, 10, 30, 0, 123456, tzinfo=UTC)
    assert youtube.token.left == 82 * DAY + 4 * HOUR
    assert (twitter.token_status, twitter.token_expires_at) == ("unknown", None)
    assert (tiktok.token_status, tiktok.token_expires_at) == (None, datetime(2026, 5, 15, 10, 30, tzinfo=UTC))
    assert tiktok.last_error == LastError("x")
    assert server.requests[0].headers["x-postpost-user-id"] == USER_ID


@pytest.mark.parametrize("bare", [False, True])
async def test_users(bare: bool) -> None:
    """Vector 114: users come without the secret address of their page and with masked e-mail addresses; the inactive are left out."""
    users = [
        {"_id": USER_ID, "username": "anna@b.example", "displayName": "anna@b.example", "connectionsPageUrl": "https://x/connect/SECRET"},
        {"id": "6626a1f5e4b0c91a2d3f4568", "email": "bob@b.example", "displayName": "Bob <bob@b.example>"},
        {"_id": "6626a1f5e4b0c91a2d3f4569", "isActive": False},
        {"_id": "../../x"},
        None,
    ]
    async with raw_server(says(answer(200, users if bare else {"users": users}))) as server:
        api = server.api()
        exchange = await api.users()
        await api.close()

    assert not isinstance(exchange.answer, ApiError)
    assert [(user.id[-1], user.display_name) for user in exchange.answer.users] == [("7", "a***@b.example"), ("8", "Bob <b***@b.example>")]
    assert (exchange.answer.inactive, exchange.answer.skipped) == (("6626a1f5e4b0c91a2d3f4569",), 2)
    assert "SECRET" not in repr(exchange)


async def test_request() -> None:
    """A test is a POST without a body, with the key under the brand's name, and none of the headers that change its meaning."""
    async with raw_server() as server:
        postpost, publora = server.api(), server.api(brand="publora")
        await postpost.test("bluesky-did:plc:a'b", USER_ID)
        await publora.test("telegram--1001", USER_ID)
        await postpost.close()
        await publora.close()

    first, second = server.requests
    assert (first.method, unquote(first.target)) == ("POST", "/api/v1/test-connection/bluesky-did:plc:a'b")
    assert {name: value for name, value in first.headers.items() if name != "host"} == {
        "x-api-key": KEY,
        "x-postpost-user-id": USER_ID,
        "user-agent": "postpost-monitor/1",
        "accept": "application/json",
        "accept-encoding": "identity",
        "content-length": "0",
    }
    assert second.target == "/api/v1/test-connection/telegram--1001"
    assert (second.headers["x-publora-key"], second.headers["x-publora-user-id"]) == (KEY, USER_ID)
    assert "x-api-key" not in second.headers


ECHOES = [
    answer(200, "<title>{key}</title>"),
    answer(200, {"status": "{key}"}),
    answer(200, a_test_answer(platformId="{key}")),
    answer(200, a_test_answer(status="error", message="{key}", username="{key}", permissions=["{key}"], tokenExpiresIn="{key}")),
    answer(200, a_test_answer(lastError={"message": "{key}"})),
    answer(403, {"error": "{key}", "code": "{key}"}),
    answer(502, "<title>{key}</title>"),
    answer(500, "{key}"),
    answer(302, b"", "Location: https://{key}/"),
    answer(200, {"connections": [a_row(username="{key}", displayName="{key}", tokenStatus="{key}")]}),
]


@pytest.mark.parametrize("payload", ECHOES)
@pytest.mark.parametrize("spelling", ["legacy/key+with=signs", "legacy%2Fkey%2Bwith%3Dsigns", "bGVnYWN5L2tleSt3aXRoPXNpZ25z"])
async def test_echoed_key(payload: bytes, spelling: str) -> None:
    """A key that looks like nothing in particular is taken out of whatever the server echoes, however it is spelled."""
    head, _, body = payload.replace(b"{key}", spelling.encode()).partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    payload = b"\r\n".join([*lines, b"Content-Length: %d" % len(body)]) + b"\r\n\r\n" + body
    async with raw_server(says(payload)) as server:
        settings = ApiSettings(base_url=f"http://127.0.0.1:{server.port}/api/v1")
        api = ApiClient(settings, Secret("legacy/key+with=signs"), clock=SystemClock(), user_agent="t/1")
        told = [await api.test(PLATFORM_ID), await api.connections(), repr(api)]
        await api.close()

    assert [text for text in map(repr, told) if spelling[:12] in text] == []
    assert server.requests[0].headers["x-api-key"] == "legacy/key+with=signs"
