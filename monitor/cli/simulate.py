"""The verb `simulate`: a simulated PostPost, and a webhook receiver if wanted, to rehearse with."""

import argparse
import asyncio
import contextlib
import errno
import signal
import sys
from collections.abc import Callable
from textwrap import dedent

from monitor.cli.options import port
from monitor.cli.verb import Help
from monitor.clock import Clock, SystemClock
from monitor.config.secrets import Secret, SecretProblem, check_key, check_signing
from monitor.errors import MonitorError, UsageError
from monitor.simulator.platforms import Generation
from monitor.simulator.presets import AGENCY_KEY, DEMO_KEY, DEMO_USERS, demo_world, empty_world, fleet
from monitor.simulator.receiver import Received, ReceiverServer
from monitor.simulator.server import SimulatorServer
from monitor.simulator.state import SimulatedApi

_DEFAULT_PORT = 9841
_EPILOG = """\
examples:
  postpost-monitor simulate                          a dozen connections of every kind on port 9841
  postpost-monitor simulate --receiver-port 9842     and a webhook receiver beside it
  postpost-monitor simulate --fleet 10000            ten thousand healthy connections
  curl http://127.0.0.1:9841/_sim/                   everything that can be done to them, with lines to copy

It holds nothing real and needs no network. Stop it with Ctrl-C.
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "simulate",
        help="serve a simulated PostPost API to rehearse with",
        description="Serve a simulated PostPost API, faults on demand included, for rehearsals without real accounts.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=port, default=_DEFAULT_PORT, help="port of the API, 0 for any free one (default: %(default)s)")
    parser.add_argument("--receiver-port", type=port, metavar="PORT", help="also receive webhooks on this port")
    parser.add_argument(
        "--receiver-secret", type=_secret(check_signing), metavar="WHSEC", help="check their signatures with this secret (whsec_...)"
    )
    contents = parser.add_mutually_exclusive_group()
    contents.add_argument("--fleet", type=_size, metavar="N", help="N healthy connections in a realistic mix")
    contents.add_argument("--world", choices=("demo", "empty"), help="what is connected (default: demo)")
    parser.add_argument(
        "--generation",
        choices=[str(one) for one in Generation],
        default=str(Generation.MARCH),
        help="which build of the API answers (default: %(default)s)",
    )
    parser.add_argument("--key", type=_secret(check_key), default=DEMO_KEY, help="the API key of account main (default: a made-up one)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; returns 0. Raises `MonitorError` when a port can't be had, `UsageError` for a secret without a use."""
    if args.receiver_secret is not None and args.receiver_port is None:
        raise UsageError("--receiver-secret is for the receiver: give it a port with --receiver-port, such as 9842")
    world = _world(args, SystemClock())
    world.generation = Generation(args.generation)
    return asyncio.run(_serve(args, world))


async def _serve(args: argparse.Namespace, world: SimulatedApi) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as servers:
        simulator = SimulatorServer(world)
        servers.push_async_callback(simulator.close)
        try:
            await simulator.start(args.host, args.port)
        except OSError as error:
            raise _no_port(error, args.host, args.port, "--port") from error
        receiver = await _receiver(args, servers)
        print(_announcement(args, simulator, receiver), flush=True)
        await stop.wait()
        print("stopped", flush=True)
    return 0


async def _receiver(args: argparse.Namespace, servers: contextlib.AsyncExitStack) -> ReceiverServer | None:
    if args.receiver_port is None:
        return None
    receiver = ReceiverServer(args.receiver_secret, on_event=_show)
    servers.push_async_callback(receiver.close)
    try:
        await receiver.start(args.host, args.receiver_port)
    except OSError as error:
        raise _no_port(error, args.host, args.receiver_port, "--receiver-port") from error
    return receiver


def _world(args: argparse.Namespace, clock: Clock) -> SimulatedApi:
    if args.fleet is None:
        return (empty_world if args.world == "empty" else demo_world)(clock, key=args.key)
    progressed = False

    def progress(built: int) -> None:
        nonlocal progressed
        progressed = True
        print(f"\r{built:,} of {args.fleet:,} connections", end="", file=sys.stderr, flush=True)

    world = fleet(args.fleet, clock=clock, key=args.key, progress=progress if sys.stderr.isatty() else lambda _: None)
    if progressed:
        print(file=sys.stderr)
    return world


def _announcement(args: argparse.Namespace, simulator: SimulatorServer, receiver: ReceiverServer | None) -> str:
    world = simulator.world
    count = sum(1 for _ in world.every())
    some = next((it.platform_id for _, _, it in world.every()), "linkedin-Tz9W5i6ZYG")
    lines = [
        f"simulated PostPost, {args.generation} generation, {count:,} connections",
        f"  API       {simulator.base_url}",
        f"  key       {args.key}   (account main)",
    ]
    if "agency" in world.accounts:
        lines.append(f"  key       {AGENCY_KEY}   (account agency; manages users {', '.join(DEMO_USERS)})")
    lines.append(f"  control   {simulator.control_url}/   (this machine only)")
    if receiver is not None:
        lines.append(f"  receiver  {receiver.url}")
    return "\n".join([*lines, "", _snippet(args, simulator, receiver), _rehearsal(simulator, some)])


def _snippet(args: argparse.Namespace, simulator: SimulatorServer, receiver: ReceiverServer | None) -> str:
    text = f"""\
        A configuration to copy:

        api: {{base_url: "{simulator.base_url}"}}
        accounts:
          - {{name: main, api_key: "{args.key}", discover: connections}}
        schedule: {{interval: 10s, recheck: 3s, discovery: 1m}}
        database: {{url: "sqlite:////tmp/rehearsal.db"}}
    """
    if receiver is None:
        return dedent(text)
    secret = f', secret: "{args.receiver_secret}"' if args.receiver_secret else ""
    return dedent(text) + f'receivers:\n  - {{name: rehearsal, type: webhook, url: "{receiver.url}"{secret}}}\n'


def _rehearsal(simulator: SimulatorServer, some: str) -> str:
    return dedent(f"""\
        Try:

        curl -X POST {simulator.base_url}/test-connection/{some} -H 'x-api-key: {next(iter(simulator.world.accounts["main"].keys))}'
        curl -X POST {simulator.control_url}/connections/{some}/break -d '{{"message": "Token has been revoked"}}'
        curl -X POST {simulator.control_url}/connections/{some}/heal
        curl {simulator.control_url}/

        Ctrl-C stops it.""")


def _show(delivery: Received) -> None:
    at = delivery.received_at.strftime("%H:%M:%S")
    print(f"{at}  {delivery.status}  {delivery.type}  {delivery.summary}  [signature {delivery.signature}]", flush=True)


def _no_port(error: OSError, host: str, port: int, option: str) -> MonitorError:
    if error.errno == errno.EADDRINUSE:
        return MonitorError(f"port {port} on {host} is taken; choose another with {option}")
    return MonitorError(f"can't listen on {host} port {port}: {error.strerror or error}")


def _secret(check: Callable[[Secret, str], Secret]) -> Callable[[str], str]:
    """Takes what the monitor would take too, since it is printed as a part of its configuration."""

    def secret(text: str) -> str:
        try:
            return check(Secret(text), "it").reveal()
        except SecretProblem as problem:
            raise argparse.ArgumentTypeError(f"{problem} ({problem.fix})") from None

    return secret


def _size(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= 1_000_000:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no size of a fleet; give one from 1 to 1000000")
