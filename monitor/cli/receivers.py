"""The verb `receivers`: send a receiver a test."""

import argparse
import asyncio
import difflib
import secrets

from monitor.cli import output
from monitor.cli.options import add_config, add_json, load_config
from monitor.cli.verb import Help
from monitor.clock import Clock, SystemClock
from monitor.config import Config, ReceiverSettings
from monitor.db import reading
from monitor.domain.delivery.retries import AttemptResult
from monitor.errors import StoreError, UsageError
from monitor.notify.payload import render_test
from monitor.notify.sender import Sender
from monitor.state.evaluation_config import EvaluationConfig
from monitor.workers.group import USER_AGENT

EXIT_NOT_DELIVERED = 1

_EPILOG = """\
examples:
  postpost-monitor receivers test on-call       send one, and say what came back

What is sent is real and has the type `test`: it announces nothing. It is tried once, neither stored nor repeated,
and changes nothing in what is believed of the receiver. Exit code 0 when it was delivered, 1 when not.
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "receivers",
        help="send a receiver a test",
        description="Send a receiver a test.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    testing = verbs.add_parser(
        "test",
        help="send a test and print what came back",
        description="Send a real test message to one receiver and print what came back. Exit code 0 when it was delivered, 1 when not.",
    )
    add_config(testing)
    testing.add_argument("name", metavar="NAME", help="name of the receiver in the configuration")
    add_json(testing)
    testing.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Send and print; returns 0 or 1."""
    config = load_config(args)
    receiver = _named(config, args.name)
    webhook_id, result = asyncio.run(send_test(config, receiver, SystemClock()))
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
            }
        )
    else:
        print(_words(receiver, webhook_id, result))
    return 0 if result.delivered else EXIT_NOT_DELIVERED


def _named(config: Config, name: str) -> ReceiverSettings:
    names = [receiver.name for receiver in config.receivers]
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        known = f"did you mean {near[0]}?" if near else f"the configuration has {', '.join(names) or 'none'}"
        raise UsageError(f"there is no receiver {name!r}; {known}")
    return config.receivers[names.index(name)]


async def send_test(config: Config, receiver: ReceiverSettings, clock: Clock) -> tuple[str, AttemptResult]:
    """Send *receiver* one test message; returns its id and what came of it."""
    webhook_id = f"msg_test_{secrets.token_hex(12)}"
    body = render_test(webhook_id, clock.now(), receiver.name, EvaluationConfig.from_config(config, _instance(config)).identity)
    sender = Sender(clock=clock, user_agent=USER_AGENT)
    try:
        return webhook_id, await sender.send(receiver, webhook_id, body)
    finally:
        await sender.close()


def _instance(config: Config) -> str:
    """The database's own name; a receiver can be tested before there is a database."""
    try:
        with reading(config.database.url.reveal()) as reader:
            return reader.meta("instance_id") or ""
    except StoreError:
        return ""


def _words(receiver: ReceiverSettings, webhook_id: str, result: AttemptResult) -> str:
    took = f"{result.took.total_seconds():.2f} s"
    signed = "signed" if receiver.secrets else "not signed"
    outcome = "took the test" if result.delivered else "did not take the test"
    status = f"answered {result.http_status}" if result.http_status is not None else "no answer"
    lines = [f"{receiver.name} ({receiver.type}, {signed}) {outcome}: {status} after {took}"]
    if not result.delivered:
        lines.append(f"{result.reason.value}: {result.detail}" if result.detail else result.reason.value)
    return "\n".join([*lines, f"id {webhook_id}"])
