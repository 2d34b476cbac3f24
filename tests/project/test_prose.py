"""The domain decides and does not word anything: sentences for people are in `monitor/text`."""

import ast
from collections.abc import Iterator

from tests.project.source import Module, modules

EXCEPTIONS = {
    "monitor/domain/connections.py": "why a configured id is refused",
    "monitor/domain/expiry/interval.py": "the message of an exception that only a fault of the program raises",
    "monitor/domain/replies/platform_texts.py": "why an entry of the table is refused",
    "monitor/domain/copies.py": "the functions that it makes",
    "monitor/domain/replies/token_life.py": "the grammar of the API's texts",
    "monitor/domain/replies/verdicts.py": "patterns of the platforms' texts, and why a configured pattern is refused",
}
"""File -> why it may hold strings of several words."""


def _docstrings(module: Module) -> set[int]:
    bodies = [node.body for node in ast.walk(module.tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    return {id(statement.value) for body in bodies for statement in body if isinstance(statement, ast.Expr)}


def _prose(module: Module) -> Iterator[str]:
    """String constants of three or more words that are not documentation."""
    documentation = _docstrings(module)
    for node in ast.walk(module.tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in documentation
            and len(node.value.split()) >= 3
        ):
            yield f"{module.shown}:{node.lineno}: {node.value!r}"


def test_domain_holds_no_prose() -> None:
    """No module of the domain has a string of three or more words, apart from the exceptions, each of which is still needed."""
    prose = {module.shown: list(_prose(module)) for module in modules("monitor/domain")}

    assert [line for shown, lines in prose.items() if shown not in EXCEPTIONS for line in lines] == []
    assert [shown for shown in EXCEPTIONS if not prose[shown]] == []
