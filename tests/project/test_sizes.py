"""Everything stays small enough to be read in one go."""

from statistics import median

from tests.project.source import all_docstring_lines, docstring_lines, functions, modules

MODULE_LINES = 300
FUNCTION_LINES = 60
MEDIAN_FUNCTION_LINES = 10

LONG_MODULES: dict[str, str] = {
    "monitor/domain/model.py": "all values of the program in one place, to be read from top to bottom like a glossary",
}
"""Path -> why this module is better long than cut."""

LONG_FUNCTIONS: dict[str, str] = {}
"""`path:Class.function` -> why this function is better long than cut."""


def test_modules() -> None:
    """No module has more than 300 lines, docstrings not counted, but for those that say why."""
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
