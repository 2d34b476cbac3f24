"""Which shards a node of a cluster takes and gives up."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

GLOBAL = "global"
ACCOUNT_PREFIX = "account:"
RECEIVER_PREFIX = "receiver:"

TAKEN_AFTER = timedelta(seconds=2)
"""A shard without a node for so long is taken by the node with the least to do."""

TAKEN_BY_ANY_AFTER = timedelta(seconds=6)
"""And after so long by any node that sees it."""

_UNTENDED_AFTER = timedelta(seconds=15)
"""After so long a shard without a node is one that no node can take."""

_TOLERANCE = 1.1
_RELEASED_AT_ONCE = 10


@dataclass(frozen=True, slots=True)
class NodeRow:
    """
    One node of the cluster, as its row says.

    Attributes:
        holder: the process that has the name now.
        host, url, version: where it runs, how peers reach its web port, its release.
        config: what its configuration means, as a hash.
        weight: how much it takes, compared with others.
        drained: an operator wants it to take nothing.
        alive: its lease has not run out.
        unfit: why it takes no work for now; empty when it does.
    """

    node: str
    holder: str = ""
    host: str = ""
    url: str = ""
    version: str = ""
    config: str = ""
    weight: float = 1.0
    drained: bool = False
    joined_at: datetime | None = None
    alive: bool = True
    unfit: str = ""


@dataclass(frozen=True, slots=True)
class Shard:
    """
    One shard, as its row says.

    Attributes:
        weight: about how many checks a second it needs.
        free_for: how long it has had no node.
        since: since when it is tended without a gap.
        paused_until: no request of the account starts before.
    """

    name: str
    node: str | None = None
    weight: float = 0.1
    free_for: timedelta = timedelta(0)
    since: datetime | None = None
    paused_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The rows of the cluster at one moment. *config*: the current configuration; *superseded*: those before it, oldest first."""

    now: datetime
    members: Sequence[NodeRow] = ()
    shards: Sequence[Shard] = ()
    config: str = ""
    superseded: Sequence[str] = ()

    def member(self, node: str) -> NodeRow | None:
        """The member with this name."""
        return next((member for member in self.members if member.node == node), None)

    def taking(self) -> list[NodeRow]:
        """The members that take shards."""
        config = self.config_in_force()
        return [member for member in self._able() if member.config == config]

    def config_in_force(self) -> str:
        """The newest configuration with which a node can work: one that no such node has any more does not stop the others."""
        able = {member.config for member in self._able()}
        return next((config for config in (self.config, *reversed(self.superseded)) if config in able), self.config)

    def _able(self) -> list[NodeRow]:
        return [one for one in self.members if one.alive and one.weight > 0 and not one.drained and not one.unfit]

    def untended(self) -> tuple[str, ...]:
        """The shards that no node tends, for longer than a takeover needs."""
        alive = {member.node for member in self.members if member.alive}
        return tuple(one.name for one in self.shards if (one.free_for > _UNTENDED_AFTER if one.node is None else one.node not in alive))

    def has_lost(self) -> bool:
        """Whether a lease has run out, or a shard is that of a node without a row."""
        nodes = {member.node for member in self.members}
        return not all(member.alive for member in self.members) or any(
            shard.node not in nodes for shard in self.shards if shard.node is not None
        )

    def load(self, node: str) -> float:
        """How much a node has to do."""
        return sum(shard.weight for shard in self.shards if shard.node == node)

    def share(self, member: NodeRow) -> float:
        """How much a node would have to do if all had their share."""
        total = sum(one.weight for one in self.taking())
        return sum(shard.weight for shard in self.shards) * member.weight / total if total else 0.0


def has_room(view: ClusterView, node: str, shard: Shard) -> bool:
    """Whether *node* takes *shard* when it is offered: it has nothing to do, or not more than its share with it."""
    member = next((one for one in view.taking() if one.node == node), None)
    if member is None:
        return False
    load = view.load(node)
    return load == 0 or load + shard.weight <= _TOLERANCE * view.share(member)


def to_take(view: ClusterView, node: str) -> list[str]:
    """The free shards that *node* takes now without being asked, the heaviest first."""
    taking = view.taking()
    if node not in {member.node for member in taking}:
        return []
    loads = {member.node: view.load(member.node) for member in taking}
    weights = {member.node: member.weight for member in taking}
    chosen = []
    free = [shard for shard in view.shards if shard.node is None and shard.free_for >= TAKEN_AFTER]
    for shard in sorted(free, key=lambda one: (-one.weight, one.name)):
        least = min(loads, key=lambda name: ((loads[name] + shard.weight) / weights[name], name))
        loads[least] += shard.weight
        if least == node or shard.free_for >= TAKEN_BY_ANY_AFTER:
            chosen.append(shard.name)
    return chosen


def to_release(view: ClusterView, node: str, ended: Iterable[str]) -> list[str]:
    """
    The shards that *node* gives up now: all once it is drained, or unfit while another one takes them; those whose turn has *ended* while
    its configuration is not in force; and some of them while it has more than its share and another node would have less to do with them than it has now.
    """
    me, own = view.member(node), [shard for shard in view.shards if shard.node == node]
    if me is None:
        return []
    if me.drained or me.weight <= 0 or (me.unfit and view.taking()):
        return [shard.name for shard in own]
    if me.config != view.config_in_force():
        return [shard.name for shard in own if shard.name in set(ended)]
    others = {other.node: (view.load(other.node), other.weight) for other in view.taking() if other.node != node}
    load, released = view.load(node), list[str]()
    for shard in sorted(own, key=lambda one: (-one.weight, one.name)):
        if not others or load <= _TOLERANCE * view.share(me) or len(released) >= max(1, len(own) // _RELEASED_AT_ONCE):
            break
        least = min(others, key=lambda name: (others[name][0] + shard.weight) / others[name][1])
        other_load, weight = others[least]
        if (other_load + shard.weight) / weight < load / me.weight:
            released.append(shard.name)
            others[least] = (other_load + shard.weight, weight)
            load -= shard.weight
    return released
