"""Sends notifications to receivers: one request, one result, no exception but cancellation, no address in any text."""

import asyncio
import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import unquote, urlsplit

import httpx

from monitor.clock import Clock
from monitor.config import ReceiverSettings
from monitor.domain.delivery.retries import AttemptResult, result_of_status
from monitor.errors import DeliveryReason
from monitor.http.addresses import is_refused
from monitor.http.errors import to_attempt_result
from monitor.http.gate import Gate
from monitor.http.headers import retry_after
from monitor.http.proxy import proxy_of
from monitor.http.transport import Lookup, Response, Transport
from monitor.notify.base import Message, OpenAlerts, ReceiverType, Request
from monitor.notify.filling import texts
from monitor.notify.receiver_types import RECEIVER_TYPES
from monitor.redaction import clean, forms_of

BODY_LIMIT = 4096
_KEEP_ALIVE_SECONDS = 1.0
_THREADS = 16
_NOT_INSTALLED = "the library Apprise is not installed: install the extra postpost-monitor[apprise]"
_EXCERPT_LIMIT = 200


_Render = Callable[[ReceiverType, datetime], Request | None]


class Sender:
    """Sends bodies to receivers; safe to share between all of them. A connection is kept for a second; a stale one costs no attempt."""

    def __init__(
        self,
        *,
        clock: Clock,
        user_agent: str,
        tls: ssl.SSLContext | None = None,
        lookup: Lookup = socket.getaddrinfo,
        gate: Gate | None = None,
    ) -> None:
        self._gate = gate
        self._clock = clock
        self._user_agent = user_agent
        self._tls = tls
        self._lookup = lookup
        self._threads = asyncio.Semaphore(_THREADS)
        self._transports: dict[tuple[str, str, bool], Transport] = {}

    async def send(self, receiver: ReceiverSettings, webhook_id: str, body: bytes, previous: bytes | None = None) -> AttemptResult:
        """
        Make one attempt to deliver the stored *body* to *receiver*; never raises but when cancelled.

        It ends after `receiver.timeout` at the latest, whatever the receiver does. At most 4 KiB of the response are read,
        redirects are failures, and the address is vetted at the moment of connecting. *previous* is what was last delivered
        about the same incident, for the types that use it. What the type has no message for is not sent.
        """
        return await self._timed(
            receiver,
            lambda receiver_type, now: receiver_type.render(Message(webhook_id, body, now, self._user_agent, previous), receiver),
        )

    async def repeat(self, receiver: ReceiverSettings, bodies: Sequence[bytes]) -> AttemptResult:
        """Make one attempt to resend the open alerts to *receiver*, as `send` does; for types with a `repeat`."""

        def render(receiver_type: ReceiverType, now: datetime) -> Request | None:
            repeat = receiver_type.repeat
            return repeat.render(OpenAlerts(bodies, now, self._user_agent), receiver) if repeat else None

        return await self._timed(receiver, render)

    async def ping(self, url: str, *, method: str, within: timedelta) -> AttemptResult:
        """Make one request without a body to *url*, as `send` does; never raises but when cancelled. Only the status counts."""
        request = Request(url, {"User-Agent": self._user_agent}, b"", method)
        response = await self._exchange(request, within)
        if isinstance(response, AttemptResult):
            return response
        return replace(result_of_status(response.status), detail=f"answered {response.status}")

    async def close(self) -> None:
        """Close whatever is open."""
        transports, self._transports = self._transports, {}
        for transport in transports.values():
            await transport.close()

    async def _timed(self, receiver: ReceiverSettings, render: _Render) -> AttemptResult:
        begun = self._clock.monotonic()
        result = await self._attempt(receiver, render)
        return replace(result, took=timedelta(seconds=max(0.0, self._clock.monotonic() - begun)))

    async def _attempt(self, receiver: ReceiverSettings, render: _Render) -> AttemptResult:
        now = self._clock.now()
        try:
            receiver_type = RECEIVER_TYPES[receiver.type]
            request = render(receiver_type, now.astimezone(UTC))
        except Exception as error:  # noqa: BLE001 - one document that can't be rendered must not stop the others
            return AttemptResult(
                DeliveryReason.INTERNAL, detail=f"cannot be rendered for a receiver of type {receiver.type} ({type(error).__name__})"
            )
        if request is None:
            return AttemptResult(DeliveryReason.NOT_SENT, detail=f"nothing to send to a receiver of type {receiver.type}", sent=False)
        if receiver_type.blocking is not None:
            return await self._in_thread(partial(receiver_type.blocking, request, receiver.timeout.total_seconds()), receiver.timeout)
        response = await self._exchange(request, receiver.timeout, receiver)
        if isinstance(response, AttemptResult):
            return response
        return _with_response(receiver_type.judge(response.status, response.body), response, now, receiver, request)

    async def _exchange(self, request: Request, within: timedelta, receiver: ReceiverSettings | None = None) -> Response | AttemptResult:
        """Return the response, or the result of an attempt without one; with a status, a broken body is no failure."""
        try:
            deny_private = receiver is not None and receiver.deny_private
            transport = self._transport_for(receiver, deny_private=deny_private)
            headers = {"Accept": "*/*", "Accept-Encoding": "identity", **request.headers}
            message = httpx.Request(request.method, request.url, headers=headers, content=request.body)
            refuse = partial(is_refused, deny_private=deny_private)
            return await transport.send(message, seconds=within.total_seconds(), limit=BODY_LIMIT, refuse=refuse)
        except Exception as error:  # noqa: BLE001 - every failure is a result
            return to_attempt_result(error)

    async def _in_thread(self, send: Callable[[], AttemptResult], within: timedelta) -> AttemptResult:
        """Return the result of *send*, called in a daemon thread; a late one ends by its own timeouts, and counts against `_THREADS`."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[AttemptResult] = loop.create_future()

        def finish(result: AttemptResult) -> None:
            self._threads.release()
            if not done.done():
                done.set_result(result)

        def work() -> None:
            try:
                result = send()
            except ImportError:
                result = AttemptResult(DeliveryReason.INTERNAL, detail=_NOT_INSTALLED, sent=False)
            except Exception as error:  # noqa: BLE001 - its text may hold the address
                result = AttemptResult(DeliveryReason.UNKNOWN, detail=f"the library failed ({type(error).__name__})")
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(finish, result)

        try:
            async with asyncio.timeout(within.total_seconds()):
                await self._threads.acquire()
                threading.Thread(target=work, name="notify", daemon=True).start()
                return await done
        except TimeoutError:
            detail = f"no result within {within.total_seconds():g} s; the message may have arrived"
            return AttemptResult(DeliveryReason.TIMEOUT, detail=detail)

    def _transport_for(self, receiver: ReceiverSettings | None, *, deny_private: bool) -> Transport:
        """The transport with the proxy and the authorities of *receiver*, whose connections were vetted alike; it may be shared."""
        proxy = receiver.proxy.reveal() if receiver is not None and receiver.proxy is not None else ""
        ca_file = (receiver.ca_file if receiver is not None else None) or ""
        transport = self._transports.get((proxy, ca_file, deny_private))
        if transport is None:
            tls = ssl.create_default_context(cafile=ca_file) if ca_file else self._tls
            via = proxy_of(proxy) if proxy else None
            transport = Transport(tls, lookup=self._lookup, keep_alive_seconds=_KEEP_ALIVE_SECONDS, proxy=via, gate=self._gate)
            self._transports[proxy, ca_file, deny_private] = transport
        return transport


def _with_response(result: AttemptResult, response: Response, now: datetime, receiver: ReceiverSettings, request: Request) -> AttemptResult:
    """Return *result* with what *response* says about it."""
    if result.delivered:
        return replace(result, http_status=response.status)
    text = result.detail or _excerpt(response.body, receiver, request)
    detail = f"answered {response.status}" + (f": {text}" if text else "")
    wait = result.retry_after if result.retry_after is not None else retry_after(response.headers.get("retry-after", ""), now)
    return replace(result, http_status=response.status, retry_after=wait, detail=detail)


def _excerpt(body: bytes, receiver: ReceiverSettings, request: Request) -> str:
    """Return the beginning of a response for people, without any secret of ours that it repeats, in whatever form."""
    parts = urlsplit(request.url)
    secrets = [secret.reveal() for secret in (receiver.routing_key, receiver.api_key) if secret is not None]
    secrets += texts(receiver.template.reveal()) if receiver.template is not None else []
    secrets += [parts.netloc, parts.path, parts.query, *re.split("[/&=]", f"{parts.path}&{parts.query}")]
    secrets += [value.reveal() for value in receiver.headers.values()]
    secrets += [secret.reveal().removeprefix("whsec_") for secret in receiver.secrets]
    secrets += [receiver.proxy.reveal(), proxy_of(receiver.proxy.reveal()).credentials.decode()] if receiver.proxy is not None else []
    forms = {form for secret in secrets for written in (secret, unquote(secret)) for form in forms_of(written)}
    return clean(body.decode("utf-8", "replace"), _EXCERPT_LIMIT, tuple(sorted(forms, key=len, reverse=True)))
