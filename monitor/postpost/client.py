"""
The watched API: `ApiClient` sends the requests and is the only holder of an account's key.

Every request ends in an `ApiResult`; nothing but BrokenOffError is raised. One total deadline covers the whole request, because
per-read timeouts never end a server that sends one byte at a time.

Source: api-contract.md 1, 4.1 and 4.2; reliability.md F01 to F16 and 4.5.
"""

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from monitor.clock import Clock
from monitor.config.secrets import Secret
from monitor.config.sections.core import ApiSettings
from monitor.domain.connections import id_problem, path_segment, user_id_problem
from monitor.domain.copies import quick_init
from monitor.domain.replies.checks import Reply
from monitor.domain.replies.listings import Listing, UserListing
from monitor.errors import ApiError, Reason
from monitor.http.errors import BrokenOffError, to_api_error
from monitor.http.headers import http_date
from monitor.http.transport import Response
from monitor.postpost.api_transport import ApiTransport
from monitor.postpost.errors import rate_limit_wait, refusal
from monitor.postpost.responses import parse_listing, parse_reply, parse_users

TEST_LIMIT = 256 * 1024
LIST_LIMIT = 8 * 1024 * 1024
"""Most bytes of a body that are read."""

REPLIES_KEPT = 10_000
"""So many connections have their last reply remembered, some 400 bytes each."""

INTERNAL_ERRORS_BEFORE_REBUILD = 3

_NO_BODY = httpx.ByteStream(b"")

T = TypeVar("T")


@quick_init
@dataclass(frozen=True, slots=True)
class ApiResult(Generic[T]):
    """
    The result of one request.

    Attributes:
        answer: the parsed answer, or why there is none.
        sent_at, at: when the request left and when its answer was complete, wall clock.
        server_at: the server's `Date` header (whole seconds), or None.
        retry_after: how long the API asked the account to wait, 1 second to 1 hour, or None.
    """

    answer: T | ApiError
    sent_at: datetime
    at: datetime
    server_at: datetime | None = None
    http_status: int | None = None
    retry_after: timedelta | None = None


class ApiClient:
    """
    One account of the watched API.

    Args:
        user_agent: `postpost-monitor/<version>`.
        transport: that of the other accounts; one of its own unless given.

    Raises:
        ConfigError: the file with certificate authorities can't be used.
    """

    def __init__(
        self,
        settings: ApiSettings,
        api_key: Secret,
        *,
        clock: Clock,
        user_agent: str,
        transport: ApiTransport | None = None,
    ) -> None:
        self._clock = clock
        self._base = settings.base_url.rstrip("/")
        self._url = httpx.URL(self._base)
        self._path = self._url.raw_path.rstrip(b"/")
        self._deadline = settings.timeout.total_seconds()
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._profile = settings.profile
        self._key = api_key
        self._secrets = _spellings(api_key.reveal())
        self._user_agent = user_agent
        self._requests: dict[tuple[str, str], httpx.Request] = {}
        self._replies: dict[str, tuple[bytes, Reply]] = {}
        self._transport = transport or ApiTransport(settings, clock=clock)
        self._internal_errors = 0

    def __repr__(self) -> str:
        return f"ApiClient({self._base!r})"

    async def test(self, platform_id: str, user_id: str = "") -> ApiResult[Reply]:
        """Test one connection of the owner of the key, or of a managed user."""
        problem = id_problem(platform_id)
        if problem is not None:
            return self._unsent(Reason.ID_REFUSED, f"not sent: the id {problem}")
        parse = partial(self._reply, platform_id)
        path = f"/test-connection/{path_segment(platform_id)}"
        return await self._send("POST", path, user_id, TEST_LIMIT, parse)

    def _reply(self, platform_id: str, body: bytes) -> Reply:
        """Parse an answer about *platform_id*; one with the same bytes as the last is the same reply."""
        digest = blake2b(body, digest_size=16).digest()
        known = self._replies.get(platform_id)
        if known is not None and known[0] == digest:
            return known[1]
        reply = parse_reply(body, platform_id, self._secrets)
        self._replies[platform_id] = (digest, reply)
        if len(self._replies) > REPLIES_KEPT:
            del self._replies[next(iter(self._replies))]
        return reply

    async def connections(self, user_id: str = "") -> ApiResult[Listing]:
        """List the connections of the owner of the key, or of a managed user."""
        parse = partial(parse_listing, secrets=self._secrets)
        return await self._send("GET", "/platform-connections", user_id, LIST_LIMIT, parse)

    async def users(self) -> ApiResult[UserListing]:
        """List the users that the key may act for."""
        parse = partial(parse_users, secrets=self._secrets)
        return await self._send("GET", "/workspace/users", "", LIST_LIMIT, parse)

    async def close(self) -> None:
        """Close the transport. Requests under way end as inconclusive; safe to call twice."""
        await self._transport.close()

    async def _send(self, method: str, path: str, user_id: str, limit: int, parse: Callable[[bytes], T]) -> ApiResult[T]:
        """Wait for a free slot, send a request and *parse* the body of its answer, at most *limit* bytes."""
        if user_id and user_id_problem(user_id) is not None:
            return self._unsent(Reason.USER_ID_INVALID, "not sent: a managed user's id is 24 hexadecimal digits")
        async with self._slots:
            sent_at = self._clock.now()
            try:
                response = await self._fetch(method, path, user_id, limit)
            except BrokenOffError:
                raise
            except Exception as error:  # noqa: BLE001 - every other failure is a result
                failure = to_api_error(error)
                self._count(failure)
                return ApiResult(failure, sent_at, self._clock.now())
            at = self._clock.now()
        self._internal_errors = 0
        if len(response.body) > TEST_LIMIT:
            # A list of thousands takes half a second to parse: the loop would stand still.
            return await asyncio.to_thread(self._parse, parse, response, sent_at, at, method=method, user_id=user_id, limit=limit)
        return self._parse(parse, response, sent_at, at, method=method, user_id=user_id, limit=limit)

    def _parse(
        self, parse: Callable[[bytes], T], response: Response, sent_at: datetime, at: datetime, *, method: str, user_id: str, limit: int
    ) -> ApiResult[T]:
        date = response.headers.get("date")
        server_at = http_date(date) if date else None
        now = server_at or at
        answer: T | ApiError
        if not 200 <= response.status < 300:
            answer = refusal(
                response.status,
                response.headers,
                b"" if response.truncated or _is_encoded(response) else response.body,
                now=now,
                with_user=bool(user_id),
                about_connection=method == "POST",  # lists are read by GET
                secrets=self._secrets,
            )
            return ApiResult(answer, sent_at, at, server_at, response.status, answer.retry_after)
        wait = rate_limit_wait(response.headers, now)
        try:
            answer = parse(_usable_body(response, limit))
        except ApiError as error:
            answer = ApiError(error.reason, error.detail, retry_after=wait, http_status=response.status)
        return ApiResult(answer, sent_at, at, server_at, response.status, wait)

    async def _fetch(self, method: str, path: str, user_id: str, limit: int) -> Response:
        transport = self._transport.current()
        # Only the target differs from request to request.
        target = self._path + path.encode("ascii")
        message = self._request_for(method, user_id)
        response = await transport.send(message, seconds=self._deadline, limit=limit, target=target)
        if response.failure is not None and not _is_encoded(response):
            raise response.failure
        return response

    def _request_for(self, method: str, user_id: str) -> httpx.Request:
        """Return the request without its target, made once per method and managed user."""
        request = self._requests.get((method, user_id))
        if request is None:
            profile = self._profile
            values = {
                "host": self._url.netloc.decode("ascii"),
                profile.key_header: self._key.reveal(),
                "user-agent": self._user_agent,
                "accept": "application/json",
                "accept-encoding": "identity",
            }
            if user_id:
                values[profile.user_header] = user_id
            if method == "POST":
                values["content-length"] = "0"
            request = self._requests[method, user_id] = httpx.Request(method, self._url, headers=values, stream=_NO_BODY)
        return request

    def _count(self, failure: ApiError) -> None:
        """Count internal errors in a row; after three the transport is replaced."""
        if failure.reason is not Reason.MONITOR_INTERNAL:
            self._internal_errors = 0
            return
        self._internal_errors += 1
        if self._internal_errors >= INTERNAL_ERRORS_BEFORE_REBUILD:
            self._internal_errors = 0
            self._transport.rebuild()

    def _unsent(self, reason: Reason, detail: str) -> ApiResult[Any]:
        now = self._clock.now()
        return ApiResult(ApiError(reason, detail), now, now)


def _is_encoded(response: Response) -> bool:
    """Whether the body is compressed although that was not asked for."""
    return response.headers.get("content-encoding", "").strip().lower() not in ("", "identity")


def _usable_body(response: Response, limit: int) -> bytes:
    """Return the body of a successful answer."""
    if _is_encoded(response):
        raise ApiError(Reason.REPLY_ENCODED, "the body is compressed")
    if response.truncated:
        raise ApiError(Reason.REPLY_TOO_LARGE, f"the body is larger than {limit // 1024} KiB")
    return response.body


def _spellings(key: str) -> tuple[str, ...]:
    """Return the key in every form in which a server may give it back."""
    return tuple({key, quote(key, safe=""), base64.b64encode(key.encode()).decode()})
