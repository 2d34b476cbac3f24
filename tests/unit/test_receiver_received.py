"""Signatures of received deliveries, and the comparison for people."""

from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from monitor.simulator.receiver import Received, Signature, check, firsts, parsed
from tests.receiving import side_by_side

AT = datetime(2030, 1, 1, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"type":"connection.failed","é":1}'.encode()


def _signed(secret: str = SECRET, body: bytes = BODY) -> dict[str, str]:
    signature = Webhook(secret).sign("evt_1", AT, body.decode())
    return {"webhook-id": "evt_1", "webhook-timestamp": str(int(AT.timestamp())), "webhook-signature": signature}


def _delivery(kind: str, webhook_id: str = "") -> Received:
    headers = {"webhook-id": webhook_id} if webhook_id else {}
    return Received(AT, "/hook", headers, b"", {"type": kind, "summary": f"about {kind}"}, Signature.UNCHECKED, 204)


def test_published_vector() -> None:
    """The example of the specification's own libraries is valid."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert check(SECRET, headers, b'{"test": 2432232314}') is Signature.VALID


def test_signatures() -> None:
    """A signature counts only over these bytes, this id, this moment and this secret; one of several is enough."""
    good = _signed()
    assert check(SECRET, good, BODY) is Signature.VALID
    assert check(SECRET, {**good, "webhook-signature": f"v1,AAAA {good['webhook-signature']}"}, BODY) is Signature.VALID
    assert check(SECRET, good, BODY + b" ") is Signature.INVALID
    assert check(SECRET, {**good, "webhook-id": "evt_2"}, BODY) is Signature.INVALID
    assert check(SECRET, {**good, "webhook-timestamp": "1"}, BODY) is Signature.INVALID
    assert check(SECRET, _signed("whsec_" + "A" * 32), BODY) is Signature.INVALID


@pytest.mark.parametrize("changes", [{"webhook-timestamp": "x"}, {"webhook-timestamp": "9" * 30}, {"webhook-signature": "v1"}])
def test_nonsense_is_invalid(changes: dict[str, str]) -> None:
    """Nonsense in the headers is invalid, not an error."""
    assert check(SECRET, {**_signed(), **changes}, BODY) is Signature.INVALID
    assert check(SECRET, _signed(), b"\xff") is Signature.INVALID


def test_absent_and_unchecked() -> None:
    """Without a signature it is absent; without a secret nothing is checked."""
    assert check(SECRET, {}, BODY) is Signature.ABSENT
    assert check(None, {}, BODY) is Signature.UNCHECKED


def test_firsts() -> None:
    """Repeats of a webhook id are left out; deliveries without one are all kept."""
    kept = firsts([_delivery("a", "1"), _delivery("a", "1"), _delivery("b", "2"), _delivery("c"), _delivery("c")])
    assert [delivery.type for delivery in kept] == ["a", "b", "c", "c"]


def test_side_by_side() -> None:
    """What is missing and what is unexpected stands beside each other, marked."""
    text = side_by_side(["a", "b", "c"], [_delivery("a"), _delivery("x"), _delivery("c"), _delivery("y")])
    lines = [line.split()[:2] if line.startswith("  ") else line.split()[:3] for line in text.splitlines()[1:]]
    assert lines == [["a", "a"], ["!", "b", "x"], ["c", "c"], ["!", "-", "y"]]
    assert "about x" in text


def test_foreign_bodies() -> None:
    """A body that is no event of ours has type `?` and no data, whatever it is."""
    documents: tuple[object, ...] = (None, [], "x", {"type": 7}, {"data": []})
    for document in documents:
        delivery = Received(AT, "/", {}, b"", document, Signature.UNCHECKED, 204)
        assert (delivery.type, delivery.data, delivery.summary) == ("?", {}, "")
    assert parsed(b"[" * 100_000) is None
