"""Random and mutated bodies: reading one never fails in an unexpected way, and never passes what an independent reader would not."""

import json
import os
import random
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.errors import ApiError, Reason
from monitor.postpost.errors import refusal
from monitor.postpost.responses import parse_listing, parse_reply, parse_users
from tests.builders import START
from tests.sampling import sampled

BODIES = 100_000
PLATFORM_ID = "linkedin-Ab1"
ALLOWED = {Reason.REPLY_INVALID, Reason.REPLY_MISMATCHED, Reason.REPLY_NOT_JSON, Reason.CAPTIVE_PORTAL}
T: dict[str, Any] = {
    "platform": "linkedin",
    "platformId": PLATFORM_ID,
    "username": "A",
    "status": "ok",
    "message": "m",
    "permissions": ["p"],
    "tokenExpiresIn": "45d 3h",
    "lastSuccessfulPost": "2026-02-22T09:15:00.000Z",
    "lastError": {"message": "x", "occurredAt": "2026-02-22T10:00:00.000Z"},
}
SEEDS = [
    json.dumps(T).encode(),
    json.dumps(T | {"status": "error", "message": "Token has been revoked"}).encode(),
    json.dumps({"success": True, "connections": [{"platformId": PLATFORM_ID, "tokenStatus": "valid"}]}).encode(),
    json.dumps({"users": [{"_id": "6626a1f5e4b0c91a2d3f4567", "displayName": "a@b.example"}]}).encode(),
    b'{"error":"Invalid API key","retryAfter":5}',
    b"<html><title>x</title></html>",
    b"",
]
FRAGMENTS = [
    b'"status":"ok"', b'"status":"error"', b'"ok"', b'"error"', b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"9" * 5000,
    b"[" * 3000, b"{", b"}", b"]", b",", b":", b'"', b"\\", b"\\ud800", b"\\u0000", b"\\u202e", b"\xff", b"\xef\xbb\xbf", b"\x00",
    b'"platformId":"linkedin-Ab2"', b'"platformId":null', b'"platformId":7', b'"tokenExpiresIn":"< 1h"', b'"lastError":"x"',
    b'"permissions":"a,b"', b'"lastSuccessfulPost":"0001-01-01T00:00:00+23:59"', b"\xed\xa0\x80", b"\r\n", b'{"status":"ok"}',
]  # fmt: skip
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    10**400,
    1.5,
    "",
    "ok",
    "OK",
    " ok ",
    "error",
    "o\u212a",
    "x" * 3000,
    "\ud800",
    [],
    [[]],
    {},
    {"message": 1},
    PLATFORM_ID,
]


class Ambiguous(Exception):
    """The body says two different things."""


def oracle_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name in ("status", "platformId"):
        told = [value for key, value in pairs if key == name]
        if any(value != told[0] for value in told):
            raise Ambiguous
    return dict(pairs)


def oracle(body: bytes) -> bool:
    """Whether a strict and slow reader calls this body a pass."""
    try:
        value = json.loads(body.decode("utf-8-sig"), object_pairs_hook=oracle_object)
    except (ValueError, RecursionError, Ambiguous):
        return False
    if not isinstance(value, dict) or not isinstance(value.get("status"), str):
        return False
    if value["status"].strip() not in ("ok", "OK", "Ok", "oK"):
        return False
    if value.get("platformId") is not None:
        return (
            isinstance(value["platformId"], str)
            and value["platformId"].replace(value["platformId"].split("-")[0], "linkedin", 1) == PLATFORM_ID
        )
    return isinstance(value.get("platform"), str) and value["platform"].strip().lower() == "linkedin"


def mutated(source: random.Random) -> bytes:
    """A body with a few accidents: members replaced, bytes flipped, cut, repeated, or pieces put in."""
    if source.random() < 0.3:
        members = dict(T)
        for _ in range(source.randrange(1, 4)):
            members[source.choice([*T, "x"])] = source.choice(VALUES)
        if source.random() < 0.3:
            del members[source.choice(list(members))]
        return json.dumps(members).encode("utf-8", "surrogatepass")
    body = bytearray(source.choice(SEEDS))
    for _ in range(source.randrange(1, 5)):
        at, kind = source.randrange(len(body) + 1), source.randrange(5)
        if kind == 0:
            body[at:at] = source.choice(FRAGMENTS)
        elif kind == 1:
            del body[at : at + source.randrange(1, 12)]
        elif kind == 2:
            body[at : at + 1] = bytes([source.randrange(256)])
        elif kind == 3:
            other = source.randrange(len(body) + 1)
            body[at:at] = body[min(at, other) : max(at, other)][:400]
        else:
            fragment = source.choice(FRAGMENTS)
            body[at : at + len(fragment)] = fragment
    return bytes(body)


def check(body: bytes) -> bool:
    """Read one body in every way there is; whether it passed."""
    passed = False
    errors: list[ApiError] = []
    try:
        reply = parse_reply(body, PLATFORM_ID)
        passed = reply.passed
        f"{reply!r}".encode()  # no lone surrogate survives
    except ApiError as error:
        errors.append(error)
    for read in (parse_listing, parse_users):
        try:
            read(body)
        except ApiError as error:
            errors.append(error)
    assert {error.reason for error in errors} <= ALLOWED
    assert all(error.detail.isprintable() for error in errors)
    return passed


@pytest.mark.parametrize("bodies", sampled([BODIES // 10, BODIES]))
def test_many_bodies(bodies: int) -> None:
    """Many accidents: nothing but ApiError, each read in less than 50 ms, passed exactly when the oracle says so."""
    source = random.Random(20300101)
    passed = slowest = 0.0
    for number in range(bodies):
        body = mutated(source)
        started = time.process_time()
        found = check(body)
        slowest = max(slowest, time.process_time() - started)
        expected = oracle(body)
        assert not found or expected, f"body {number}: {body[:300]!r} must not pass"
        passed += found
    assert bodies * 0.01 < passed < bodies * 0.5, "the accidents must neither be harmless nor all fatal"
    assert slowest < 1 + os.getloadavg()[0], "seconds; the machine is shared, alone it is below 0.05"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*T, "connections", "users", "_id"]), inner, max_size=8),
    max_leaves=20,
)


@given(JSON)
@example({"status": "ok", "platformId": PLATFORM_ID})
def test_shapes(value: Any) -> None:
    """Any JSON at all, in any place, passes only if the oracle says so."""
    body = json.dumps(value).encode()
    assert check(body) <= oracle(body)


@given(st.dictionaries(st.sampled_from(list(T)), JSON))
def test_members(members: dict[str, Any]) -> None:
    """A good answer with members replaced passes only if the oracle says so."""
    body = json.dumps(T | members).encode()
    assert check(body) <= oracle(body)


@given(st.binary(max_size=300))
def test_bytes(body: bytes) -> None:
    """Any bytes at all."""
    assert not check(body)


@given(
    st.integers(300, 999) | st.integers(100, 199),
    st.binary(max_size=60) | JSON.map(lambda value: json.dumps({"error": value, "retryAfter": value, "code": value}).encode()),
    st.dictionaries(st.sampled_from(["retry-after", "x-ratelimit-remaining", "x-ratelimit-reset", "location"]), st.text() | st.just("0")),
    st.booleans(),
)
@example(429, b'{"retryAfter":-999999999999999}', {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "-99999999999999"}, False)
def test_refusals(status: int, body: bytes, headers: dict[str, str], with_user: bool) -> None:
    """Any refusal gives a reason that is no evidence of a working connection, a printable text and a wait from a second to an hour."""
    error = refusal(status, headers, body, now=START, with_user=with_user)
    assert error.reason is not Reason.OK
    assert error.detail.isprintable()
    assert error.retry_after is None or 1 <= error.retry_after.total_seconds() <= 3600
