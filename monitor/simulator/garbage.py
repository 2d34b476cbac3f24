"""
Answers of 200 that make no sense, made from the ordinary body of the same request.

Source: `api-contract.md` 6.5 and `reliability.md` F05, F06.
"""

import gzip
import json
from collections.abc import Callable, Mapping
from typing import Any

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
    """The garbage called *name* in place of *body*, the ordinary answer. Raises KeyError for an unknown name or `huge`."""
    return _MAKERS[name](body)


def headers_of(name: str) -> Mapping[str, str]:
    """The headers that go with it."""
    return {"Content-Encoding": "gzip"} if name == "gzip" else {}
