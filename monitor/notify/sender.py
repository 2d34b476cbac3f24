"""
The way out to receivers: one request, one result, and no exception but cancellation.

Receivers' addresses are secrets, so no text that leaves this module holds one, nor anything that a library printed.
Requests go straight to the transport, past httpx's client, which logs every address it calls.
"""

import asyncio
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import unquote, urlsplit

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver
from httpx_aiohttp import AiohttpTransport

from monitor.clock import Clock
from monitor.config import ReceiverSettings
from monitor.domain.delivery.retries import AttemptResult, result_of_status
from monitor.errors import DeliveryReason
from monitor.http.errors import _failure
from monitor.http.headers import _retry_after
from monitor.http.transport import _open_socket, _refused
from monitor.notify import RECEIVER_TYPES
from monitor.notify.base import Message, OpenAlerts, ReceiverType, Request
from monitor.notify.templates import texts
from monitor.redaction import clean, forms_of

MAX_ANSWER = 4096
_SHOWN = 200


_Render = Callable[[ReceiverType, datetime], Request | None]


@dataclass(slots=True)
class _Answer:
    status: int | None = None
    retry_after: str = ""
    body: bytes = b""


class Sender:
    """
    Sends bodies to receivers; safe to share between all of them.

    Every attempt opens a connection of its own: an idle one that the receiver has just closed would cost a failed
    attempt, and with it the seconds until the next.
    """

    def __init__(
        self, *, clock: Clock, user_agent: str, ssl_context: ssl.SSLContext | None = None, resolver: AbstractResolver | None = None
    ) -> None:
        self._clock = clock
        self._user_agent = user_agent
        self._ssl_context = ssl_context
        self._resolver = resolver
        self._transports: dict[bool, AiohttpTransport] = {}

    async def send(self, receiver: ReceiverSettings, webhook_id: str, body: bytes, previous: bytes | None = None) -> AttemptResult:
        """
        Make one attempt to tell *receiver* the stored *body*; never raises but when cancelled.

        It ends after `receiver.timeout` at the latest, whatever the receiver does. At most 4 KiB of the answer are read,
        redirects are failures, and the address is vetted at the moment of connecting. *previous* is what was last delivered
        about the same incident, for the types that want to know. What the type has nothing to say about counts as
        delivered without a request.
        """
        return await self._timed(
            receiver, lambda kind, now: kind.render(Message(webhook_id, body, now, self._user_agent, previous), receiver)
        )

    async def repeat(self, receiver: ReceiverSettings, bodies: Sequence[bytes]) -> AttemptResult:
        """Make one attempt to tell *receiver* again what still stands, as `send` does; for types with a `repeat`."""

        def render(kind: ReceiverType, now: datetime) -> Request | None:
            return kind.repeat.render(OpenAlerts(bodies, now, self._user_agent), receiver) if kind.repeat else None

        return await self._timed(receiver, render)

    async def ping(self, url: str, *, method: str, within: timedelta) -> AttemptResult:
        """Ask *url* once, without a body, as `send` does; never raises but when cancelled. Of the answer only the status counts."""
        answer = _Answer()
        request = Request(url, {"User-Agent": self._user_agent}, b"", method)
        failure = await self._ask(request, answer, within, deny_private=False)
        if failure is not None:
            return failure
        return replace(result_of_status(answer.status or 0), detail=f"answered {answer.status}")

    async def close(self) -> None:
        """Close whatever is open."""
        transports, self._transports = self._transports, {}
        for transport in transports.values():
            await transport.aclose()

    async def _timed(self, receiver: ReceiverSettings, render: _Render) -> AttemptResult:
        begun = self._clock.monotonic()
        result = await self._attempt(receiver, render)
        return replace(result, took=timedelta(seconds=max(0.0, self._clock.monotonic() - begun)))

    async def _attempt(self, receiver: ReceiverSettings, render: _Render) -> AttemptResult:
        now = self._clock.now()
        try:
            kind = RECEIVER_TYPES[receiver.type]
            request = render(kind, now.astimezone(UTC))
        except Exception as error:  # noqa: BLE001 - one document that can't be told must not stop the others
            return AttemptResult(
                DeliveryReason.INTERNAL, detail=f"cannot be told to a receiver of type {receiver.type} ({type(error).__name__})"
            )
        if request is None:
            return AttemptResult(DeliveryReason.DELIVERED, detail=f"nothing to tell a receiver of type {receiver.type}", sent=False)
        answer = _Answer()
        failure = await self._ask(request, answer, receiver.timeout, deny_private=receiver.deny_private)
        return failure or self._judged(kind.judge(answer.status or 0, answer.body), answer, now, receiver, request)

    async def _ask(self, request: Request, answer: _Answer, within: timedelta, *, deny_private: bool) -> AttemptResult | None:
        """Fill in *answer*, or tell what failed; once there is a status, whatever happens to the rest of the answer is no failure."""
        refusals = list[str]()
        token = _refused.set(refusals)
        try:
            async with asyncio.timeout(within.total_seconds()):
                await self._exchange(request, answer, deny_private=deny_private)
        except Exception as error:  # noqa: BLE001 - whatever a library raises is a failed attempt, and its text is not ours to tell
            if answer.status is None:
                return _failure(error, refusals)
        finally:
            _refused.reset(token)
        return None

    async def _exchange(self, request: Request, answer: _Answer, *, deny_private: bool) -> None:
        transport = self._transport(deny_private=deny_private)
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", **request.headers}
        response = await transport.handle_async_request(httpx.Request(request.method, request.url, headers=headers, content=request.body))
        try:
            answer.retry_after = response.headers.get("Retry-After", "")
            answer.status = response.status_code
            async for chunk in response.aiter_raw():
                answer.body = (answer.body + chunk)[:MAX_ANSWER]
                if len(answer.body) >= MAX_ANSWER:
                    break
        finally:
            await response.aclose()

    def _transport(self, *, deny_private: bool) -> AiohttpTransport:
        if deny_private not in self._transports:
            session = partial(self._session, deny_private=deny_private)
            self._transports[deny_private] = AiohttpTransport(client=session, trust_env=False)
        return self._transports[deny_private]

    def _session(self, *, deny_private: bool) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            force_close=True,
            limit=0,
            use_dns_cache=False,
            resolver=self._resolver,
            socket_factory=partial(_open_socket, deny_private=deny_private),
            ssl=self._ssl_context or True,
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)

    def _judged(self, result: AttemptResult, answer: _Answer, now: datetime, receiver: ReceiverSettings, request: Request) -> AttemptResult:
        if result.delivered:
            return replace(result, http_status=answer.status)
        text = result.detail or _excerpt(answer.body, receiver, request)
        detail = f"answered {answer.status}" + (f": {text}" if text else "")
        retry_after = result.retry_after if result.retry_after is not None else _retry_after(answer.retry_after, now)
        return replace(result, http_status=answer.status, retry_after=retry_after, detail=detail)


def _excerpt(body: bytes, receiver: ReceiverSettings, request: Request) -> str:
    """The beginning of an answer for people, without any secret of ours that it repeats, in whatever form."""
    parts = urlsplit(request.url)
    secrets = [secret.reveal() for secret in (receiver.routing_key, receiver.api_key) if secret is not None]
    secrets += texts(receiver.template.reveal()) if receiver.template is not None else []
    secrets += [parts.netloc, parts.path, parts.query, *re.split("[/&=]", f"{parts.path}&{parts.query}")]
    secrets += [value.reveal() for value in receiver.headers.values()]
    secrets += [secret.reveal().removeprefix("whsec_") for secret in receiver.secrets]
    forms = {form for secret in secrets for written in (secret, unquote(secret)) for form in forms_of(written)}
    return clean(body.decode("utf-8", "replace"), _SHOWN, tuple(sorted(forms, key=len, reverse=True)))
