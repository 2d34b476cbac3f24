"""
`make bench` runs every benchmark; `make bench ARGS="decide"` those whose name has one of the given words in it.

A benchmark is a file `bench_NAME.py` with `measure()`, which gives the results to print. Its docstring says what is
compared with what: both sides run here, in one process, one after the other, so that a slow machine slows both.
With `--write` the results also take the place of the last ones in docs/explanation/performance.md.
"""

import importlib
import os
import platform
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.result import Result

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "performance.md"


def main(words: list[str]) -> int:
    """Run the benchmarks that *words* name, all without any; the exit status is 2 when none is named so."""
    write = "--write" in words
    words = [word for word in words if word != "--write"]
    names = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    chosen = [name for name in names if not words or any(word in name for word in words)]
    if not chosen:
        print(f"no benchmark is named so; there are: {' '.join(names)}", file=sys.stderr)
        return 2
    for name in chosen:
        benchmark = importlib.import_module(f"tests.bench.bench_{name}")
        print(f"{name}: {(benchmark.__doc__ or '').strip().splitlines()[0]}")
        results: list[Result] = []
        for result in benchmark.measure():
            print(result, flush=True)
            results.append(result)
        if write:
            PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), name, table(results)), encoding="utf-8")
    return 0


def table(results: Sequence[Result]) -> str:
    """The *results* in Markdown, with when and where they were measured."""
    rows = [f"| {one.what} | {one.value:.3g} {one.unit} | {one.target} | {one.verdict} |" for one in results]
    where = f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.release().partition('-')[0]}, Python {platform.python_version()}"
    load = f"{os.cpu_count()} CPUs, of which {os.getloadavg()[2]:.1f} were in use"
    return "\n".join([f"{where}, {load}:", "", "| what | measured | target | |", "|---|---|---|---|", *rows])


def renewed(page: str, name: str, text: str) -> str:
    """*page* with *text* as the results of the benchmark called *name*."""
    return re.sub(f"(<!-- results of {name} -->\n).*?(<!-- end -->)", lambda found: f"{found[1]}{text}\n{found[2]}", page, flags=re.DOTALL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
