"""Faults as values, and scripts of them."""

import gzip
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

_JSON = {"Content-Type": "application/json; charset=utf-8"}
_HTML = {"Content-Type": "text/html"}


class FaultKind(StrEnum):
    """What happens to a request."""

    NORMAL = "normal"
    SLOW = "slow"
    HANG = "hang"
    DRIP = "drip"
    DROP = "drop"
    ANSWER = "answer"
    GARBAGE = "garbage"


class Where(StrEnum):
    """Which part of the response drips, or where the connection is dropped."""

    START = "start"
    HEADERS = "headers"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One way to treat a request.

    Attributes:
        delay: of a slow response, or between two dripped bytes.
        where: what drips, or where the connection is dropped.
        status, body, headers: the response of `answer`; the headers are added to those of the server.
        name: of garbage, one of `NAMES`.
        times: for how many requests; None means for all.
    """

    kind: FaultKind
    delay: timedelta = timedelta()
    where: Where = Where.START
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    times: int | None = None

    def only(self, times: int) -> "Fault":
        """The same for *times* requests only."""
        return replace(self, times=times)


def normal() -> Fault:
    """The ordinary response, for use in a sequence."""
    return Fault(FaultKind.NORMAL)


def slow(delay: timedelta) -> Fault:
    """The ordinary response after *delay*."""
    return Fault(FaultKind.SLOW, delay=delay)


def hang() -> Fault:
    """No response; the connection stays open."""
    return Fault(FaultKind.HANG)


def drip(delay: timedelta = timedelta(milliseconds=400), where: Where = Where.BODY) -> Fault:
    """The ordinary response, or its headers, one byte each *delay*; `start` is an endless stream of `100 Continue`."""
    return Fault(FaultKind.DRIP, delay=delay, where=where)


def drop(where: Where = Where.START) -> Fault:
    """The connection closes before the response, within its headers, or in the middle of its body."""
    return Fault(FaultKind.DROP, where=where)


def answer(status: int, body: object = None, headers: Mapping[str, str] | None = None) -> Fault:
    """A fixed response with additional *headers*; its *body* is empty for None, bytes, a text, or anything else as JSON."""
    raw, kind = _encoded(body)
    return Fault(FaultKind.ANSWER, status=status, body=raw, headers={**kind, **(headers or {})})


def gateway_page(status: int = 502) -> Fault:
    """The HTML page of a proxy whose upstream is down."""
    return answer(status, f"<html>\r\n<head><title>{status}</title></head>\r\n<body>nginx</body>\r\n</html>\r\n")


def throttle(retry_after: timedelta | None = timedelta(seconds=30), *, in_body: bool = False) -> Fault:
    """429 with the wait in the `Retry-After` header or in the body; None gives none."""
    if retry_after is None:
        return answer(429, {"error": "Rate limit exceeded"})
    seconds = round(retry_after.total_seconds())
    if in_body:
        return answer(429, {"success": False, "error": "Rate limit exceeded", "retryAfter": seconds})
    return answer(429, None, {"Retry-After": str(seconds)})


def redirect(location: str, status: int = 302) -> Fault:
    """A redirect to *location*, which a client must not follow."""
    return answer(status, None, {"Location": location})


def garbage(name: str) -> Fault:
    """A 200 with an invalid body, one of `NAMES`."""
    return Fault(FaultKind.GARBAGE, name=name)


class FaultScript:
    """The faults of the next requests, in order; an empty script means ordinary responses."""

    __slots__ = ("_steps",)

    def __init__(self, steps: Iterable[Fault] = ()) -> None:
        self._steps = list(steps)

    def play(self, *steps: Fault) -> None:
        """Replace the script by *steps*; without any, responses are ordinary again."""
        self._steps = list(steps)

    def take(self) -> Fault | None:
        """The fault of this request, None for an ordinary response; uses up one of its times."""
        if not self._steps:
            return None
        step = self._steps[0]
        if step.times is not None:
            self._use_up(step, step.times)
        elif len(self._steps) > 1:
            # A step without a count would hide its successor for ever.
            self._steps.pop(0)
        return None if step.kind is FaultKind.NORMAL else step

    @property
    def steps(self) -> tuple[Fault, ...]:
        """The steps that are left, in order."""
        return tuple(self._steps)

    def _use_up(self, step: Fault, times: int) -> None:
        if times <= 1:
            self._steps.pop(0)
        else:
            self._steps[0] = step.only(times - 1)


def _encoded(body: object) -> tuple[bytes, Mapping[str, str]]:
    if body is None:
        return b"", {}
    if isinstance(body, bytes):
        return body, {}
    if isinstance(body, str):
        return body.encode(), _HTML
    return json.dumps(body, ensure_ascii=False).encode(), _JSON


def describe(script: FaultScript) -> list[dict[str, Any]]:
    """The steps of *script* as JSON, without default values."""
    return [_described(step) for step in script.steps]


def _described(step: Fault) -> dict[str, Any]:
    document: dict[str, Any] = {"kind": str(step.kind)}
    if step.kind is FaultKind.ANSWER:
        document["status"] = step.status
    if step.delay:
        document["delay_seconds"] = step.delay.total_seconds()
    if step.name:
        document["name"] = step.name
    if step.kind in (FaultKind.DRIP, FaultKind.DROP):
        document["where"] = str(step.where)
    if step.times is not None:
        document["times"] = step.times
    return document


HUGE_BYTES = 64 * 1024 * 1024


def _changed(body: bytes, **changes: Any) -> bytes:
    document = json.loads(body)
    if isinstance(document, dict):
        document.update(changes)
    return json.dumps(document, ensure_ascii=False).encode()


def _without(body: bytes, key: str) -> bytes:
    document = json.loads(body)
    if isinstance(document, dict):
        document.pop(key, None)
    return json.dumps(document).encode()


_MAKERS: Mapping[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "html": lambda _: b"<html><body>Please sign in to use this network.</body></html>",
    "truncated": lambda body: body[: len(body) // 2],
    "array": lambda _: b"[]",
    "string": lambda _: b'"ok"',
    "null": lambda _: b"null",
    "number": lambda _: b"42",
    "object": lambda _: b"{}",
    "nan": lambda _: b'{"status": NaN}',
    "infinite": lambda body: body[:-1] + b', "x": 1e999}',
    "long-number": lambda body: body[:-1] + b', "x": ' + b"9" * 5000 + b"}",
    "deep": lambda _: b"[" * 200_000,
    "bom": lambda body: b"\xef\xbb\xbf" + body,
    "latin-1": lambda body: body[:-1] + b', "x": "caf\xe9"}',
    "duplicates": lambda body: body[:-1] + b', "status": "error", "status": "ok"}',
    "wrong-id": lambda body: _changed(body, platformId="linkedin-SomebodyElse"),
    "wrong-status": lambda body: _changed(body, status="degraded"),
    "null-status": lambda body: _changed(body, status=None),
    "no-status": lambda body: _without(body, "status"),
    "text-error": lambda body: _changed(body, lastError="Session has expired"),
    "days": lambda body: _changed(body, tokenExpiresIn="29 days"),
    "odd-token": lambda body: _changed(body, tokenExpiresIn="soon-ish"),
    "hostile": lambda body: _changed(body, username="<script>alert(1)</script>", message="@everyone \x1b[31m\u202e<!channel>\r\nX: y"),
    "secrets": lambda body: _changed(
        body, status="error", message="GET /me?access_token=EAABsbCS1iHgBAKZC failed for bot123456:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
    ),
    "gzip": gzip.compress,
}
HUGE = "huge"
NAMES: tuple[str, ...] = (*_MAKERS, HUGE)


def made(name: str, body: bytes) -> bytes:
    """The garbage called *name* in place of the ordinary *body*; raises KeyError for an unknown name or `huge`."""
    return _MAKERS[name](body)


def headers_of(name: str) -> Mapping[str, str]:
    """The additional headers of the garbage called *name*."""
    return {"Content-Encoding": "gzip"} if name == "gzip" else {}
