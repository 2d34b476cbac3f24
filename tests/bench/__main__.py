"""
`make bench` runs every benchmark; `make bench ARGS="decide"` those whose name has one of the given words in it.

A benchmark is a file `bench_NAME.py` with `measure()`, which gives the results to print. Its docstring says what is
compared with what: both sides run here, in one process, one after the other, so that a slow machine slows both.
"""

import importlib
import sys
from pathlib import Path


def main(words: list[str]) -> int:
    """Run the benchmarks that *words* name, all without any; the exit status is 2 when none is named so."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))
    chosen = [name for name in names if not words or any(word in name for word in words)]
    if not chosen:
        print(f"no benchmark is named so; there are: {' '.join(name.removeprefix('bench_') for name in names)}", file=sys.stderr)
        return 2
    for name in chosen:
        benchmark = importlib.import_module(f"tests.bench.{name}")
        print(f"{name.removeprefix('bench_')}: {(benchmark.__doc__ or '').strip().splitlines()[0]}")
        for result in benchmark.measure():
            print(result, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
