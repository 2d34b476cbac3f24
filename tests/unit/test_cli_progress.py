"""How far a long command is."""

import io
from datetime import timedelta

from monitor.cli.output import Progress
from tests.clock import FakeClock

SECOND = timedelta(seconds=1)


class Screen(io.StringIO):
    """A terminal, or not."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        """As asked for."""
        return self.terminal


async def test_a_long_command() -> None:
    """Nothing is said within the first second; then a few times a second, in place; afterwards the line is clean."""
    clock, screen = FakeClock(), Screen(terminal=True)
    with Progress(clock, screen) as progress:
        for number in range(12):
            progress.tell(f"{number} rows")
            await clock.advance(SECOND / 10)
        progress.tell("12 rows")
        await clock.advance(SECOND / 20)
        progress.tell("too soon")
    assert screen.getvalue() == "\r\033[K10 rows\r\033[K12 rows\r\033[K"


async def test_a_short_command() -> None:
    """What is done within a second says nothing at all."""
    clock, screen = FakeClock(), Screen(terminal=True)
    with Progress(clock, screen) as progress:
        progress.tell("1 row")
    assert screen.getvalue() == ""


async def test_no_terminal() -> None:
    """Where standard error is no terminal nothing is said, however long it takes."""
    clock, screen = FakeClock(), Screen(terminal=False)
    with Progress(clock, screen) as progress:
        await clock.advance(10 * SECOND)
        progress.tell("1 row")
    assert screen.getvalue() == ""
