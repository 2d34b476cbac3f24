"""
A node in a network of its own, from which it reaches a few ports of this machine; its link and each of its ports can be cut.

    python -m tests.cluster.network HOST PORT...    forwards ports of the loopback interface to HOST
"""

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

# Each process has addresses of its own: others may run such a network at the same time.
_SUBNET = f"10.{200 + os.getpid() // 250 % 50}.{os.getpid() % 250}"
_RESET = struct.pack("ii", 1, 0)
_HOST, _GUEST = f"{_SUBNET}.1", f"{_SUBNET}.2"


@dataclass
class Network:
    """
    A network namespace, linked to this machine.

    Attributes:
        host: the address of this machine there.
        asked_at: port to when it was last sent something from there, monotonic seconds.
    """

    name: str
    host: str = _HOST
    asked_at: dict[int, float] = field(default_factory=dict)

    @property
    def prefix(self) -> tuple[str, ...]:
        """What runs a command there, before its words."""
        return ("ip", "netns", "exec", self.name)

    def cut(self, port: int | None = None, *, towards: bool = True, back: bool = True) -> None:
        """Drop packets to and from a port of this machine; without one, take the link down."""
        if port is None:
            _do(*self.prefix, "ip", "link", "set", self._inner, "down")
            return
        for wanted, chain, side, peer in ((towards, "OUTPUT", "--dport", "-d"), (back, "INPUT", "--sport", "-s")):
            if wanted:
                _do(*self.prefix, "iptables", "-A", chain, "-p", "tcp", peer, _HOST, side, str(port), "-j", "DROP")

    def restore(self) -> None:
        """Everything is reached again."""
        _do(*self.prefix, "iptables", "-F")
        _do(*self.prefix, "ip", "link", "set", self._inner, "up")

    @property
    def _inner(self) -> str:
        return f"{self.name}-i"


def forbidden() -> str:
    """Why no network can be made here; empty when one can."""
    if os.getuid() != 0:
        return "not root"
    name = f"pp{os.getpid()}x"
    try:
        _do("ip", "netns", "add", name)
        _do("ip", "netns", "exec", name, "iptables", "-L")
        _do("ip", "netns", "del", name)
    except (OSError, AssertionError) as error:
        return str(error)
    return ""


@asynccontextmanager
async def network(ports: Iterable[int], direct: Iterable[int] = ()) -> AsyncIterator[Network]:
    """A network in which *ports* of the loopback interface are those of this machine, and *direct* ones those of its address there."""
    made = Network(f"pp{os.getpid()}")
    async with AsyncExitStack() as stack:
        stack.enter_context(_linked(made))
        for port in (*ports, *direct):
            await stack.enter_async_context(_forwarded(_HOST, port, "127.0.0.1", made.asked_at))
        words = [sys.executable, "-m", "tests.cluster.network", _HOST, *map(str, ports)]
        forwarder = await asyncio.to_thread(subprocess.Popen, [*made.prefix, *words], stdout=subprocess.PIPE)
        stack.callback(forwarder.wait)
        stack.callback(forwarder.kill)
        assert forwarder.stdout is not None
        stack.callback(forwarder.stdout.close)
        assert await asyncio.to_thread(forwarder.stdout.readline)
        yield made


@contextlib.contextmanager
def _linked(made: Network) -> Iterator[None]:
    outer, inner = f"{made.name}-o", f"{made.name}-i"
    _do("ip", "netns", "add", made.name)
    try:
        _do("ip", "link", "add", outer, "type", "veth", "peer", "name", inner)
        _do("ip", "link", "set", inner, "netns", made.name)
        _do("ip", "addr", "add", f"{_HOST}/24", "dev", outer)
        _do("ip", "link", "set", outer, "up")
        _do(*made.prefix, "ip", "addr", "add", f"{_GUEST}/24", "dev", inner)
        for name in (inner, "lo"):
            _do(*made.prefix, "ip", "link", "set", name, "up")
        yield
    finally:
        _do("ip", "netns", "del", made.name)


def _do(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"


@asynccontextmanager
async def _forwarded(listen: str, port: int, host: str, asked_at: dict[int, float]) -> AsyncIterator[None]:
    handlers: set[asyncio.Task[None]] = set()
    writers: set[asyncio.StreamWriter] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        handlers.add(handler)
        writers.add(writer)
        try:
            to_reader, to_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        writers.add(to_writer)
        await asyncio.gather(
            _copy(reader, to_writer, lambda: asked_at.update({port: time.monotonic()})), _copy(to_reader, writer, lambda: None)
        )

    server = await asyncio.start_server(connected, listen, port)
    try:
        yield
    finally:
        server.close()
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[], None]) -> None:
    """Forward what comes, and how it ends: after a reset nothing that is still here leaves any more."""
    try:
        while data := await reader.read(65536):
            note()
            writer.write(data)
            await writer.drain()
        writer.close()
    except OSError:
        if not writer.transport.is_closing():
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()


async def _serve(host: str, ports: Iterable[int]) -> None:
    async with AsyncExitStack() as stack:
        for port in ports:
            await stack.enter_async_context(_forwarded("127.0.0.1", port, host, {}))
        sys.stdout.write("forwarding\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], map(int, sys.argv[2:])))
