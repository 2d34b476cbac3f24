"""Type `apprise` from the outbox to real servers: mail, JSON, ntfy and chats; what a failure means, and that no secret leaks."""

import asyncio
import email
import importlib
import json
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import Message
from email.policy import default
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiosmtpd.smtp import SMTP, Envelope, Session

from monitor.clock import SystemClock
from monitor.config import ReceiverSettings, Secret
from monitor.db import DeliveryState, attempts_of, list_deliveries
from monitor.errors import DeliveryReason
from monitor.notify.apprise import address_problem
from monitor.notify.payload import render
from monitor.notify.sender import Sender
from monitor.simulator import faults
from tests import marked
from tests.builders import a_connection, a_notification
from tests.configured import refused
from tests.outbox import IDENTITY, an_outbox, ending
from tests.receiving import ReceiverServer

CLOCK = SystemClock()
BODY = render("msg_1", a_notification(), a_connection(name="Page <b>1</b> @everyone"), IDENTITY)


@dataclass
class Mailbox:
    """What a mail server was handed, and what it answers."""

    answer: str = "250 OK"
    mails: list[Any] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Take one mail."""
        del server, session
        if self.answer.startswith("250"):
            self.mails.append((envelope.mail_from, envelope.rcpt_tos, parsed(envelope.content)))
        return self.answer


def parsed(content: Any) -> Message:
    return email.message_from_bytes(content, policy=default)


@asynccontextmanager
async def mail_server(mailbox: Mailbox) -> AsyncIterator[str]:
    """A mail server on loopback; yields the address of a receiver there."""
    listener = await asyncio.get_running_loop().create_server(lambda: SMTP(mailbox), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    yield f"mailto://127.0.0.1:{port}/?from={quote('monitor@example.org')}&to={quote('ops@example.org')}&mode=insecure"
    listener.close()


def a_receiver(url: str, **overrides: Any) -> ReceiverSettings:
    values: dict[str, Any] = {"name": "team", "type": "apprise", "url": Secret(url), "timeout": timedelta(seconds=10)}
    return ReceiverSettings(**(values | overrides))


async def send(url: str, **overrides: Any) -> Any:
    """One attempt with the body of a failure."""
    sender = Sender(clock=CLOCK, user_agent="postpost-monitor/test")
    result = await sender.send(a_receiver(url, **overrides), "msg_1", BODY)
    await sender.close()
    return result


@pytest.fixture
async def server() -> AsyncIterator[ReceiverServer]:
    server = ReceiverServer()
    await server.start()
    yield server
    await server.close()


def port_of(server: ReceiverServer) -> int:
    return urlsplit(server.url).port or 0


async def test_mail(tmp_path: Path) -> None:
    """An incident and its end are two mails, in order, with the texts, the incident's key and the message's id; each once."""
    mailbox = Mailbox()
    async with mail_server(mailbox) as url, an_outbox(tmp_path, a_receiver(url, timezone="Europe/Berlin")) as outbox:
        failure = a_notification(at=outbox.clock.now())
        await outbox.owe(failure)
        await outbox.settle()
        await outbox.owe(ending(failure, at=outbox.clock.now()))
        await outbox.settle()
        rows = await outbox.database.read(list_deliveries)
    assert [row.state for row in rows] == [DeliveryState.DELIVERED] * 2
    assert [(sender, to) for sender, to, _ in mailbox.mails] == [("monitor@example.org", ["ops@example.org"])] * 2
    (_, _, begun), (_, _, over) = mailbox.mails
    assert "Broken: LinkedIn" in begun["Subject"]
    assert "Recovered: LinkedIn" in over["Subject"]
    text = begun.get_body(("plain", "html")).get_content()
    assert "is broken since 2030-01-01 01:00 CET" in text
    assert rows[-1].webhook_id in text
    assert "pp-test-1-connection-1" in text


async def test_mail_is_retried(tmp_path: Path) -> None:
    """A mail server that refuses a mail is asked again later, under the same id; nothing is lost and nothing abandoned."""
    mailbox = Mailbox("451 try later")
    async with mail_server(mailbox) as url, an_outbox(tmp_path, a_receiver(url)) as outbox:
        await outbox.owe(a_notification(at=outbox.clock.now()))
        await outbox.settle()
        (row,) = await outbox.database.read(list_deliveries)
        assert (row.state, row.attempts, row.last_reason) == (DeliveryState.PENDING, 1, DeliveryReason.UNKNOWN)
        mailbox.answer = "250 OK"
        await outbox.pass_time(timedelta(seconds=10))
        (row,) = await outbox.database.read(list_deliveries)
    assert (row.state, row.attempts, len(mailbox.mails)) == (DeliveryState.DELIVERED, 2, 1)


TARGETS = {
    "json": ("json://127.0.0.1:{port}/{secret}", "/{secret}"),
    "ntfy": ("ntfy://127.0.0.1:{port}/topic?auth=token&token={secret}", "/"),
    "mattermost": ("mmost://127.0.0.1:{port}/{secret}", "/hooks/{secret}"),
    "gotify": ("gotify://127.0.0.1:{port}/{secret}", "/message"),
    "matrix": ("matrix://{secret}@127.0.0.1:{port}/?mode=matrix", "/api/v1/matrix/hook/{secret}"),
}
SECRET = f"{marked.MARK}0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("kind", TARGETS)
async def test_services(kind: str, server: ReceiverServer) -> None:
    """Services get the texts in their own form, without markup and mentions of third parties; a 2xx is a delivery."""
    address, place = TARGETS[kind]
    server.behave(faults.answer(200, {}))
    result = await send(address.format(port=port_of(server), secret=SECRET))
    assert (result.reason, result.detail) == (DeliveryReason.DELIVERED, "")
    (got,) = server.received
    assert got.path.partition("?")[0] == place.format(secret=SECRET)
    body = got.body.decode()
    assert "is broken since" in body
    assert "<b>" not in body
    assert "@everyone" not in body
    if kind == "json":
        assert (got.document["type"], got.document["title"][:10]) == ("failure", "\N{LARGE RED CIRCLE} Broken: ")


def of_form(body: bytes) -> dict[str, str]:
    return dict(parse_qsl(body.decode()))


HOSTED: dict[str, tuple[str, str, str, Callable[[bytes], dict[str, Any]]]] = {
    # Service -> the library's class, the address, the path of its only request, and what it makes of title and text.
    "telegram": ("telegram.NotifyTelegram", "tgram://123456789:{secret}/42/?detect=no", "/bot123456789:{secret}/sendMessage", json.loads),
    "googlechat": ("google_chat.NotifyGoogleChat", "gchat://space/{secret}/{secret}", "/space/messages", json.loads),
    "pushover": ("pushover.NotifyPushover", "pover://{user}@{secret}", "/", of_form),
}


@pytest.mark.parametrize("kind", HOSTED)
async def test_hosted_services(kind: str, server: ReceiverServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services with one address for everybody: the library's own request, with the texts where the service reads them."""
    name, address, place, read = HOSTED[kind]
    module, _, plugin = name.partition(".")
    token = (marked.MARK + "0123456789abcdefghijklmnopqrstuvwxyz").replace("-", "")[:30] if kind == "pushover" else SECRET
    own = getattr(importlib.import_module(f"apprise.plugins.{module}"), plugin)
    base = server.url.rpartition("/")[0]
    monkeypatch.setattr(own, "notify_url", base + {"telegram": "/bot", "googlechat": "/{workspace}/messages"}.get(kind, "/"))
    server.behave(faults.answer(200, {"ok": True, "status": 1}))
    result = await send(address.format(secret=token, user="u" * 30))
    assert (result.reason, result.detail) == (DeliveryReason.DELIVERED, "")
    (got,) = server.received
    assert got.path == place.format(secret=token)
    form = read(got.body)
    text = form.get("text") or form["message"]
    assert "is broken since" in text
    assert "@everyone" not in text
    assert "Broken: LinkedIn" in form.get("title", text)
    assert {"telegram": form.get("chat_id"), "pushover": form.get("user")}.get(kind) == {"telegram": 42, "pushover": "u" * 30}.get(kind)


async def test_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client protocol of Matrix: log in, join the room, send, log out; the text is plain, and its server's refusal no delivery."""
    own = importlib.import_module("apprise.plugins.matrix.base").NotifyMatrix
    monkeypatch.setattr(own, "request_rate_per_sec", 0)
    asked: list[tuple[str, str, dict[str, Any]]] = []
    refusing: set[str] = set()

    async def homeserver(request: web.Request) -> web.Response:
        asked.append((request.method, request.path.removeprefix("/_matrix/client/v3/"), await request.json()))
        if asked[-1][1].partition("/")[0] in refusing:
            return web.json_response({"errcode": "M_FORBIDDEN", "error": SECRET}, status=403)
        return web.json_response({"access_token": SECRET, "home_server": "here", "user_id": "@monitor:here", "room_id": "!1:here"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", homeserver)
    async with TestServer(app) as server:
        url = f"matrix://monitor:{SECRET}@127.0.0.1:{server.port}/%23ops"
        result = await send(url)
        assert (result.reason, result.detail) == (DeliveryReason.DELIVERED, "")
        (_, login, who), (_, join, _), (method, place, sent), *_ = asked
        assert (login, who["identifier"]["user"], who["password"]) == ("login", "monitor", SECRET)
        assert (join, method) == ("join/#ops:here", "PUT")
        assert place.startswith("rooms/!1:here/send/m.room.message/")
        assert (sent["msgtype"], "Broken: LinkedIn" in sent["body"], "is broken since" in sent["body"]) == ("m.text", True, True)
        assert "@everyone" not in sent["body"]
        for refusing in ({"login", "register"}, {"join"}, {"rooms"}):
            result = await send(url)
            assert (result.reason, result.detail, result.of_message) == (DeliveryReason.AUTH_ERROR, "answered 403", False), refusing


@pytest.mark.parametrize(
    ("fault", "reason", "detail"),
    [
        (faults.answer(403, {"error": SECRET}), DeliveryReason.AUTH_ERROR, "answered 403"),
        (faults.answer(400, {}), DeliveryReason.CLIENT_ERROR, "answered 400"),
        (faults.answer(503, {}), DeliveryReason.SERVER_ERROR, "answered 503"),
        (faults.redirect("http://127.0.0.1:9/"), DeliveryReason.REDIRECTED, "answered 302"),
        (faults.hang(), DeliveryReason.TIMEOUT, "no result within 0.3 s; the message may have arrived"),
        (faults.drop(), DeliveryReason.UNREACHABLE, "no connection"),
    ],
)
async def test_failures(
    fault: faults.Fault, reason: DeliveryReason, detail: str, server: ReceiverServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure is the receiver's, never the message's own; what is known of it is said, and no secret is logged."""
    caplog.set_level(logging.DEBUG)
    server.behave(fault)
    seconds = 0.3 if reason is DeliveryReason.TIMEOUT else 10
    url = f"json://user:{SECRET}@127.0.0.1:{port_of(server)}/{SECRET}?+X-Key={SECRET}"
    result = await send(url, timeout=timedelta(seconds=seconds))
    assert (result.reason, result.of_message) == (reason, False)
    # The library's own timeouts and the deadline are the same: either may come first.
    assert result.detail in {detail, "no connection"}
    assert marked.MARK not in caplog.text


async def test_nothing_listens() -> None:
    """Without a connection that is said."""
    result = await send(f"json://127.0.0.1:9/{SECRET}")
    assert (result.reason, result.detail) == (DeliveryReason.UNREACHABLE, "no connection")


async def test_hanging_threads_are_bounded(server: ReceiverServer) -> None:
    """However many attempts hang, a later one ends by its deadline, and the process keeps a bounded number of threads."""
    sender = Sender(clock=CLOCK, user_agent="postpost-monitor/test")
    server.behave(faults.hang())
    receiver = a_receiver(f"json://127.0.0.1:{port_of(server)}/", timeout=timedelta(seconds=0.2))
    results = await asyncio.gather(*(sender.send(receiver, "msg_1", BODY) for _ in range(40)))
    assert sum(thread.name == "notify" for thread in threading.enumerate()) <= 16
    assert {result.reason for result in results} <= {DeliveryReason.TIMEOUT, DeliveryReason.UNREACHABLE}
    assert len(results) == 40
    await sender.close()


async def test_secrets_in_the_outbox(tmp_path: Path) -> None:
    """What is recorded of an attempt names neither the address nor any part of it."""
    url = f"json://user:{SECRET}@127.0.0.1:9/{SECRET}"
    async with an_outbox(tmp_path, a_receiver(url)) as outbox:
        await outbox.owe(a_notification(at=outbox.clock.now()))
        await outbox.settle()
        (row,) = await outbox.database.read(list_deliveries)
        attempts = await outbox.database.read(lambda reader: attempts_of(reader, [row.id]))
    assert marked.MARK not in repr((row, attempts))


def test_addresses_of_the_documentation() -> None:
    """Every address that docs/how-to/receivers.md shows is one that the library understands."""
    text = (Path(__file__).parents[2] / "docs/how-to/receivers.md").read_text(encoding="utf-8")
    section = text.partition("## Apprise")[2].partition("\n## ")[0]
    shown = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `") and "://" in line]
    assert len(shown) >= 8
    assert {address: address_problem(address) for address in shown} == dict.fromkeys(shown)


async def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library the configuration is refused with the extra to install; a message that is due is kept."""
    monkeypatch.setitem(sys.modules, "apprise", None)  # as when it is not installed
    error = refused("accounts: [{name: main, api_key: '${KEY}'}]\nreceivers: [{name: team, type: apprise, url: 'json://127.0.0.1/'}]\n")
    (problem,) = error.problems
    assert problem.message == "receiver team of type apprise needs the library Apprise, which is not installed"
    assert problem.fix == "install the extra: pip install 'postpost-monitor[apprise]'"
    result = await send("json://127.0.0.1:9/")
    assert "postpost-monitor[apprise]" in result.detail
