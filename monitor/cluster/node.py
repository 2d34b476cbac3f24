"""One node: its place in the cluster, and the rows it goes by."""

import asyncio
import hashlib
import json
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from monitor import __version__
from monitor.config import Config
from monitor.config.secrets import Secret
from monitor.config.types import Section
from monitor.db.cluster.members import MemberBackend, MemberSession
from monitor.domain.cluster.sharing import ClusterView, NodeRow
from monitor.http.addresses import is_loopback

T = TypeVar("T")

_OF_THE_NODE = ("cluster", "web", "logging", "database")
"""Sections that may differ between nodes."""


def config_hash(config: Config) -> str:
    """What *config* means for all nodes, as a short hash: nodes with another one do not share the work."""
    meaning = {name: value for name, value in _meaning(config).items() if name not in _OF_THE_NODE}
    return hashlib.sha256(json.dumps(meaning, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _meaning(section: Section) -> dict[str, object]:
    """What is not the default, which a newer release may have more of; with what secrets hold, but without the paths of files."""
    fields = {key: field for key, field in type(section).model_fields.items() if not field.exclude and not key.endswith("_file")}
    values = {key: (getattr(section, key), field.get_default(call_default_factory=True)) for key, field in fields.items()}
    return {key: _plain(value) for key, (value, default) in values.items() if value != default}


def _plain(value: object) -> object:
    if isinstance(value, Section):
        return _meaning(value)
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def member_of(config: Config) -> NodeRow:
    """The process as a member of the cluster of *config*."""
    cluster = config.cluster
    if cluster is None:
        raise ValueError("the configuration has no cluster")
    web, host = config.web, socket.gethostname()
    scheme = "http" if config.web_file.tls_server_config is None else "https"
    url = cluster.url or ("" if is_loopback(web.host) else f"{scheme}://{host}:{web.port}")
    name = cluster.node or f"{host}-{web.port}"
    return NodeRow(name, host=host, url=url, version=__version__, config=config_hash(config), weight=cluster.weight)


class Node:
    """The process as a node. *name*: of the node; *view*: the rows of the cluster, as read last."""

    def __init__(self, backend: MemberBackend) -> None:
        self.name = backend.member.node
        self.holder = backend.holder
        self.view: ClusterView | None = None
        self._backend = backend
        self._session = backend.session()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cluster")

    def lease_remaining(self) -> float:
        """Seconds until nothing may be sent any more."""
        return self._backend.lease_remaining()

    def note_taken(self, shard: str) -> None:
        """Count *shard* as ours until the rows are read again."""
        if self.view is not None:
            shards = [replace(one, node=self.name) if one.name == shard else one for one in self.view.shards]
            self.view = replace(self.view, shards=shards)

    async def call(self, work: Callable[[MemberSession], T]) -> T:
        """The result of *work* on the session beside the writer."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._session)

    async def change(self, config: Config) -> None:
        """Tell the others what this node is by *config*."""
        member = member_of(config)
        await self.call(lambda session: session.change(member))

    async def close(self) -> None:
        """End the session."""
        await self.call(MemberSession.close)
        self._thread.shutdown()
