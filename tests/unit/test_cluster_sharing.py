"""Which shards a node takes and gives up: everything is tended, nobody has more than a fair share, and then nothing moves any more."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from monitor.cluster.peers import notifies
from monitor.domain.cluster.sharing import GLOBAL, ClusterView, NodeRow, Shard, has_room, to_release, to_take

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WAITING = timedelta(seconds=3)


def _view(weights: dict[str, float], shards: list[Shard]) -> ClusterView:
    return ClusterView(NOW, [NodeRow(name, config="c", weight=weight) for name, weight in weights.items()], shards, "c")


def _settle(view: ClusterView) -> tuple[ClusterView, int]:
    """The view once nothing moves any more, and after how many beats that was."""
    for beat in range(500):
        before = view
        for member in view.members:
            taken = set(to_take(view, member.node))
            view = replace(view, shards=[replace(one, node=member.node) if one.name in taken else one for one in view.shards])
        for member in view.members:
            given_up = set(to_release(view, member.node, ended=()))
            view = replace(view, shards=[replace(one, node=None, free_for=WAITING) if one.name in given_up else one for one in view.shards])
        if view == before:
            return view, beat
    raise AssertionError("shards move for ever")


@given(
    st.dictionaries(st.sampled_from("abcde"), st.sampled_from([0.5, 1.0, 4.0]), min_size=1),
    st.lists(st.floats(0.05, 5.0), min_size=1, max_size=60),
)
def test_settles_fairly(weights: dict[str, float], loads: list[float]) -> None:
    """From all shards at one node as from none: all are tended, and none has over its share by more than a tenth and one shard."""
    for owner in (None, min(weights)):
        shards = [Shard(f"account:{number}", owner, load, WAITING) for number, load in enumerate(loads)]
        view, _ = _settle(_view(weights, shards))
        assert all(shard.node in weights for shard in view.shards)
        for member in view.members:
            own = [shard.weight for shard in view.shards if shard.node == member.node]
            # A shard weighs more on a node of less weight, which is why it may be none's to take.
            one_shard = max(own, default=0.0) * max(1.0, member.weight / min(weights.values()))
            assert not own or view.load(member.node) <= 1.1 * view.share(member) + one_shard + 1e-9


def test_many_equal_shards() -> None:
    """A node that joins gets its part: within a tenth of fair."""
    shards = [Shard(f"account:{number}", "a", 1.0, WAITING) for number in range(400)]
    view, beats = _settle(_view({"a": 1.0, "b": 1.0, "c": 2.0}, shards))
    assert [round(view.load(name)) for name in "abc"] == [110, 100, 190] or all(
        abs(view.load(member.node) - view.share(member)) <= 0.1 * view.share(member) + 1 for member in view.members
    )
    assert beats < 60


def test_what_takes_nothing() -> None:
    """A node that is drained, has weight 0 or another configuration takes nothing; the first two give everything up, the last what has ended."""
    shards = [Shard(GLOBAL, None, 0.1, timedelta(minutes=1)), Shard("account:x", "a", 0.1), Shard("account:y", "a", 0.1)]
    for change, released in (
        ({"drained": True}, {"account:x", "account:y"}),
        ({"weight": 0.0}, {"account:x", "account:y"}),
        ({"config": "older"}, {"account:x"}),
        ({"unfit": "its clock differs"}, {"account:x", "account:y"}),
    ):
        view = ClusterView(NOW, [replace(NodeRow("a", config="c"), **change), NodeRow("b", config="c")], shards, "c")
        assert to_take(view, "a") == []
        assert not has_room(view, "a", shards[0])
        assert set(to_release(view, "a", ended=["account:x"])) == released
        assert to_take(view, "b") == [GLOBAL]


def test_unfit_alone() -> None:
    """While no other node takes work, one that is not fit keeps what it has."""
    alone = ClusterView(NOW, [NodeRow("a", config="c", unfit="why"), NodeRow("b", config="c", unfit="why")], [Shard(GLOBAL, "a")], "c")
    assert to_release(alone, "a", ended=()) == []
    assert to_take(alone, "b") == []


def test_configuration_in_force() -> None:
    """The newest with which a node can work: a node that brought another one and is gone, drained or unfit does not stop the rest."""
    shards = [Shard(GLOBAL, None, 0.1, timedelta(minutes=1)), Shard("account:x", "a", 0.1)]
    old, new = NodeRow("a", config="old"), NodeRow("b", config="new")
    both = ClusterView(NOW, [old, new], shards, "new", ["older", "old"])
    assert (to_take(both, "a"), to_take(both, "b"), to_release(both, "a", ["account:x"])) == ([], [GLOBAL], ["account:x"])
    for gone in ([], [replace(new, drained=True)], [replace(new, unfit="why")], [replace(new, alive=False)], [replace(new, weight=0.0)]):
        view = replace(both, members=[old, *gone])
        assert view.config_in_force() == "old"
        assert (to_take(view, "a"), to_release(view, "a", ["account:x"])) == ([GLOBAL], [])
    assert replace(both, members=[]).config_in_force() == "new"


def test_untended() -> None:
    """What no node has taken for long, or is still that of a node that is gone; not what is being taken over."""
    shards = [
        Shard("a", None, free_for=timedelta(seconds=16)),
        Shard("b", None, free_for=timedelta(seconds=14)),
        Shard("c", "x"),
        Shard("d", "y"),
    ]
    assert ClusterView(NOW, [NodeRow("x"), NodeRow("y", alive=False)], shards).untended() == ("a", "d")


def test_which_node_notifies() -> None:
    """Of nodes that reach each other the first by name; of nodes that do not, the one of `global` first, the others later."""
    view = _view({"a": 1.0, "b": 1.0, "c": 1.0}, [Shard(GLOBAL, "b")])
    assert [notifies(name, [other for other in "abc" if other != name], view, 200.0) for name in "abc"] == [True, False, False]
    assert [notifies(name, [], view, 200.0) for name in "abc"] == [False, True, False]
    assert [notifies(name, [], view, 400.0) for name in "abc"] == [True, True, False]
    assert [notifies(name, [], view, 700.0) for name in "abc"] == [True, True, True]
