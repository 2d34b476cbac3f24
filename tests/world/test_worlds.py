"""Worlds of many seeds through the monitor: whatever happens in them, what is told keeps what the product promises."""

from collections.abc import Mapping
from statistics import median

import pytest

from monitor.config import ScheduleSettings
from tests.sampling import sampled
from tests.world.generate import generate
from tests.world.judge import score
from tests.world.run import config_of, run
from tests.world.score import Fault, Score, report
from tests.world.truth import MINUTE, World

SEEDS = range(1, 51)
IN_EVERY_RUN = 10

DELAY = 12 * MINUTE
"""The median delay of undisturbed breaks, at checks every fifteen minutes."""

ENOUGH = 5
"""So many undisturbed breaks have a median worth the name."""

PER_EVENT = 1.6
"""Messages per genuine event (`score.EVENT`)."""

ALLOWED: Mapping[Fault, int] = dict.fromkeys(set(Fault) - {Fault.LIE}, 0)
"""How many faults of a kind one world may have; a lying validator is allowed its first page, which is not counted."""


def short_world(seed: int) -> World:
    """A world of half a day with a wide fleet, or, for even seeds, of a day with a small one; longer beyond the first seeds."""
    return generate(seed, (0.8 if seed <= IN_EVERY_RUN else 2) * (1.2 if seed % 2 == 0 else 0.5), small=seed % 2 == 0)


def judged(seed: int) -> Score:
    """What the judge counts in the short world of *seed*."""
    return score(run(short_world(seed)))


@pytest.mark.parametrize("seed", sampled(SEEDS, first=IN_EVERY_RUN))
def test_a_world(seed: int) -> None:
    """Every genuine break is told, with its cause, in time and once; nothing else is told, and nothing is lost."""
    total = judged(seed)

    for fault, allowed in ALLOWED.items():
        assert total.count(fault) <= allowed, "\n".join([f"{fault} in the world of seed {seed}:", *report(total)])
    if len(total.delays) >= ENOUGH:
        assert median(total.delays) <= DELAY
    assert total.per_event <= PER_EVENT


@pytest.mark.slow
def test_fast_path() -> None:
    """A world tells the same, word by word, whether the usual case of a check is evaluated the short way or in full."""
    world = generate(6, 0.4, small=True)
    told = []
    for fast_path in (True, False):
        config = config_of(world).model_copy(update={"schedule": ScheduleSettings(fast_path=fast_path)})
        told.append([(message.at, message.text, message.notification) for message in run(world, config).messages])
    assert told[0]
    assert told[0] == told[1]
