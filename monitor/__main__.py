"""`python -m monitor` is `postpost-monitor`: what must be so before any library is loaded."""

import os
import signal
import sys


def main() -> int:
    """Run the command; returns the exit code."""
    # Python dies of a SIGHUP that comes before there is a handler, and loading takes a second.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if sys.argv[1:2] == ["run"]:
        # Until `run` takes its signals itself nothing is in hand: a stop that comes so early is a clean one too.
        signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))
    from monitor.cli.main import main as run  # noqa: PLC0415 - after the signal, see above

    return run()


if __name__ == "__main__":
    sys.exit(main())
