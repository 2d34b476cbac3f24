"""
The watched API: the only place that talks to it, and the only holder of an account's key.

Every answer becomes an `Exchange`, whatever happens; nothing is raised. One total deadline covers the
whole request, because per-read timeouts never end a server that sends one byte at a time.

Requests go straight to aiohttp, which carries httpx's elsewhere too: redirects, cookies, proxies from the environment, decoding
and a log line with every address are then not switched off but not there, and four tenths of a request's CPU are saved.

Source: api-contract.md 1, 4.1 and 4.2; reliability.md F01 to F16 and 4.5.
"""

import asyncio
import base64
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import aiohttp

from monitor.clock import Clock
from monitor.config.secrets import Secret
from monitor.config.sections.core import ApiSettings
from monitor.domain.checks import Reply
from monitor.domain.connections import id_problem, path_segment, user_id_problem
from monitor.domain.listings import Listing, UserListing
from monitor.errors import ApiError, Reason
from monitor.http.errors import to_api_error, was_stale_connection
from monitor.http.headers import http_date
from monitor.http.transport import Lookup, new_session, tls_context
from monitor.postpost.errors import rate_limit_wait, refusal
from monitor.postpost.responses import parse_listing, parse_reply, parse_users

TEST_LIMIT = 256 * 1024
LIST_LIMIT = 8 * 1024 * 1024
"""Most bytes of a body that are read."""

INTERNAL_ERRORS_BEFORE_REBUILD = 3

_HEADERS = {
    name.encode(): name for name in ("content-encoding", "date", "location", "retry-after", "x-ratelimit-remaining", "x-ratelimit-reset")
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ApiResult(Generic[T]):
    """
    One request and what came of it.

    Attributes:
        answer: the parsed answer, or why there is none.
        sent_at, at: when the request left and when its answer was complete, wall clock.
        server_at: the server's `Date` header (whole seconds), or None.
        http_status: None when no answer arrived.
        retry_after: how long the API asked the account to wait, 1 second to 1 hour, or None.
    """

    answer: T | ApiError
    sent_at: datetime
    at: datetime
    server_at: datetime | None = None
    http_status: int | None = None
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class _Response:
    """An answer as it came; *body* is None when it was too large, compressed when *encoded*."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None
    encoded: bool


@dataclass(frozen=True, slots=True)
class _Request(Generic[T]):
    """What is asked and how its answer is read."""

    method: str
    path: str
    user_id: str
    limit: int
    read: Callable[[bytes], T]
    about_connection: bool = False


class ApiClient:
    """
    One account of the watched API.

    Args:
        settings: address, brand, deadlines, concurrency.
        api_key: the account's key.
        clock: dates the exchanges.
        user_agent: `postpost-monitor/<version>`.
        lookup: resolves a host name and port, as `socket.getaddrinfo` does; blocks, so it runs in a thread.
        rebuilt: called whenever a stuck HTTP client was replaced.

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
        lookup: Lookup = socket.getaddrinfo,
        rebuilt: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._base = settings.base_url.rstrip("/")
        self._deadline = settings.timeout.total_seconds()
        self._connect_seconds = settings.connect_timeout.total_seconds()
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._profile = settings.profile
        self._key = api_key
        self._secrets = _spellings(api_key.reveal())
        self._user_agent = user_agent
        self._headers: dict[str, dict[str, str]] = {}
        self._tls = tls_context(self._base, settings.ca_file)
        self._lookup = lookup
        self._rebuilt = rebuilt
        self._session: aiohttp.ClientSession | None = None
        self._retired: set[asyncio.Task[None]] = set()
        self._closed = False
        self._internal_errors = 0
        self.rebuilds = 0
        """How often the HTTP client was thrown away and made anew."""

    def __repr__(self) -> str:
        return f"Api({self._base!r})"

    async def test(self, platform_id: str, user_id: str = "") -> ApiResult[Reply]:
        """The API's test of one connection, for the owner of the key or for a managed user."""
        problem = id_problem(platform_id)
        if problem is not None:
            return self._unsent(Reason.ID_REFUSED, f"not sent: the id {problem}")
        read = partial(parse_reply, platform_id=platform_id, secrets=self._secrets)
        path = f"/test-connection/{path_segment(platform_id)}"
        return await self._ask(_Request("POST", path, user_id, TEST_LIMIT, read, about_connection=True))

    async def connections(self, user_id: str = "") -> ApiResult[Listing]:
        """All connections of the owner of the key, or of a managed user."""
        read = partial(parse_listing, secrets=self._secrets)
        return await self._ask(_Request("GET", "/platform-connections", user_id, LIST_LIMIT, read))

    async def users(self) -> ApiResult[UserListing]:
        """The users that the key may act for."""
        read = partial(parse_users, secrets=self._secrets)
        return await self._ask(_Request("GET", "/workspace/users", "", LIST_LIMIT, read))

    async def close(self) -> None:
        """Drop all connections. Requests under way end as inconclusive; safe to call twice."""
        self._closed = True
        session, self._session = self._session, None
        for task in self._retired:
            task.cancel()
        await asyncio.gather(*self._retired, return_exceptions=True)
        if session is not None:
            await session.close()

    async def _ask(self, question: _Request[T]) -> ApiResult[T]:
        """One request, from waiting for a free slot to the parsed answer."""
        if question.user_id and user_id_problem(question.user_id) is not None:
            return self._unsent(Reason.USER_ID_INVALID, "not sent: a managed user's id is 24 hexadecimal digits")
        async with self._slots:
            sent_at = self._clock.now()
            try:
                async with asyncio.timeout(self._deadline):
                    raw = await self._fetch_again(question)
            except Exception as error:  # noqa: BLE001 - whatever the libraries raise, the caller gets an exchange
                failure = to_api_error(error, self._deadline, self._connect_seconds)
                self._count(failure)
                return ApiResult(failure, sent_at, self._clock.now())
            at = self._clock.now()
        self._internal_errors = 0
        if raw.body is not None and len(raw.body) > TEST_LIMIT:
            # A list of thousands takes half a second to read: everybody else would wait.
            return await asyncio.to_thread(self._read, question, raw, sent_at, at)
        return self._read(question, raw, sent_at, at)

    def _read(self, question: _Request[T], raw: _Response, sent_at: datetime, at: datetime) -> ApiResult[T]:
        """The exchange an answer makes."""
        date = raw.headers.get("date")
        server_at = http_date(date) if date else None
        now = server_at or at
        answer: T | ApiError
        if not 200 <= raw.status < 300:
            answer = refusal(
                raw.status,
                raw.headers,
                b"" if raw.encoded else raw.body or b"",
                now=now,
                with_user=bool(question.user_id),
                about_connection=question.about_connection,
                secrets=self._secrets,
            )
            return ApiResult(answer, sent_at, at, server_at, raw.status, answer.retry_after)
        wait = rate_limit_wait(raw.headers, now)
        try:
            answer = question.read(_usable(raw, question.limit))
        except ApiError as error:
            answer = ApiError(error.reason, error.detail, retry_after=wait, http_status=raw.status)
        return ApiResult(answer, sent_at, at, server_at, raw.status, wait)

    async def _fetch_again(self, question: _Request[T]) -> _Response:
        """One request; a second one at once if a kept connection turned out to be closed (a test changes nothing there)."""
        try:
            return await self._fetch(question)
        except aiohttp.ClientError as error:
            # The library itself asks again for what is safe by its method.
            if question.method != "POST" or not was_stale_connection(error):
                raise
        return await self._fetch(question)

    async def _fetch(self, question: _Request[T]) -> _Response:
        session = self._session or self._build()
        address, headers = self._base + question.path, self._headers_for(question.user_id)
        async with session.request(question.method, address, headers=headers, allow_redirects=False) as response:
            found = _headers(response)
            encoded = found.get("content-encoding", "").strip().lower() not in ("", "identity")
            body = None if encoded else await _body(response, question.limit)
            return _Response(response.status, found, body, encoded)

    def _headers_for(self, user_id: str) -> dict[str, str]:
        """The request's headers, made once per managed user."""
        headers = self._headers.get(user_id)
        if headers is None:
            profile = self._profile
            headers = {
                profile.key_header: self._key.reveal(),
                "user-agent": self._user_agent,
                "accept": "application/json",
                "accept-encoding": "identity",
            }
            if user_id:
                headers[profile.user_header] = user_id
            self._headers[user_id] = headers
        return headers

    def _build(self) -> aiohttp.ClientSession:
        """A new HTTP client."""
        if self._closed:
            raise ApiError(Reason.MONITOR_INTERNAL, "the client of this account is closed")
        self._session = new_session(self._tls, self._lookup, self._connect_seconds)
        return self._session

    def _count(self, failure: ApiError) -> None:
        """Troubles of our own in a row mean that the client is broken: make a new one."""
        if failure.reason is not Reason.MONITOR_INTERNAL:
            self._internal_errors = 0
            return
        self._internal_errors += 1
        if self._internal_errors >= INTERNAL_ERRORS_BEFORE_REBUILD and not self._closed:
            self._internal_errors = 0
            self._rebuild()

    def _rebuild(self) -> None:
        """Use a new client from now on; the old one is closed when its requests have had their time."""
        session, self._session = self._session, None
        self.rebuilds += 1
        self._rebuilt()
        if session is not None:
            task = asyncio.get_running_loop().create_task(self._retire(session), name="retire-http-client")
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)

    async def _retire(self, session: aiohttp.ClientSession) -> None:
        try:
            await self._clock.sleep(self._deadline)
        finally:
            await session.close()

    def _unsent(self, reason: Reason, detail: str) -> ApiResult[Any]:
        now = self._clock.now()
        return ApiResult(ApiError(reason, detail), now, now)


def _usable(raw: _Response, limit: int) -> bytes:
    """The body of a successful answer."""
    if raw.encoded:
        raise ApiError(Reason.REPLY_ENCODED, "the body is compressed")
    if raw.body is None:
        raise ApiError(Reason.REPLY_TOO_LARGE, f"the body is larger than {limit // 1024} KiB")
    return raw.body


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    """The few headers that are ever looked at."""
    wanted = ((_HEADERS.get(name.lower()), value) for name, value in response.raw_headers)
    return {name: value.decode("latin-1") for name, value in wanted if name}


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """The body as it comes over the wire; None, with the rest left unread, once it is larger than *limit*."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > limit:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _spellings(key: str) -> tuple[str, ...]:
    """The key in every form in which a server may give it back."""
    return tuple({key, quote(key, safe=""), base64.b64encode(key.encode()).decode()})
