"""Which node notifies that the database takes no writes: a node that can't write asks the others whether they can."""

import asyncio
import ssl
from collections.abc import Sequence
from datetime import timedelta

from monitor import __version__
from monitor.clock import Clock
from monitor.cluster.node import Node
from monitor.config import TlsServerSettings
from monitor.domain.cluster.sharing import GLOBAL, ClusterView
from monitor.logs import get_logger
from monitor.notify.sender import Sender

_log = get_logger(__name__)

_ASKED_FOR = timedelta(seconds=3)
_READY = 200
_NEXT_AFTER_SECONDS = 300.0


class Peers:
    """The other nodes, as they were known last."""

    def __init__(self, node: Node, tls: TlsServerSettings | None, clock: Clock) -> None:
        """*tls*: of the web port of this node."""
        self._node = node
        self._tls = tls
        self._clock = clock
        self._sender: Sender | None = None
        self._cut_off = False

    async def notifies_outage(self, failing_seconds: float) -> bool:
        """Whether this node notifies that the database has taken no writes for so long."""
        view = self._node.view
        # Also those whose lease has run out: without the database no node keeps one.
        peers = [one for one in view.members if one.node != self._node.name and one.url] if view is not None else []
        answers = await asyncio.gather(*(self._ask(peer.url) for peer in peers))
        before, self._cut_off = self._cut_off, _READY in answers
        if self._cut_off:
            if not before:
                _log.error("node.cut_off", advice="The other nodes can write: look at the network of this one.")
            return False
        reached = [peer.node for peer, status in zip(peers, answers, strict=True) if status is not None]
        return notifies(self._node.name, reached, view, failing_seconds)

    async def _ask(self, url: str) -> int | None:
        """The status of a node's answer; None when it can't be reached."""
        if self._sender is None:
            tls = _trusting(self._tls) if self._tls is not None else None
            self._sender = Sender(clock=self._clock, user_agent=f"postpost-monitor/{__version__}", tls=tls)
        response = await self._sender.ping(f"{url}/-/ready", method="GET", within=_ASKED_FOR)
        return response.http_status

    async def close(self) -> None:
        """Close the HTTP client; idempotent."""
        if self._sender is not None:
            await self._sender.close()


def _trusting(settings: TlsServerSettings) -> ssl.SSLContext:
    """Trusts also what the certificate of this node has in it, whatever names it has: nothing secret is asked or told."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(settings.cert_file)
    return context


def notifies(node: str, reached: Sequence[str], view: ClusterView | None, failing_seconds: float) -> bool:
    """
    Whether *node* notifies of an outage: of the nodes that reach each other the first by name.

    A node that reaches no other one waits longer: the one that tended `global` notifies at once, the others five minutes later each.
    """
    if reached:
        return node < min(reached)
    if view is None:
        return True
    owner = next((shard.node for shard in view.shards if shard.name == GLOBAL), None)
    order = sorted((one.node for one in view.members), key=lambda name: (name != owner, name))
    return failing_seconds >= _NEXT_AFTER_SECONDS * (order.index(node) if node in order else 0)
