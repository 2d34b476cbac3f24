"""
What is told in simulated fortnights whose truth is known, judged message by message; see `tests/world`.

The limits are the promises of docs/explanation/alerts-proof.md. What others tell of such a fortnight stands there.
"""

from collections.abc import Iterator
from statistics import median

from tests.bench.result import Result
from tests.world.generate import generate
from tests.world.judge import score
from tests.world.run import run
from tests.world.score import Fault, Score
from tests.world.truth import MINUTE

DAYS = 10.5
WIDE, SMALL = (1, 2), (3, 4, 5, 6)
"""Seeds: of sixty connections, and of two to four on each platform."""


def measure() -> Iterator[Result]:
    """The rows of the table, over all worlds."""
    total = Score()
    for seed in (*WIDE, *SMALL):
        total.add(score(run(generate(seed, DAYS, small=seed in SMALL))))
    delays = [delay / MINUTE for delay in total.delays]
    platform = [opened + over for _, opened, over in total.per_platform]
    api = [opened + over for opened, over in total.per_api]
    yield Result("genuine breaks told", 100 * total.told / total.breaks, "%")
    yield Result("genuine breaks whose cause was told wrongly, or never corrected", total.count(Fault.WRONG_CAUSE), "", 0)
    yield Result("delay of undisturbed breaks, median", median(delays), "min", 12)
    yield Result("delay of undisturbed breaks, longest", max(delays), "min", 25)
    yield Result("false pages, but for the first about a validator that lies", total.count(Fault.FALSE_PAGE), "", 0)
    yield Result("messages in an outage of a platform, at most", max(platform, default=0), "", 2)
    yield Result("messages in an outage of the API, at most", max(api, default=0), "", 2)
    yield Result("false recoveries", total.count(Fault.FALSE_RECOVERY), "", 0)
    yield Result("missing or lost", total.count(Fault.MISSING) + total.count(Fault.LOST), "", 0)
    yield Result("told twice", total.count(Fault.TWICE), "", 0)
    yield Result("superfluous", total.count(Fault.SUPERFLUOUS), "", 0)
    yield Result("messages per genuine event", total.per_event, "", 1.6)
