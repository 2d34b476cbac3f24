"""Changed copies: as the library's, for every kind of value that a check changes."""

import copy
import dataclasses
import importlib
import pickle
import sys
from datetime import UTC
from typing import Any

import pytest

from monitor.db.codec import dump_state, load_state
from monitor.domain.connections import ConnectionSpec
from monitor.domain.copies import replace
from monitor.domain.replies.token_life import TokenLife, TokenSays
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.scopes.state import ScopeState
from monitor.postpost.client import ApiResult
from monitor.postpost.rate_limit import RequestPacing
from tests.builders import MINUTE, START, a_state, a_token_belief

VALUES: list[Any] = [
    a_state(username="page1"),
    a_token_belief(None, earliest_at=START, latest_at=START),
    ScopeState(ScopeKey.parse("api:x")),
]


def _calls(work: Any) -> int:
    """How many Python functions *work* runs."""
    count = 0

    def note(_: Any, event: str, __: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_same_as_the_library(value: Any) -> None:
    """Whichever field is changed, the copy equals the library's, and the original is as it was."""
    before = dataclasses.replace(value)
    for field in dataclasses.fields(value):
        changes = {field.name: object()}
        changed = replace(value, **changes)
        assert type(changed) is type(value)
        assert all(
            getattr(changed, one.name) == getattr(dataclasses.replace(value, **changes), one.name) for one in dataclasses.fields(value)
        )
    assert value == before


def test_frozen() -> None:
    """A copy can no more be changed than what it was made of."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        replace(VALUES[0], username="other").username = "third"


def test_unknown_field() -> None:
    """A name that is no field is refused."""
    with pytest.raises(AttributeError):
        replace(VALUES[0], nonsense=1)


def test_checked_values() -> None:
    """What checks itself when it is made is checked when it is copied."""
    with pytest.raises(ValueError, match="rate above zero"):
        replace(RequestPacing(), rate=0)


def test_cheap() -> None:
    """Copying the largest of them takes less than a sixth of the library's calls, and no call for each field."""
    state = a_state()
    replace(state, username="x")

    assert _calls(lambda: replace(state, username="x")) < _calls(lambda: dataclasses.replace(state, username="x")) / 6
    assert _calls(lambda: replace(state, username="x")) < len(dataclasses.fields(state)) / 3


def test_made_quickly() -> None:
    """Values of a check are made as the library makes them: defaults, names and mistakes, frozen, copied and pickled."""
    life = TokenLife(TokenSays.LEFT, left=MINUTE)
    spec = ConnectionSpec("main", "", "x-1", platform="x")

    assert (life.left, life.below, spec.labels, spec.name) == (MINUTE, False, {}, None)
    assert spec.labels is not ConnectionSpec("main", "", "x-1", platform="x").labels
    assert spec == ConnectionSpec("main", "", "x-1", "x", labels={})
    assert pickle.loads(pickle.dumps(spec)) == copy.deepcopy(spec) == dataclasses.replace(spec) == spec
    assert ApiResult(life, START, START).answer is life
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError, match="platform_id"):
        ConnectionSpec("main", "")  # type: ignore[call-arg]


def test_kinds() -> None:
    """Every value of the core that lives in slots can be copied so."""
    for name in (
        "monitor.domain.states",
        "monitor.domain.events",
        "monitor.domain.scopes.state",
        "monitor.domain.expiry.model",
        "monitor.domain.evaluation",
    ):
        for kind in vars(importlib.import_module(name)).values():
            if isinstance(kind, type) and dataclasses.is_dataclass(kind) and "__slots__" in vars(kind):
                assert all(hasattr(getattr(kind, field.name), "__set__") for field in dataclasses.fields(kind))


def test_shared_values() -> None:
    """Values that were read share their moments, names and empty mappings, are equal to what was read, and count in UTC."""
    states = [
        a_state(last_successful_post_at=START, permissions=("r_liteprofile",), token=a_token_belief(START), username=f"user{number}")
        for number in range(2)
    ]
    first, second = (load_state(dump_state(state), "a test") for state in states)

    assert [first, second] == states
    assert first.last_check_at is first.last_evidence_at is first.token.exact_at
    assert first.last_check_at is not None
    assert first.last_check_at.tzinfo is UTC
    assert first.permissions is second.permissions
    assert first.topics is second.topics
