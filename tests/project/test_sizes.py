"""Everything stays small enough to be read in one go."""

import ast
from collections import Counter
from statistics import median

from tests.project.source import all_docstring_lines, docstring_lines, functions, modules

FUNCTION_LINES = 60
MEDIAN_FUNCTION_LINES = 10
MODULE_LINES = 500
BUDGET = 51_600
"""Lines of `monitor/`, all counted."""

PACKAGE_BUDGETS = {
    "cli": 5_300,
    "cluster": 1_000,
    "config": 4_250,
    "db": 5_750,
    "domain": 11_600,
    "http": 1_050,
    "metrics": 900,
    "notify": 1_950,
    "postpost": 1_050,
    "runtime": 700,
    "schemas": 1_450,
    "simulator": 2_350,
    "state": 1_700,
    "text": 2_300,
    "web": 7_100,
    "workers": 2_200,
}
"""Package -> how many lines it may have. Raise one only with a reason in the commit."""

LONG_MODULES: dict[str, str] = {
    "monitor/domain/notifications/decide.py": "the one decision, and every reason against a notification",
    "monitor/domain/engine.py": "what is in memory and one change of it: apart they would reach into each other",
}
"""Path -> why this module is one topic although it has more than 500 lines."""

LONG_FUNCTIONS: dict[str, str] = {}
"""`path:Class.function` -> why this function is better long than cut."""


def test_budgets() -> None:
    """The whole package and each of its packages stay within their budgets."""
    lines: Counter[str] = Counter()
    for module in modules("monitor"):
        lines[module.shown.split("/")[1]] += len(module.text.splitlines())

    assert sum(lines.values()) <= BUDGET
    assert {package: lines[package] for package, budget in PACKAGE_BUDGETS.items() if lines[package] > budget} == {}
    assert {part for part in lines if not part.endswith(".py")} == set(PACKAGE_BUDGETS)


def test_modules() -> None:
    """A module is a topic of at most 500 lines, docstrings not counted, but for those that say why."""
    sizes = {module.shown: len(module.text.splitlines()) - all_docstring_lines(module.tree) for module in modules("monitor")}

    assert {path: size for path, size in sizes.items() if size > MODULE_LINES and path not in LONG_MODULES} == {}
    assert [path for path in LONG_MODULES if sizes.get(path, 0) <= MODULE_LINES] == [], "these need no exception any more"


def test_functions() -> None:
    """No function has more than 60 lines, docstrings not counted, but for those that say why; half have at most ten."""
    sizes = {
        name: (function.end_lineno or 0) - function.lineno + 1 - docstring_lines(function)
        for module in modules("monitor")
        for name, function in functions(module)
    }

    assert {name: size for name, size in sizes.items() if size > FUNCTION_LINES and name not in LONG_FUNCTIONS} == {}
    assert [name for name in LONG_FUNCTIONS if sizes.get(name, 0) <= FUNCTION_LINES] == [], "these need no exception any more"
    assert median(sizes.values()) <= MEDIAN_FUNCTION_LINES


def test_class_names() -> None:
    """No class name stands twice in the package: a name leads to one place."""
    names = Counter(node.name for module in modules("monitor") for node in module.tree.body if isinstance(node, ast.ClassDef))

    assert [name for name, count in names.items() if count > 1] == []
