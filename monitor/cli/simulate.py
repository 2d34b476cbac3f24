"""The verb `simulate`: a simulated PostPost API, and optionally a webhook receiver."""

import argparse
import asyncio
import contextlib
import errno
import signal
from collections.abc import Callable
from textwrap import dedent

from monitor.cli.options import port
from monitor.cli.output import Progress
from monitor.cli.verb import ExclusiveGroup, Verb, argument
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
  postpost-monitor simulate                          a dozen connections of all kinds on port 9841
  postpost-monitor simulate --receiver-port 9842     also a webhook receiver
  postpost-monitor simulate --fleet 10000            ten thousand healthy connections
  curl http://127.0.0.1:9841/_sim/                   all faults and changes, as commands to copy

It has no real data and needs no network. Stop it with Ctrl-C.
"""


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; returns 0. Raises MonitorError when it cannot listen on a port."""
    if args.receiver_secret is not None and args.receiver_port is None:
        raise UsageError("--receiver-secret needs --receiver-port, such as 9842")
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
    with Progress(clock) as progress:
        return fleet(
            args.fleet, clock=clock, key=args.key, progress=lambda built: progress.show(f"{built:,} of {args.fleet:,} connections")
        )


def _announcement(args: argparse.Namespace, simulator: SimulatorServer, receiver: ReceiverServer | None) -> str:
    world = simulator.world
    count = sum(1 for _ in world.every())
    example = next((connection.platform_id for _, _, connection in world.every()), "linkedin-Tz9W5i6ZYG")
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
    return "\n".join([*lines, "", _snippet(args, simulator, receiver), _rehearsal(simulator, example)])


def _snippet(args: argparse.Namespace, simulator: SimulatorServer, receiver: ReceiverServer | None) -> str:
    text = f"""\
        A configuration to copy:

        api: {{base_url: "{simulator.base_url}"}}
        accounts:
          - {{name: main, api_key: "{args.key}", discover: connections}}
        schedule: {{interval: 10s, recheck: 3s, discovery: 1m}}
        policy: {{confirm: {{missing_over: 20s}}}}
        database: {{url: "sqlite:////tmp/rehearsal.db"}}
    """
    if receiver is None:
        return dedent(text)
    secret = f', secret: "{args.receiver_secret}"' if args.receiver_secret else ""
    return dedent(text) + f'receivers:\n  - {{name: rehearsal, type: webhook, url: "{receiver.url}"{secret}}}\n'


def _rehearsal(simulator: SimulatorServer, example: str) -> str:
    return dedent(f"""\
        Try:

        curl -X POST {simulator.base_url}/test-connection/{example} -H 'x-api-key: {next(iter(simulator.world.accounts["main"].keys))}'
        curl -X POST {simulator.control_url}/connections/{example}/break -d '{{"message": "Token has been revoked"}}'
        curl -X POST {simulator.control_url}/connections/{example}/heal
        curl {simulator.control_url}/

        Ctrl-C stops it.""")


def _show(delivery: Received) -> None:
    at = delivery.received_at.strftime("%H:%M:%S")
    print(f"{at}  {delivery.status}  {delivery.type}  {delivery.summary}  [signature {delivery.signature}]", flush=True)


def _no_port(error: OSError, host: str, port: int, option: str) -> MonitorError:
    if error.errno == errno.EADDRINUSE:
        return MonitorError(f"port {port} on {host} is in use; choose another with {option}")
    return MonitorError(f"cannot listen on {host} port {port}: {error.strerror or error}")


def _secret(check: Callable[[Secret, str], Secret]) -> Callable[[str], str]:
    """A parser of secrets that a configuration may hold, since they are printed as a part of one."""

    def secret(text: str) -> str:
        try:
            return check(Secret(text), "it").reveal()
        except SecretProblem as problem:
            raise argparse.ArgumentTypeError(f"{problem} ({problem.fix})") from None

    return secret


def _size(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= 1_000_000:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000000")


VERB = Verb(
    "Serve a simulated PostPost API with faults on demand, for rehearsals without real accounts.",
    run,
    (
        argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"),
        argument("--port", type=port, default=_DEFAULT_PORT, help="port of the API, 0 for any free one (default: %(default)s)"),
        argument("--receiver-port", type=port, metavar="PORT", help="also receive webhooks on this port"),
        argument(
            "--receiver-secret",
            type=_secret(check_signing),
            metavar="WHSEC",
            help="verify signatures of webhooks with this secret (whsec_...)",
        ),
        ExclusiveGroup(
            (
                argument("--fleet", type=_size, metavar="N", help="N healthy connections in a realistic mix"),
                argument("--world", choices=("demo", "empty"), help="which connections there are (default: demo)"),
            )
        ),
        argument(
            "--generation",
            choices=[str(generation) for generation in Generation],
            default=str(Generation.MARCH),
            help="build of the API (default: %(default)s)",
        ),
        argument("--key", type=_secret(check_key), default=DEMO_KEY, help="API key of account main (default: a fixed example)"),
    ),
    epilog=_EPILOG,
)
