"""
The structure of `monitor/` in numbers: sizes, imports, names, and the functions that one check goes through.

    python -m tests.bench.structure                                     this tree
    cd OTHER && PYTHONPATH=OTHER python THIS/tests/bench/structure.py   another tree, such as an earlier release

It knows the program from outside only: its source files, `.importlinter`, the verbs `run` and `simulate`, the names of loops
(label `loop` of the metrics) and of the writer's thread. So it works before and after modules are moved or renamed.

What is counted:

- lines, modules: of every Python file, empty `__init__.py` included; "with code" leaves out those with a docstring only.
- import edges: pairs of different modules of `monitor` of which one imports the other, anywhere in its file; `from package import
  module` counts for the module.
- class names twice: names of classes, nested ones included, that stand in more than one place of `monitor/`.
- parts: what stands directly in `monitor/` (modules, packages, and the root's own `__init__`); an arrow is a pair of parts of which
  one imports the other, imports of the root's version not counted; it points up when `.importlinter` puts the importer on a lower layer, or beside the imported on a layer
  whose members are independent (`|`).
- a passing check: one step of a checker's loop that asks the API and finds what it found before, with the writer's transaction and
  the callback after it. A failing check: the step that confirms an error, with the transaction, and the step of the deliverer's loop
  that sends the webhook and records the attempt.
- functions: different code objects of `monitor` that were entered, methods generated for dataclasses (`__init__`, `__eq__`) not
  counted, comprehensions and lambdas counted; modules: where these stand; calls: entries of a function by a function of another
  module of `monitor` (directly, or through a library); a resumed coroutine or generator counts once.
- Of several checks, of connections whose tokens end, the one with the fewest calls is shown: other work of the writer only adds.
"""

import argparse
import ast
import asyncio
import concurrent.futures
import configparser
import contextvars
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import monitor

ROOT = Path(monitor.__file__).parent.parent
SMALL_LINES = 60
PASSING = 20
"""So many checks are made before the first connection is broken."""

_CONNECTIONS = ("linkedin-Tz9W5i6ZYG", "threads-17841412345678", "instagram-17841412345678", "facebook-104857600123")
_CONFIG = """\
api: {{base_url: "{api}", requests_per_second: 100, concurrency: 1}}
accounts: [{{name: main, api_key: "{key}", discover: "off"}}]
connections: {connections}
schedule: {{interval: 10s, recheck: 1s}}
policy: {{digest: {{after: 10000}}}}
receivers: [{{name: on-call, type: webhook, url: "{hook}"}}]
database: {{url: "sqlite:///{folder}/monitor.db"}}
web: {{listen: "127.0.0.1:0"}}
logging: {{level: warning}}
"""
_WRITER = "database-writer"
_PATIENCE_SECONDS = 60.0


# the source


@dataclass(frozen=True)
class Module:
    """One source file."""

    name: str
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        """How many lines it has."""
        return len(self.text.splitlines())

    @property
    def has_code(self) -> bool:
        """Whether there is more in it than a docstring."""
        return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in self.tree.body)


def read(folder: Path) -> dict[str, Module]:
    """Every module below *folder* by its dotted name."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        found[name] = Module(name, text, ast.parse(text, str(path)))
    return found


def edges(modules: dict[str, Module]) -> set[tuple[str, str]]:
    """Importer and imported, for every import of one of *modules* by another one."""
    found = set()
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            targets = {name if name in modules else name.rpartition(".")[0] for name in names}
            found |= {(module.name, target) for target in targets if target in modules and target != module.name}
    return found


def small_with_one_importer(modules: dict[str, Module], imports: set[tuple[str, str]]) -> list[str]:
    """The modules under sixty lines that exactly one other one imports; `__init__` and `__main__` left out."""
    importers = Counter(imported for _, imported in imports)
    packages = {name.rpartition(".")[0] for name in modules}
    return [
        name
        for name, module in modules.items()
        if importers[name] == 1 and module.lines < SMALL_LINES and name not in packages and not name.endswith("__main__")
    ]


def classes_twice(modules: dict[str, Module]) -> dict[str, int]:
    """Class name -> in how many places, for those in more than one."""
    names = Counter(node.name for module in modules.values() for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef))
    return {name: count for name, count in sorted(names.items()) if count > 1}


def part(name: str) -> str:
    """The top-level part that a module belongs to; "" for the root package itself."""
    return name.split(".")[1] if "." in name else ""


def floors(path: Path) -> list[tuple[set[str], bool]]:
    """The layers of `.importlinter` from the top: who is on it, and whether they must not import each other."""
    config = configparser.ConfigParser()
    config.read(path, encoding="utf-8")
    # Independent siblings are separated by |, others by a colon; a name in brackets may be missing.
    lines = config["importlinter:contract:layers"]["layers"].split("\n")
    return [(set(re.findall(r"\w+", line)), ":" not in line) for line in lines if line.strip()]


def upward(arrows: set[tuple[str, str]], layers: list[tuple[set[str], bool]]) -> list[tuple[str, str]]:
    """The arrows that point up, or between independent siblings."""
    at = {name: number for number, (names, _) in enumerate(layers) for name in names}
    return sorted(
        (importer, imported)
        for importer, imported in arrows
        if importer in at and imported in at and (at[importer] > at[imported] or (at[importer] == at[imported] and layers[at[importer]][1]))
    )


# the calls


@dataclass(frozen=True, slots=True)
class Entered:
    """
    A function that was entered.

    Attributes:
        at: seconds since the epoch.
        where: the loop on whose behalf, or the name of the thread.
        in_task: whether the loop's own task is running, not a callback it left behind.
        depth: how many functions of ours are above it in the stack.
        caller, callee: modules; *caller* is "" where none of ours is above.
        made: whether the function is generated, as a dataclass's `__init__` is.
    """

    at: float
    where: str
    in_task: bool
    depth: int
    caller: str
    callee: str
    code: CodeType
    made: bool


class Trace:
    """Every entry of a function of `monitor`, in all threads, from `start` on."""

    def __init__(self) -> None:
        self.entered: list[Entered] = []
        self._loop: contextvars.ContextVar[str] = contextvars.ContextVar("loop", default="")

    def start(self) -> None:
        """Begin; call it before the threads are made."""
        _hand_context_to_pools()
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)

    def stop(self) -> None:
        """No longer look at new threads and this one."""
        sys.setprofile(None)
        threading.setprofile(None)

    def _profile(self, frame: FrameType, event: str, _argument: object) -> None:
        if event != "call" or _is_resumed(frame):
            return
        module = frame.f_globals.get("__name__", "")
        if not (module == "monitor" or module.startswith("monitor.")):
            return
        depth, caller = _above(frame)
        where, in_task = self._where()
        made = not frame.f_code.co_filename.endswith(".py")
        self.entered.append(Entered(time.time(), where, in_task, depth, caller, module, frame.f_code, made))

    def _where(self) -> tuple[str, bool]:
        """On whose behalf: a loop's context is inherited by the callbacks it leaves behind."""
        if threading.current_thread() is not threading.main_thread():
            return self._loop.get() or threading.current_thread().name, False
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return "", False
        if task is None:
            return self._loop.get(), False
        name = task.get_name()
        if name.startswith(("checker-", "deliverer-")):
            self._loop.set(name.partition("-")[0])
            return name.partition("-")[0], True
        return self._loop.get(), False


def _is_resumed(frame: FrameType) -> bool:
    """Whether a coroutine or generator goes on: then the instruction RESUME has an argument."""
    return frame.f_lasti >= 0 and frame.f_code.co_code[frame.f_lasti + 1] != 0


def _above(frame: FrameType) -> tuple[int, str]:
    """How many functions of ours called this one, one by another, and the module of the last of them."""
    depth, caller = 0, ""
    above = frame.f_back
    while above is not None and not (above.f_code.co_name == "_run" and above.f_code.co_filename.endswith("asyncio/events.py")):
        module = above.f_globals.get("__name__", "")
        if module == "monitor" or module.startswith("monitor."):
            depth += 1
            caller = caller or module
        above = above.f_back
    return depth, caller


def _hand_context_to_pools() -> None:
    """Let the work of a thread pool run in the context of who asked for it, so that it is known on whose behalf."""
    submit = concurrent.futures.ThreadPoolExecutor.submit

    def with_context(self: Any, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return submit(self, contextvars.copy_context().run, call, *args, **kwargs)

    concurrent.futures.ThreadPoolExecutor.submit = with_context  # type: ignore[method-assign]


@dataclass(frozen=True, slots=True)
class Way:
    """What one check went through."""

    entered: tuple[Entered, ...]

    @property
    def functions(self) -> set[CodeType]:
        """Every function, once."""
        return {one.code for one in self.entered if not one.made}

    @property
    def modules(self) -> set[str]:
        """Every module that one of the functions stands in."""
        return {one.callee for one in self.entered if not one.made}

    @property
    def calls(self) -> int:
        """How often a function of one module called one of another."""
        return sum(one.caller not in ("", one.callee) for one in self.entered if not one.made)


def steps(entered: Sequence[Entered], loop: str, moments: Sequence[float]) -> Iterator[tuple[int, int]]:
    """First and last index of the steps of *loop* within which one of *moments* lies."""
    tasks, calls = (
        [index for index, one in enumerate(entered) if one.where == loop and one.in_task and one.depth == depth] for depth in (0, 1)
    )
    # A task for each step, or one task that makes all steps.
    starts = tasks if len(tasks) > len(moments) else calls
    for first, after in pairwise(starts):
        if any(entered[first].at <= moment < entered[after].at for moment in moments):
            yield first, after


def passing(entered: Sequence[Entered], moments: Sequence[float]) -> list[Way]:
    """The ways of the passing checks that asked the API at *moments*, each until the next one begins: those that are recorded by then."""
    found = list(steps(entered, "checker", moments))
    ways = (Way(tuple(_of_check(entered, first, after, begins))) for (first, after), (begins, _) in pairwise(found))
    return [way for way in ways if any(one.where == _WRITER for one in way.entered)]


def failing(entered: Sequence[Entered], asked: Sequence[float], sent: Sequence[float]) -> list[Way]:
    """The ways of the checks that made a webhook arrive at one of the moments *sent*, until the next check begins."""
    checks = list(steps(entered, "checker", asked))
    found = []
    for (first, after), (begins, _) in pairwise(checks):
        if any(entered[first].at <= moment < entered[begins].at for moment in sent):
            sending = (one for one in entered[first:begins] if one.where == "deliverer")
            found.append(Way((*_of_check(entered, first, after, begins), *sending)))
    return found


def _of_check(entered: Sequence[Entered], first: int, after: int, until: int) -> Iterator[Entered]:
    """What the step of a checker did, and what followed of it in callbacks and the writer's thread."""
    for index in range(first, until):
        one = entered[index]
        if one.where == _WRITER or (one.where == "checker" and (index < after or not one.in_task)):
            yield one


# the program at work


class Rehearsal(threading.Thread):
    """Steers the simulated API while the daemon runs in the main thread, and ends the daemon."""

    def __init__(self, api: str, hook: str) -> None:
        super().__init__(name="rehearsal", daemon=True)
        self._api = api
        self._hook = hook
        self.asked: list[float] = []
        self.broken_at = 0.0
        self.sent: list[float] = []
        self.problem = ""

    def run(self) -> None:
        """Let checks pass, break one connection after the other, then stop the daemon."""
        try:
            self._until(lambda: len(self._requests()) >= PASSING)
            self.broken_at = time.time()
            for number, platform_id in enumerate(_CONNECTIONS, start=1):
                _fetch(f"{self._api}/_sim/connections/{platform_id}/break", {})
                self._until(lambda number=number: len(self._received()) >= number)  # type: ignore[misc]
            # The attempt is recorded after its answer, and the loop comes round once more.
            asked = len(self._requests())
            self._until(lambda: len(self._requests()) >= asked + 2 * len(_CONNECTIONS))
            self.asked, self.sent = self._requests(), self._received()
        except Exception as error:  # noqa: BLE001 - shown by the main thread
            self.problem = repr(error)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def _requests(self) -> list[float]:
        rows = _fetch(f"{self._api}/_sim/requests?last=10000")["last"]
        return sorted(datetime.fromisoformat(row["at"]).timestamp() for row in rows if "/test-connection/" in row["request"])

    def _received(self) -> list[float]:
        rows = _fetch(f"{self._hook.removesuffix('/hook')}/_received?last=1000")["received"]
        return sorted(datetime.fromisoformat(row["received_at"]).timestamp() for row in rows)

    def _until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("the daemon did not get on")
            time.sleep(0.2)


def _fetch(url: str, document: Any = None) -> Any:
    data = None if document is None else json.dumps(document).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=10) as answer:
        return json.load(answer)


def walk() -> tuple[list[Way], list[Way]]:
    """The ways of passing and of failing checks through the real daemon in this process, against the simulator in another one."""
    command = [sys.executable, "-u", "-m", "monitor", "simulate", "--port", "0", "--receiver-port", "0"]
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as simulator:
        try:
            return _walk(Path(folder), simulator)
        finally:
            simulator.terminate()


def _walk(folder: Path, simulator: "subprocess.Popen[str]") -> tuple[list[Way], list[Way]]:
    assert simulator.stdout is not None
    said = ""
    while "Ctrl-C" not in said:
        said += simulator.stdout.readline()
    found = {name: re.search(rf"  {name} +(\S+)", said) for name in ("API", "receiver", "key")}
    api, hook, key = (match[1] if match else "" for match in found.values())
    path = folder / "config.yaml"
    path.touch(mode=0o600)
    connections = json.dumps([{"id": one, "account": "main"} for one in _CONNECTIONS])
    path.write_text(_CONFIG.format(api=api, hook=hook, key=key, folder=folder, connections=connections))
    rehearsal = Rehearsal(api.removesuffix("/api/v1"), hook)
    rehearsal.start()
    trace = Trace()
    trace.start()
    try:
        _daemon(path)
    finally:
        trace.stop()
    if rehearsal.problem:
        raise SystemExit(f"no trace: {rehearsal.problem}")
    healthy = [at for at in rehearsal.asked if at < rehearsal.broken_at]
    # The first checks of all are of connections without a state.
    return passing(trace.entered, healthy[2 * len(_CONNECTIONS) :]), failing(trace.entered, rehearsal.asked, rehearsal.sent)


def _daemon(path: Path) -> None:
    # The entry point, the one place that stays where it is.
    from monitor.__main__ import main

    sys.argv[1:] = ["run", "--config", str(path)]
    main()


# the table


def table() -> Iterator[tuple[str, str]]:
    """What is measured, and the number."""
    modules, tests = read(ROOT / "monitor"), read(ROOT / "tests")
    imports = edges(modules)
    small, twice = small_with_one_importer(modules, imports), classes_twice(modules)
    arrows = {(part(one), part(other)) for one, other in imports if part(other) not in ("", part(one))}
    layers = floors(ROOT / ".importlinter")
    up = upward(arrows, layers)
    importers = Counter(imported for _, imported in imports)
    yield "monitor/: lines", _sum(modules)
    yield "monitor/: modules (with code)", f"{len(modules)} ({sum(one.has_code for one in modules.values())})"
    yield "tests/: lines", _sum(tests)
    yield "tests/: modules", str(len(tests))
    yield "import edges", str(len(imports))
    alone = [name for name in modules if importers[name] == 1]
    yield "modules with exactly one importer", f"{len(alone)} ({sum(modules[name].lines for name in alone)} lines)"
    yield f"  of these under {SMALL_LINES} lines", f"{len(small)}"
    yield "class names that exist twice", str(len(twice))
    yield "top-level parts", str(len({part(name) for name in modules}))
    yield "  layers of .importlinter", str(len(layers))
    yield "  arrows between parts", str(len(arrows))
    yield "  arrows upwards", str(len(up))
    for title, names in (
        ("one importer", small),
        ("classes twice", [f"{name} {count}" for name, count in twice.items()]),
        ("upwards", [" -> ".join(one) for one in up]),
    ):
        if names:
            yield f"  {title}:", ", ".join(names)


def _sum(modules: dict[str, Module]) -> str:
    return str(sum(one.lines for one in modules.values()))


def ways(title: str, found: Sequence[Way], *, names: bool) -> Iterator[tuple[str, str]]:
    """The rows of one kind of check."""
    way = min(found, key=lambda one: one.calls)
    yield f"{title}: modules", str(len(way.modules))
    yield f"{title}: functions", str(len(way.functions))
    yield f"{title}: calls from module to module", str(way.calls)
    yield f"  fewest of {len(found)}; the most were", str(max(one.calls for one in found))
    if names:
        functions = defaultdict(set)
        for one in way.entered:
            if not one.made:
                functions[one.callee].add(one.code)
        for module, codes in sorted(functions.items()):
            yield f"  {module}", f"{len(codes)}: {' '.join(sorted(code.co_name for code in codes))}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure the structure of monitor/.")
    parser.add_argument("--names", action="store_true", help="also show the functions that a check goes through")
    parser.add_argument("--source", action="store_true", help="only what the source shows; nothing is run")
    args = parser.parse_args()
    rows = list(table())
    if not args.source:
        good, bad = walk()
        rows += [*ways("a passing check", good, names=args.names), *ways("a failing check", bad, names=args.names)]
    for what, number in rows:
        print(f"{what:<48} {number}", flush=True)


if __name__ == "__main__":
    main()
