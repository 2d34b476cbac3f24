"""Parameters of which a few run with every `make test` and all of them with `make test-all`."""

from collections.abc import Iterable
from typing import Any

import pytest


def sampled(values: Iterable[Any], *, first: int = 1) -> list[Any]:
    """The parameters *values*, tuples for several names; all but the *first* ones are marked `slow`."""
    return [value if number < first else pytest.param(*_each(value), marks=pytest.mark.slow) for number, value in enumerate(values)]


def _each(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
