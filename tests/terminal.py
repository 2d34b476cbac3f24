"""A pseudo terminal for tests: a program runs on it, its size changes, keys are pressed, and what it shows is read."""

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.waiting import patience

_ESCAPE = re.compile(r"\033\[([?0-9;]*)([A-Za-z])")


class Stream(io.StringIO):
    """A terminal, or not."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        """As constructed."""
        return self.terminal


@dataclass
class Terminal:
    """The terminal that *process* runs on; `text` is everything that it was sent."""

    process: subprocess.Popen[bytes]
    master: int
    text: str = ""

    def resize(self, lines: int, columns: int) -> None:
        """Change the size, as a window does."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def press(self, keys: bytes) -> None:
        """Press keys; the terminal makes a signal of Ctrl-C by itself."""
        os.write(self.master, keys)

    def read_until(self, condition: Callable[[str], object]) -> str:
        """Read until what came since the last call fulfils *condition*; gives that."""
        begun, end = len(self.text), time.monotonic() + patience()
        while not condition(self.text[begun:]):
            assert time.monotonic() < end, f"it never came: {self.text[begun:]!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.master, 65536).decode(errors="replace")
                except OSError:
                    break
        return self.text[begun:]

    def picture(self) -> list[str]:
        """What stands on the terminal after all that was sent, escapes obeyed as far as this program uses them."""
        return picture(self.text)


def picture(text: str) -> list[str]:
    """The lines that *text* leaves on an empty terminal."""
    lines, row, column = [""], 0, 0
    position = 0
    while position < len(text):
        found = _ESCAPE.match(text, position)
        if found is not None:
            position = found.end()
            if found[2] == "H":
                row = column = 0
            elif found[2] == "K":
                lines[row] = lines[row][:column]
            elif found[2] == "J":
                del lines[row + 1 :]
                lines[row] = lines[row][:column]
            elif found[0] in ("\033[?1049h", "\033[?1049l"):
                lines, row, column = [""], 0, 0
            continue
        letter, position = text[position], position + 1
        if letter == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif letter == "\r":
            column = 0
        else:
            lines[row] = lines[row][:column].ljust(column) + letter + lines[row][column + 1 :]
            column += 1
    return lines


@contextmanager
def on_terminal(
    words: Sequence[str], *, lines: int = 24, columns: int = 80, environment: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """The program `python -m monitor WORDS` on a terminal of this size."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    own = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")} | {"TERM": "xterm-256color"}
    process = subprocess.Popen(
        [sys.executable, "-m", "monitor", *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - the terminal's Ctrl-C goes to whom it controls
        env=own | dict(environment or {}),
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)
