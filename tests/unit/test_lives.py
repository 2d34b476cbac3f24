"""Random lives: whatever happens to connections, accounts and the API, what is told is true, and nothing true is kept back."""

from datetime import timedelta

import pytest

from tests.builders import DAY
from tests.lives import Life


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_life(seed: int) -> None:
    """A day of accidents and eight hours of calm: no false alert, none missed, and in the end everybody knows that all is well."""
    life = Life(seed)
    try:
        life.live(DAY, calm=timedelta(hours=8))
    except AssertionError as error:
        raise AssertionError(f"{error} at {life.story.now}\n" + "\n".join(life.log[-40:])) from error
    assert life.patrol.asked
