"""The verb `heartbeat`: try its address once."""

import argparse
import asyncio

from monitor.cli import output
from monitor.cli.lookup import opened
from monitor.cli.options import CONFIG, JSON, load_config
from monitor.cli.status import heartbeat_problem
from monitor.cli.verb import Verb
from monitor.clock import SystemClock
from monitor.config import Config, HeartbeatSettings
from monitor.domain.delivery.retries import AttemptResult
from monitor.errors import StoreError, UsageError
from monitor.notify.sender import Sender
from monitor.workers.group import USER_AGENT

EXIT_NOT_ACCEPTED = 1


def test(args: argparse.Namespace) -> int:
    """Send and print; returns 0 or 1."""
    config = load_config(args)
    settings = config.heartbeat
    if settings.url is None:
        raise UsageError("the configuration has no heartbeat; set heartbeat.url_file")
    result = asyncio.run(_ping(settings, settings.url.reveal()))
    if args.json:
        output.put({"accepted": result.delivered, "reason": result.reason, "detail": result.detail})
    else:
        outcome = "was accepted" if result.delivered else "was not accepted"
        print(f"the heartbeat {outcome}: {result.detail or result.reason.value}")
        if problem := _problem(config):
            print(f"the monitor itself withholds heartbeats now: {problem}")
    return 0 if result.delivered else EXIT_NOT_ACCEPTED


def _problem(config: Config) -> str:
    """Why the monitor withholds heartbeats; empty while it does not, or when its database can't be read."""
    clock = SystemClock()
    try:
        with opened(config, clock) as database:
            return heartbeat_problem(config, database.registry, clock.now())
    except StoreError:
        return ""


async def _ping(settings: HeartbeatSettings, url: str) -> AttemptResult:
    sender = Sender(clock=SystemClock(), user_agent=USER_AGENT)
    try:
        return await sender.ping(url, method=settings.method, within=settings.timeout)
    finally:
        await sender.close()


VERB = Verb(
    "Try the address of the heartbeat.",
    verbs={
        "test": Verb(
            "Send one heartbeat, whatever the state of the monitor, and print the response. Exit code 0 when it was accepted, 1 when not.",
            test,
            (CONFIG, JSON),
            help="send one heartbeat and print the response",
        ),
    },
    epilog="""\
examples:
  postpost-monitor heartbeat test     send one, now

The service behind the address counts it like any other heartbeat.
""",
)
