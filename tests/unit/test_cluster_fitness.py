"""When a node is not fit to work: its clock is wrong, or it alone is not answered by the API."""

from dataclasses import replace
from datetime import timedelta

import pytest

from monitor.clock import SystemClock
from monitor.cluster.fitness import API_OUT_OF_REACH, CLOCK_DIFFERS, Fitness
from monitor.config import Config
from monitor.domain.cluster.findings import Board, Finding
from monitor.domain.cluster.sharing import ClusterView
from monitor.errors import Reason
from monitor.state.cluster import AccountRegistry
from monitor.state.evaluation_config import EvaluationConfig

SECOND = timedelta(seconds=1)


def _registry(config: Config) -> AccountRegistry:
    registry = AccountRegistry(EvaluationConfig.from_config(config, "x"), SystemClock(), "holder")
    registry._tended["mine"] = registry.clock.now()
    return registry


def _config() -> Config:
    # A port that nothing listens on.
    return Config.model_validate({"accounts": [{"name": "mine", "api_key": "k"}], "api": {"base_url": "http://127.0.0.1:9/api/v1"}})


@pytest.mark.parametrize(("seconds", "why"), [(0, ""), (29, ""), (31, CLOCK_DIFFERS), (-31, CLOCK_DIFFERS)])
async def test_clock(seconds: int, why: str) -> None:
    """More than 30 seconds off the server's, in either direction."""
    config = _config()
    fitness = Fitness(config, _registry(config), SystemClock())
    assert await fitness.unfit(ClusterView(SystemClock().now() + seconds * SECOND)) == why
    await fitness.close()


async def test_api() -> None:
    """Only when nothing here was answered for long, another node's account was, and the API does not answer the node itself."""
    config = _config()
    registry = _registry(config)
    fitness, now = Fitness(config, registry, SystemClock()), registry.clock.now()
    view = ClusterView(now)
    failed = Finding(1, "mine", "", now - timedelta(minutes=5), Reason.API_UNREACHABLE)
    registry.note_answers([failed])
    assert await fitness.unfit(view) == ""
    registry.board = Board(served={"mine": now})
    assert await fitness.unfit(view) == ""
    registry.board = Board(served={"other": now})
    registry.note_answers([replace(failed, reason=Reason.API_UNAUTHORIZED)])
    assert await fitness.unfit(view) == ""
    registry.note_answers([failed])
    assert await fitness.unfit(view) == API_OUT_OF_REACH
    await fitness.close()
