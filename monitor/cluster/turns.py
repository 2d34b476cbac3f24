"""The turns of a node. It takes a shard before it loads its rows, and releases it after the last write of its workers."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from monitor import __version__
from monitor.clock import EPOCH
from monitor.cluster.fitness import Fitness
from monitor.cluster.job_queue import JobQueue
from monitor.cluster.node import Node
from monitor.cluster.peers import Peers
from monitor.cluster.wide import WideScopes
from monitor.config import Config
from monitor.db import Store
from monitor.db.cluster.findings import ask_for_check, read_published
from monitor.db.cluster.members import MemberSession, Taken, read_cluster, rename_shards
from monitor.domain.cluster import sharing
from monitor.domain.cluster.findings import Board
from monitor.domain.cluster.sharing import ACCOUNT_PREFIX, GLOBAL, RECEIVER_PREFIX, ClusterView, NodeRow
from monitor.domain.connections import Connection
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.views.snapshot import ClusterFacts, Snapshot
from monitor.errors import AnotherInstance, StoreError, StoreUnavailable
from monitor.logs import get_logger
from monitor.runtime.loop import Loop
from monitor.runtime.watchdog import WatchedLoop
from monitor.state import account_sync, connection_sync, receiver_sync
from monitor.state.cluster import AccountRegistry, AccountRows, GlobalRegistry, follow, retire_account
from monitor.state.evaluation_config import EvaluationConfig
from monitor.workers.group import Dependencies, WorkerGroup

_log = get_logger(__name__)

Asked = Mapping[str, tuple[int, datetime]]

_BEAT_SECONDS = 1.0
_BEAT_LIMIT_SECONDS = 60.0
_GOVERNED_SECONDS = 10.0
_SWEPT_SECONDS = 30.0
# A shard that was free for longer was not tended meanwhile: nothing of it is stale because of that.
_GAP = timedelta(seconds=90)
_ASKED_LATELY = timedelta(minutes=1)
_ACCOUNT_WEIGHT = 0.1
_RECEIVER_WEIGHT = 0.05


@dataclass(slots=True)
class Turn:
    """
    One shard that this node tends.

    Attributes:
        ends_at: when it may be given up for a configuration that is not current, in monotonic seconds.
        paused_until: until when the API asked the account to wait, as its row says.
        asked_at: when an operator last asked for a check of the account at another node.
    """

    name: str
    group: WorkerGroup
    ends_at: float
    account: str = ""
    paused_until: datetime | None = None
    asked_at: datetime = EPOCH


class NodeWorkers:
    """The workers of one configuration on a node, in place of a `WorkerGroup`; *node* outlives reloads, `global` has *wide_config*."""

    def __init__(
        self,
        config: Config,
        evaluation_config: EvaluationConfig,
        dependencies: Dependencies,
        node: Node,
        jobs: JobQueue,
        wide_config: EvaluationConfig,
    ) -> None:
        if not isinstance(dependencies.registry, AccountRegistry) or config.cluster is None:
            raise TypeError("a node needs the registry of a node")
        self.config = config
        self.evaluation_config = evaluation_config
        self.wide: GlobalRegistry | None = None
        self._registry = dependencies.registry
        self._dependencies = dependencies
        self._node = node
        self._jobs = jobs
        self._wide_config = wide_config
        self._turn_seconds = config.cluster.turn.total_seconds()
        self._lease_seconds = config.cluster.lease.total_seconds()
        self._clock = dependencies.clock
        self._database = dependencies.database
        self._stop = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._peers = Peers(node, config.web_file.tls_server_config, self._clock)
        self._fitness = Fitness(config, self._registry, self._clock)
        self._identities = account_sync.identities(config)
        dependencies = replace(dependencies, notifies_outage=self._peers.notifies_outage)
        self._own = WorkerGroup(config, evaluation_config, dependencies, parts={"evaluation", "controls", "storage-alert"})
        self._turns: dict[str, Turn] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._taking = asyncio.Lock()
        self._loop = Loop("cluster", self._beat, rest_seconds=_BEAT_SECONDS, clock=self._clock, stop=self._stop)
        self._task: asyncio.Task[None] | None = None
        self._known = {
            GLOBAL,
            *(ACCOUNT_PREFIX + one.name for one in config.accounts),
            *(RECEIVER_PREFIX + one.name for one in config.receivers),
        }
        self._govern_at = self._sweep_at = float("-inf")
        self._outvoted = False
        self._nodes_lost = 0
        self._fence_at = float("-inf")

    # ---- in the place of a worker group

    @property
    def watched(self) -> list[WatchedLoop]:
        """The loops that must make progress."""
        turns = [watched for turn in self._turns.values() for watched in turn.group.watched]
        return [*self._own.watched, *turns, WatchedLoop(self._loop, _BEAT_LIMIT_SECONDS)]

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin to take shards; every loop is a task of *group*."""
        self._group = group
        self._own.start(group)
        self._loop.last_step = self._clock.monotonic()
        self._task = group.create_task(self._loop.run(), name="cluster")
        self._jobs.start(self._offered)

    def wake_if_due(self, kind: str) -> None:
        """Wake the loops of one kind that have something to do, as far as they know that."""
        for group in (self._own, *(turn.group for turn in self._turns.values())):
            group.wake_if_due(kind)

    def tends_receivers(self) -> bool:
        """Whether this node delivers anything."""
        return any(name.startswith(RECEIVER_PREFIX) for name in self._turns)

    def check_now(self, connection: Connection) -> bool:
        """Have *connection* checked next, by whichever node tends its account; False when its account is not configured."""
        turn = self._turns.get(ACCOUNT_PREFIX + connection.account)
        if turn is not None:
            return turn.group.check_now(connection)
        if self._group is None or ACCOUNT_PREFIX + connection.account not in self._known:
            return False
        self._group.create_task(self._ask_for_check(connection), name="check-now")
        return True

    async def _ask_for_check(self, connection: Connection) -> None:
        try:
            await self._database.write(partial(ask_for_check, connection, self._clock.now()))
        except StoreError as error:
            _log.debug("cluster.unavailable", problem=str(error))

    async def drain(self, *, seconds: float, abort: asyncio.Event) -> list[str]:
        """Give all shards up, after their workers' current steps, at most *seconds*; returns the names of cancelled loops."""
        self._stop.set()
        self._loop.wake.set()
        await self._jobs.stop()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=seconds)
            self._task.cancel()
        for name in tuple(self._turns):
            self._end(name, abort=abort)
        if self._ending:
            # Beyond the time of the workers themselves, for the last writes.
            await asyncio.wait(self._ending.values(), timeout=seconds + 2 * _BEAT_SECONDS)
        for task in self._ending.values():
            task.cancel()
        await self._peers.close()
        await self._fitness.close()
        return await self._own.drain(seconds=seconds, abort=abort)

    async def close(self) -> None:
        """Close the HTTP clients; idempotent."""
        await self._jobs.stop()
        await self._peers.close()
        await self._fitness.close()
        for turn in self._turns.values():
            await turn.group.close()
        await self._own.close()

    # ---- shards

    async def _beat(self) -> bool:
        try:
            async with self._taking:
                board, asked = await self._share()
            await self._follow(board, asked)
            await self._note_pauses()
        except (StoreUnavailable, AnotherInstance) as error:
            # A node that was replaced ends by what its writer says. The others may return to the server a little later than this one.
            self._fence_at = self._clock.monotonic() + self._lease_seconds
            _log.debug("cluster.unavailable", problem=str(error))
        return False

    async def _share(self) -> tuple[Board, Asked]:
        """Take, give up and drop shards by the rows of the cluster; returns what was published."""
        view, published = await self._node.call(lambda session: session.read(lambda reader: (read_cluster(reader), read_published(reader))))
        if view.has_lost() and self._clock.monotonic() >= self._fence_at:
            for node in await self._node.call(lambda session: session.fence()):
                _log.warning("node.lost", node=node)
                self._nodes_lost += 1
            view = await self._node.call(lambda session: session.look())
        self._node.view = view
        me = view.member(self._node.name)
        if me is None or me.holder != self._node.holder:
            # The next write tells why, and ends the process.
            await self._database.write(_nothing)
            return published
        await self._reconcile(view)
        self._note_config(view, me)
        view = await self._note_fitness(view, me)
        for name in sharing.to_take(view, self._node.name):
            await self._take(name)
        now = self._clock.monotonic()
        ended = [turn.name for turn in self._turns.values() if now >= turn.ends_at]
        for name in sharing.to_release(view, self._node.name, ended) if not self._ending else ():
            self._end(name)
        if GLOBAL in self._turns:
            await self._govern(view, now)
        return published

    def _is_current(self) -> bool:
        """Whether the configuration of this node is the current one: with an older one it works, but changes none of what is monitored."""
        view = self._node.view
        me = view.member(self._node.name) if view is not None else None
        return view is not None and me is not None and me.config == view.config

    def _note_config(self, view: ClusterView, me: NodeRow) -> None:
        """Log when the configuration of this node is in the way of its taking shards."""
        outvoted = me.config != view.config
        if outvoted and not self._outvoted:
            advice = "Give all nodes the same configuration; to make this one current, run: postpost-monitor cluster adopt."
            _log.warning("config.superseded", current=view.config, own=me.config, advice=advice)
        self._outvoted = outvoted

    async def _note_fitness(self, view: ClusterView, me: NodeRow) -> ClusterView:
        """Note in the row of this node why it takes no work; returns the rows with it."""
        unfit = await self._fitness.unfit(view)
        if unfit == me.unfit:
            return view
        await self._node.call(lambda session: session.note_unfit(unfit))
        if unfit:
            _log.error("node.excluded", problem=unfit, advice="This node takes no work; others take over what it tends.")
        else:
            _log.info("node.readmitted")
        view = self._node.view = replace(view, members=[replace(one, unfit=unfit) if one is me else one for one in view.members])
        return view

    async def _offered(self, name: str) -> None:
        """A job: take the shard if it is free and there is room."""
        try:
            async with self._taking:
                view = self._node.view
                if view is None:
                    return
                shard = next((shard for shard in view.shards if shard.name == name), None)
                if shard is not None and not self._stop.is_set() and sharing.has_room(view, self._node.name, shard):
                    await self._take(name)
        except StoreError as error:
            _log.debug("cluster.unavailable", problem=str(error))

    async def _take(self, name: str) -> None:
        if self._stop.is_set() or name not in self._known or name in self._turns or name in self._ending:
            return
        taken = await self._node.call(lambda session: session.take(name, _GAP))
        if taken is None or self._group is None:
            return
        try:
            turn = await self._begun(name, taken)
        except StoreError:
            self.wide = None if name == GLOBAL else self.wide
            if name.startswith(ACCOUNT_PREFIX):
                self._registry.forget(name.removeprefix(ACCOUNT_PREFIX))
            raise
        self._turns[name] = turn
        self._node.note_taken(name)
        if self._stop.is_set():
            self._end(name)
            return
        turn.group.start(self._group)
        _log.info("shard.taken", shard=name, since=taken.since.isoformat())

    async def _begun(self, name: str, taken: Taken) -> Turn:
        """The turn of a shard that was taken, with all that its workers need in memory."""
        ends_at = self._clock.monotonic() + self._turn_seconds * (0.8 + 0.4 * self._dependencies.random())
        if name == GLOBAL:
            return Turn(name, await self._wide_workers(taken.since), ends_at)
        if name.startswith(RECEIVER_PREFIX):
            return Turn(name, WorkerGroup(self.config, self.evaluation_config, self._dependencies, parts={name}), ends_at)
        account = name.removeprefix(ACCOUNT_PREFIX)
        rows = await self._database.read(partial(AccountRows, account=account))
        self._registry.tend(account, rows, taken.since)
        await connection_sync.sync(self._database, self._registry, self.config, account=account, retire=self._is_current())
        group = WorkerGroup(self.config, self.evaluation_config, self._dependencies, parts={name})
        paused_seconds = (taken.paused_until - self._clock.now()).total_seconds()
        if paused_seconds > 0:
            group.rate_limiters[account].pause(paused_seconds)
        return Turn(name, group, ends_at, account, taken.paused_until)

    async def _wide_workers(self, since: datetime) -> WorkerGroup:
        """The workers of `global`, with a replica of everything."""
        if self._is_current():
            await account_sync.rename(self._database, self.config, self._clock.now(), later=_tended)
            await receiver_sync.sync(self._database, self.config, self.evaluation_config, self._clock.now())
        registry = GlobalRegistry(self._wide_config, self._clock, since)
        registry.on_unrouted = self._dependencies.metrics.notification_unrouted
        await self._database.read(registry.load)
        registry.find_unmatched()
        registry.find_loads()
        dependencies = replace(self._dependencies, registry=registry)
        group = WorkerGroup(self.config, self._wide_config, dependencies, parts={"maintenance", "controls"})
        wide = WideScopes(registry, self._database, self._clock)
        group.add("evaluate", "wide-scopes", wide.step, limit=_BEAT_LIMIT_SECONDS)
        self.wide, self._govern_at = registry, float("-inf")
        return group

    def _end(self, name: str, *, lost: bool = False, abort: asyncio.Event | None = None) -> None:
        """Give a shard up; one that is *lost* is another node's already."""
        turn = self._turns.pop(name, None)
        if turn is None or self._group is None:
            return
        if name == GLOBAL:
            self.wide = None
        task = self._group.create_task(self._ended(turn, abort or asyncio.Event(), lost=lost), name=f"end-{name}")
        self._ending[name] = task
        task.add_done_callback(lambda _: self._ending.pop(name, None))

    async def _ended(self, turn: Turn, abort: asyncio.Event, *, lost: bool) -> None:
        try:
            await turn.group.drain(seconds=self.config.shutdown.drain.total_seconds(), abort=abort)
            # Everything that its workers gave to the writer is committed before this.
            await self._database.write(_nothing)
            if turn.account:
                self._registry.forget(turn.account)
                # And an evaluation of the account that was under way.
                await self._database.write(_nothing)
            if not lost:
                await self._node.call(lambda session: session.release(turn.name))
                await self._jobs.offer(turn.name)
        except StoreError as error:
            _log.debug("cluster.unavailable", problem=str(error))
            if isinstance(error, AnotherInstance):
                return
        _log.info("shard.released", shard=turn.name, lost=lost)

    async def _reconcile(self, view: ClusterView) -> None:
        """Stop tending what the server has forgotten that it is ours, and release what could not be begun."""
        ours = {shard.name for shard in view.shards if shard.node == self._node.name}
        for name in self._turns.keys() - ours:
            _log.warning("shard.lost", shard=name)
            self._end(name, lost=True)
        for name in ours - self._turns.keys() - self._ending.keys():
            await self._node.call(partial(MemberSession.release, name=name))

    # ---- what is known elsewhere

    async def _follow(self, board: Board, asked: Asked) -> None:
        """Take over the wide scopes as the node of `global` tells them."""
        self._check_asked(asked)
        if self._registry.differs_from(board):
            await self._database.write(partial(follow, self._registry, board))
        self._registry.note_board(board)

    def _check_asked(self, asked: Asked) -> None:
        """Check next what an operator asked for at another node."""
        now = self._clock.now()
        for account, (number, at) in asked.items():
            turn, connection = self._turns.get(ACCOUNT_PREFIX + account), self._registry.connection(number)
            if turn is not None and connection is not None and at > turn.asked_at and now - at < _ASKED_LATELY:
                turn.asked_at = at
                turn.group.check_now(connection)

    async def _note_pauses(self) -> None:
        """Note in the rows of the accounts until when the API asked them to wait."""
        for turn in tuple(self._turns.values()):
            limiter = turn.group.rate_limiters.get(turn.account)
            if limiter is None or limiter.paused_seconds <= 0:
                continue
            until = self._clock.now() + timedelta(seconds=limiter.paused_seconds)
            if turn.paused_until is None or abs(until - turn.paused_until) > timedelta(seconds=1):
                turn.paused_until = until
                await self._node.call(partial(MemberSession.pause, name=turn.name, until=until))

    # ---- global

    async def _govern(self, view: ClusterView, now: float) -> None:
        """As the node of `global`: keep the rows of the shards in line with the configuration, and offer those that are free."""
        if now >= self._govern_at:
            self._govern_at = now + _GOVERNED_SECONDS
            await self._put_shards(view)
        for shard in view.shards:
            if shard.node is None and shard.name in self._known:
                await self._jobs.offer(shard.name)
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEPT_SECONDS
            await self._jobs.sweep()

    async def _put_shards(self, view: ClusterView) -> None:
        registry = self.wide
        if registry is None or not self._is_current():
            return
        weights = {name: _RECEIVER_WEIGHT if name.startswith(RECEIVER_PREFIX) else _ACCOUNT_WEIGHT for name in self._known}
        for connection in registry.connections():
            name = ACCOUNT_PREFIX + connection.account
            if name in weights:
                weights[name] += 1 / connection.interval.total_seconds()
        # Until its shard can be renamed, an account is tended under its old name.
        renames = await self._database.read(partial(account_sync.renames, self._identities))
        renames = {ACCOUNT_PREFIX + old: ACCOUNT_PREFIX + new for old, new in renames.items()}
        tended = {shard.name for shard in view.shards if shard.node is not None}
        if any(tended.isdisjoint(pair) for pair in renames.items()):
            # Whoever takes it next renames what is free, and reads everything anew.
            self._end(GLOBAL)
            return
        weights = {name: weight for name, weight in weights.items() if name not in renames.values()}
        known = {shard.name: shard.weight for shard in view.shards}
        changed = {name: weight for name, weight in weights.items() if abs(known.get(name, 0.0) - weight) > 0.05 * weight}
        if changed:
            await self._node.call(lambda session: session.put_shards(changed))
        for shard in view.shards:
            if shard.name not in self._known and shard.node is None and shard.name not in renames:
                await self._drop(registry, shard.name)

    async def _drop(self, registry: GlobalRegistry, name: str) -> None:
        """Retire the connections of an account that left the configuration, and remove its shard."""
        if name.startswith(ACCOUNT_PREFIX):
            await self._database.write(partial(retire_account, registry, name.removeprefix(ACCOUNT_PREFIX)))
        await self._node.call(lambda session: session.drop_shard(name))
        _log.info("shard.removed", shard=name)

    # ---- what is exported

    def exported(self) -> Snapshot:
        """What this node alone exports: of its own shards, and nothing while it may not hold its lease."""
        now = self._clock.now()
        if not self._database.may_send():
            return Snapshot(now, storage_up=self._registry.storage_up, cluster=self._facts())
        own, wide = self._registry.snapshot(now), self.wide
        incidents = [
            one for one in own.incidents if one.connection is not None or self._registry.decides(ScopeKey.parse(one.incident.subject))
        ]
        receivers = {name.removeprefix(RECEIVER_PREFIX) for name in self._turns if name.startswith(RECEIVER_PREFIX)}
        accounts = {turn.account for turn in self._turns.values() if turn.account}
        return replace(
            own,
            incidents=(*incidents, *(wide.wide_incidents() if wide is not None else ())),
            accounts={name: up for name, up in own.accounts.items() if name in accounts},
            api_up=wide.api_answers() if wide is not None else None,
            outbox={name: view for name, view in own.outbox.items() if name in receivers},
            notices=tuple(one for one in own.notices if ScopeKey.parse(one.incident.subject).account in accounts),
            unmatched=wide.unmatched if wide is not None else (),
            cluster=self._facts(),
        )

    def _facts(self) -> ClusterFacts:
        view = self._node.view or ClusterView(self._clock.now())
        me = view.member(self._node.name)
        free = sum(shard.node is None for shard in view.shards)
        return ClusterFacts(
            node=self._node.name,
            version=__version__,
            config=me.config if me is not None else "",
            config_current=self._is_current(),
            nodes=sum(member.alive for member in view.members),
            shards=len(self._turns),
            free=free if self.wide is not None else None,
            lease_remaining=max(0.0, self._node.lease_remaining()),
            queue_up=self._jobs.up,
            nodes_lost=self._nodes_lost,
        )


def _tended(store: Store, pairs: Mapping[str, str]) -> list[str]:
    """Those of the renamed accounts that a node tends under their old names; the shards of the others are renamed."""
    kept = rename_shards(store, {ACCOUNT_PREFIX + old: ACCOUNT_PREFIX + new for old, new in pairs.items()})
    return [name.removeprefix(ACCOUNT_PREFIX) for name in kept]


def _nothing(_store: Store) -> None:
    """Write nothing: that it ran is the result."""
