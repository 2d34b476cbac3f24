"""`python -m monitor` is `postpost-monitor`: what must be so before any library is loaded."""

import gc
import os
import signal
import sys
from contextlib import suppress

# Neither loading nor a check leaves reference cycles worth looking for; to collect after every 700 new objects, as Python does by
# default, takes a tenth of a start and 5 % of the CPU with ten thousand connections, and with 100,000 more than a third of a start.
_GC = (200_000, 20, 20)

_ARENA_MAX = -8


def main() -> int:
    """Run the command; returns the exit code."""
    # Python dies of a SIGHUP that comes before there is a handler, and loading takes a second.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if sys.argv[1:2] == ["run"]:
        # Until `run` takes its signals itself nothing is in hand: a stop that comes so early is a clean one too.
        signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))
        import ctypes  # noqa: PLC0415 - other commands do without

        # glibc gives threads heaps of their own, which stay half empty: 7 MB with ten thousand connections.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)
    gc.set_threshold(*_GC)
    # To look for plugins of pydantic, the metadata of every installed distribution is read; no plugin is wanted.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from monitor.cli.main import main as run  # noqa: PLC0415 - after these, see above

    exit_code = run()
    # Python looks for cycles several times while it ends; nothing is left that needs it, and it takes a fifth of a short verb.
    gc.freeze()
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
