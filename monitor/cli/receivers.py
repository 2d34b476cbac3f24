"""The verb `receivers`: send a test to a receiver, enable a disabled one."""

import argparse
import asyncio
import difflib
import secrets
from collections.abc import Callable

from monitor.cli import output
from monitor.cli.options import CONFIG, JSON, load_config
from monitor.cli.verb import Verb, argument
from monitor.clock import Clock, SystemClock
from monitor.config import Config, ReceiverSettings
from monitor.db import operator_session, read_meta, reading
from monitor.domain.delivery.retries import AttemptResult, CircuitBreaker, after_test, release
from monitor.errors import StoreError, UsageError
from monitor.notify.payload import render_test
from monitor.notify.sender import Sender
from monitor.state.evaluation_config import EvaluationConfig
from monitor.workers.group import USER_AGENT

EXIT_NOT_DELIVERED = 1

_EPILOG = """\
examples:
  postpost-monitor receivers test on-call       send a test and print the response
  postpost-monitor receivers enable on-call     try a disabled or failing receiver again now

The notification is real and has the type `test`. It is sent once and is not stored. When it was delivered, the receiver no longer
counts as failing or disabled, and a running daemon sends what is pending for it. Exit code 0 when it was delivered, 1 when not.
"""


def test(args: argparse.Namespace) -> int:
    """Send and print; returns 0 or 1."""
    config = load_config(args)
    receiver = _named(config, args.name)
    webhook_id, result = asyncio.run(send_test(config, receiver, SystemClock()))
    worked = result.delivered and _change(config, receiver.name, after_test)
    if args.json:
        output.put(
            {
                "receiver": receiver.name,
                "type": receiver.type,
                "id": webhook_id,
                "delivered": result.delivered,
                "reason": result.reason,
                "httpStatus": result.http_status,
                "durationSeconds": result.took.total_seconds(),
                "detail": result.detail,
                "enabled": worked,
            }
        )
    else:
        print(_as_text(receiver, webhook_id, result))
        if worked:
            print("it no longer counts as failing or disabled; a running daemon sends what is pending")
    return 0 if result.delivered else EXIT_NOT_DELIVERED


def enable(args: argparse.Namespace) -> int:
    """End the pause or the disablement of a receiver; returns 0."""
    config = load_config(args)
    receiver = _named(config, args.name)
    with operator_session(config.database.url.reveal()) as operations:
        changed = operations.change_receiver(receiver.name, release)
    if args.json:
        output.put({"receiver": receiver.name, "enabled": changed})
    elif changed:
        print(f"{receiver.name} is tried again with the next message; a running daemon does so within seconds")
    else:
        print(f"{receiver.name} is neither disabled nor paused")
    return 0


def _change(config: Config, name: str, change: Callable[[CircuitBreaker], CircuitBreaker]) -> bool:
    """Change the stored health of a receiver; False when nothing changes, also because there is no database yet."""
    try:
        with operator_session(config.database.url.reveal()) as operations:
            return operations.change_receiver(name, change)
    except StoreError:
        return False


def _named(config: Config, name: str) -> ReceiverSettings:
    names = [receiver.name for receiver in config.receivers]
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"the configuration has {', '.join(names) or 'none'}"
        raise UsageError(f"unknown receiver {name!r}; {hint}")
    return config.receivers[names.index(name)]


async def send_test(config: Config, receiver: ReceiverSettings, clock: Clock) -> tuple[str, AttemptResult]:
    """Send *receiver* one test; returns its webhook id and the result."""
    webhook_id = f"msg_test_{secrets.token_hex(12)}"
    body = render_test(webhook_id, clock.now(), receiver.name, EvaluationConfig.from_config(config, _instance_id(config)).identity)
    sender = Sender(clock=clock, user_agent=USER_AGENT)
    try:
        return webhook_id, await sender.send(receiver, webhook_id, body)
    finally:
        await sender.close()


def _instance_id(config: Config) -> str:
    """The database's instance id; empty before there is a database."""
    try:
        with reading(config.database.url.reveal()) as reader:
            return read_meta(reader, "instance_id") or ""
    except StoreError:
        return ""


def _as_text(receiver: ReceiverSettings, webhook_id: str, result: AttemptResult) -> str:
    took = f"{result.took.total_seconds():.2f} s"
    signed = "signed" if receiver.secrets else "not signed"
    outcome = "accepted the test" if result.delivered else "did not accept the test"
    response = f"HTTP {result.http_status}" if result.http_status is not None else "" if result.delivered else "no response"
    lines = [f"{receiver.name} ({receiver.type}, {signed}) {outcome}{': ' if response else ''}{response} after {took}"]
    if not result.delivered:
        lines.append(f"{result.reason.value}: {result.detail}" if result.detail else result.reason.value)
    return "\n".join([*lines, f"id {webhook_id}"])


_NAME = argument("name", metavar="NAME", help="name of the receiver in the configuration")

VERB = Verb(
    "Send a test to a receiver, or enable a disabled one.",
    verbs={
        "test": Verb(
            "Send a real test notification to one receiver and print the response. Exit code 0 when it was delivered, 1 when not.",
            test,
            (CONFIG, _NAME, JSON),
            help="send a test and print the response",
        ),
        "enable": Verb(
            "End the pause of a failing receiver, or the disablement of one that answered HTTP 410: the next message is sent to it.",
            enable,
            (CONFIG, _NAME, JSON),
            help="try a disabled or failing receiver again",
        ),
    },
    epilog=_EPILOG,
)
