"""The bundled webhook receiver over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from standardwebhooks import Webhook

from monitor.clock import SystemClock
from monitor.simulator import faults
from monitor.simulator.receiver import Received, ReceiverServer, Signature
from tests import marked
from tests.waiting import eventually, patience

SECRET = marked.signing()


class Sender:
    """A receiver that is on, and something that sends to it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.told: list[Received] = []
        self.receiver = ReceiverServer(SECRET, on_event=self.told.append)
        self._session = session

    async def send(self, kind: str = "connection.failed", webhook_id: str = "evt_1", *, path: str = "") -> aiohttp.ClientResponse:
        """Deliver an event, signed as ours are."""
        body = json.dumps({"type": kind, "summary": f"about {kind}", "data": {"platform": "linkedin"}})
        now = SystemClock().now()
        headers = {
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(SECRET).sign(webhook_id, now, body),
        }
        async with self._session.post(self.receiver.url + path, data=body.encode(), headers=headers, allow_redirects=False) as response:
            await response.read()
            return response

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Use the receiver's own pages; returns status and document."""
        origin = self.receiver.url.removesuffix("/hook")
        async with self._session.request(method, origin + path, json=body) as response:
            return response.status, await (response.json() if path != "/" else response.text())


@pytest.fixture(name="it")
async def _it() -> AsyncIterator[Sender]:
    async with aiohttp.ClientSession() as session:
        sender = Sender(session)
        await sender.receiver.start()
        yield sender
        await sender.receiver.close()


async def test_delivery(it: Sender) -> None:
    """A delivery is accepted, kept as it came, checked, and told to whoever listens."""
    response = await it.send(path="/any/where?x=1")
    (delivery,) = it.receiver.received

    assert response.status == 204
    assert (delivery.type, delivery.webhook_id, delivery.path) == ("connection.failed", "evt_1", "/hook/any/where")
    assert delivery.signature is Signature.VALID
    assert delivery.data == {"platform": "linkedin"}
    assert json.loads(delivery.body) == delivery.document
    assert it.told == [delivery]


async def test_misbehaviour_in_turn(it: Sender) -> None:
    """Deliveries meet the scripted behaviours in turn; the last without a count stays."""
    it.receiver.behave(
        faults.answer(503, None, {"Retry-After": "7"}),
        faults.redirect("http://127.0.0.1:9/", 307),
        faults.answer(410),
    )
    answers = [await it.send() for _ in range(4)]
    assert [answer.status for answer in answers] == [503, 307, 410, 410]
    assert answers[0].headers["Retry-After"] == "7"
    it.receiver.behave()
    assert (await it.send()).status == 204
    assert [delivery.status for delivery in it.receiver.received] == [503, 307, 410, 410, 204]


async def test_drop_after_accept(it: Sender) -> None:
    """A dropped delivery was received all the same, and does not count as accepted."""
    it.receiver.behave(faults.drop().only(1))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await it.send()
    await it.send()
    assert [delivery.accepted for delivery in it.receiver.received] == [False, True]
    assert len(it.receiver.by_id()["evt_1"]) == 2
    assert len(it.receiver.accepted()) == 1


async def test_hang_and_close(it: Sender) -> None:
    """A hanging receiver keeps what came, and closes at once."""
    it.receiver.behave(faults.hang())
    sending = asyncio.create_task(it.send())
    await it.receiver.wait_for(lambda delivery: delivery.webhook_id == "evt_1")
    async with asyncio.timeout(patience()):
        await it.receiver.close()
    with pytest.raises(aiohttp.ClientError):
        await sending


async def test_wait_for(it: Sender) -> None:
    """Waiting ends as soon as the wanted delivery comes; in vain, it tells what came instead."""
    waiting = asyncio.create_task(it.receiver.wait_for(lambda delivery: delivery.type == "connection.recovered"))
    await it.send()
    await it.send("connection.recovered", "evt_2")
    assert (await waiting).webhook_id == "evt_2"
    with pytest.raises(AssertionError, match=r"(?s)nothing of the kind.*connection\.failed.*about connection\.failed"):
        await it.receiver.wait_for(lambda delivery: delivery.type == "test", timedelta(milliseconds=30))


async def test_assert_exactly(it: Sender) -> None:
    """Repeats count once; what is missing, unexpected or out of order fails with both sides shown."""
    await it.send("a", "1")
    await it.send("a", "1")
    await it.send("b", "2")
    assert [delivery.type for delivery in it.receiver.assert_exactly("a", "b")] == ["a", "b"]
    it.receiver.assert_exactly("b", "a", in_order=False)
    for wrong in (("a",), ("a", "b", "c"), ("b", "a"), ()):
        with pytest.raises(AssertionError, match=r"wanted +received"):
            it.receiver.assert_exactly(*wrong)


async def test_bounded(it: Sender) -> None:
    """Only the latest deliveries are kept, all are counted."""
    small = ReceiverServer(limit=2)
    await small.start()
    it.receiver, big = small, it.receiver
    for number in range(5):
        await it.send(webhook_id=str(number))
    assert ([delivery.webhook_id for delivery in small.received], small.total) == (["3", "4"], 5)
    await small.close()
    it.receiver = big


async def test_over_http(it: Sender) -> None:
    """Another process can look at what came, script the next answers, and start over."""
    await it.send()
    status, document = await it.call("GET", "/_received")
    assert (status, document["total"], document["received"][0]["type"]) == (200, 1, "connection.failed")
    assert document["received"][0]["signature"] == "valid"

    status, document = await it.call(
        "POST", "/_behave", {"steps": [{"do": "answer", "status": 429, "headers": {"Retry-After": "3"}, "times": 1}]}
    )
    assert (status, document) == (200, {"steps": [{"kind": "answer", "status": 429, "times": 1}]})
    assert [(await it.send()).status for _ in range(2)] == [429, 204]

    status, document = await it.call("POST", "/_behave", {"steps": [{"do": "hng"}]})
    assert status == 404
    assert "did you mean 'hang'" in document["error"]
    await it.call("POST", "/_clear")
    assert (await it.call("GET", "/_received"))[1]["total"] == 0
    assert "/_behave" in (await it.call("GET", "/"))[1]
    assert (await it.call("GET", "/nothing"))[0] == 404


async def test_slow(it: Sender) -> None:
    """A slow receiver accepts in the end."""
    it.receiver.behave(faults.slow(timedelta(milliseconds=30)))
    assert (await it.send()).status == 204
    await eventually(lambda: it.receiver.total == 1)
