"""The verb `cluster`: show the nodes, drain one, make a configuration current."""

import argparse

from monitor.cli import output
from monitor.cli.options import CONFIG, JSON, load_config
from monitor.cli.verb import Verb, argument
from monitor.clock import iso_utc
from monitor.cluster.node import config_hash
from monitor.config import Config
from monitor.db import read_server, reading
from monitor.db.cluster.members import adopt_config, drain_nodes, read_cluster
from monitor.domain.cluster.sharing import ClusterView, NodeRow
from monitor.errors import UsageError
from monitor.text.durations import span

_EPILOG = """\
examples:
  postpost-monitor cluster status             list the nodes, and what they tend
  postpost-monitor cluster drain node-2       node-2 gives everything to the others, for maintenance
  postpost-monitor cluster drain --all        every node stops working; pages are still served
  postpost-monitor cluster adopt              make the configuration of this machine current

A drained node works again once it is restarted.
"""


def status(args: argparse.Namespace) -> int:
    """Show the nodes; returns 0, or 1 when something is wrong."""
    config = _config(args)
    with reading(config.database.url.reveal()) as reader:
        view, (_, replicated) = read_cluster(reader), read_server(reader)
    problems = list(_problems(view, replicated=replicated))
    if args.json:
        output.put(_document(view, problems, own=config_hash(config)))
        return int(bool(problems))
    rows = [
        (
            member.node,
            _state(member, view),
            str(sum(shard.node == member.node for shard in view.shards)),
            f"{view.load(member.node):.2f}",
            member.version,
            member.config,
            member.host,
        )
        for member in view.members
    ]
    header = ("NODE", "STATE", "SHARDS", "LOAD", "VERSION", "CONFIG", "HOST")
    print("\n".join(output.fitted(header, rows, output.terminal_width(), least={0: 8}, right=(2, 3))))
    free = [shard.name for shard in view.shards if shard.node is None]
    print(f"\n{len(view.shards)} shards, {len(free)} without a node; the current configuration is {view.config or 'not known yet'}.")
    for problem in problems:
        print(f"Problem: {problem}")
    return int(bool(problems))


def drain(args: argparse.Namespace) -> int:
    """Have one node, or all, give up what they tend; returns 0."""
    if (args.node is None) != args.all:
        raise UsageError("cluster drain: name one node, or use --all")
    url = _config(args).database.url.reveal()
    with reading(url) as reader:
        view = read_cluster(reader)
    if args.node is not None and view.member(args.node) is None:
        names = ", ".join(member.node for member in view.members) or "none"
        raise UsageError(f"there is no node {args.node}; there are: {names}")
    drain_nodes(url, args.node)
    done = "Every node gives up what it tends." if args.all else f"Node {args.node} gives up what it tends, within seconds."
    return output.report(done, as_json=args.json)


def adopt(args: argparse.Namespace) -> int:
    """Make the configuration of the file current; returns 0."""
    config = _config(args)
    adopt_config(config.database.url.reveal(), config_hash(config))
    return output.report(
        f"The configuration {config_hash(config)} is current: nodes with another one give up what they tend.", as_json=args.json
    )


def _config(args: argparse.Namespace) -> Config:
    """The configuration; raises UsageError when it is not one of a cluster that shares the work."""
    config = load_config(args)
    if config.cluster is None or config.cluster.mode != "shared":
        raise UsageError("the configuration has no cluster with mode: shared")
    return config


def _state(member: NodeRow, view: ClusterView) -> str:
    if not member.alive:
        return "lost"
    if member.drained:
        return "drained"
    if member.unfit:
        return "unfit"
    if member.config != view.config_in_force():
        return "other configuration"
    return "working" if member.weight > 0 else "pages only"


def _problems(view: ClusterView, *, replicated: bool) -> list[str]:
    alive = [member for member in view.members if member.alive]
    problems = []
    if len(alive) < 2:
        problems.append(f"{len(alive)} nodes are alive: nothing takes over when one fails")
    others = [member.node for member in alive if member.config != view.config]
    if others:
        problems.append(f"other configurations than the current one: {', '.join(others)}")
    if view.config_in_force() != view.config:
        problems.append(f"no node can work with the current configuration: those with {view.config_in_force()} do, and retire nothing")
    problems += [f"node {member.node} takes no work: {member.unfit}" for member in alive if member.unfit]
    releases = sorted({member.version for member in alive})
    if len(releases) > 1:
        problems.append(f"nodes of several releases are running: {', '.join(releases)}")
    waiting = [shard for shard in view.shards if shard.node is None]
    if waiting:
        longest = max(shard.free_for for shard in waiting)
        problems.append(f"without a node: {', '.join(shard.name for shard in waiting)}, for {span(longest)}")
    if not replicated:
        problems.append("synchronous_standby_names is not set on the server: a failover may lose rows, and notify an incident twice")
    return problems


def _document(view: ClusterView, problems: list[str], own: str) -> dict[str, object]:
    return {
        "config": view.config or None,
        "own_config": own,
        "nodes": [
            {
                "node": member.node,
                "state": _state(member, view),
                "host": member.host,
                "url": member.url or None,
                "version": member.version,
                "config": member.config,
                "weight": member.weight,
                "joined_at": iso_utc(member.joined_at) if member.joined_at is not None else None,
                "shards": [shard.name for shard in view.shards if shard.node == member.node],
            }
            for member in view.members
        ],
        "free": [shard.name for shard in view.shards if shard.node is None],
        "problems": problems,
    }


VERB = Verb(
    "Show the nodes of a cluster (cluster.mode shared), drain them, or make a configuration current.",
    verbs={
        "status": Verb(
            "List the nodes and what they tend. Exit code 1 when something is wrong.",
            status,
            (CONFIG, JSON),
            help="list the nodes, and what they tend",
        ),
        "drain": Verb(
            "Have NODE, or all nodes, give up what they tend and take nothing until they are restarted. They go on serving pages.",
            drain,
            (
                CONFIG,
                argument("node", nargs="?", metavar="NODE", help="name of the node"),
                argument("--all", action="store_true", help="all nodes"),
                JSON,
            ),
            help="have a node give up what it tends",
        ),
        "adopt": Verb(
            "Make the configuration of this machine current: nodes with another one take nothing. For going back to an earlier one; a new "
            "one is current as soon as a node has it.",
            adopt,
            (CONFIG, JSON),
            help="make the configuration of this machine current",
        ),
    },
    epilog=_EPILOG,
)
