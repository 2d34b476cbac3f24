"""What the documentation says of each key: the text below it in the source of its section."""

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

from monitor.config.types import Key, Section


def meaning_of(section: type[Section], key: Key) -> str:
    """The documentation of one *key* of *section*; empty if it has none."""
    texts = (_texts(base.__module__, base.__name__).get(key.attribute) for base in section.__mro__ if issubclass(base, Section))
    return key.field.description or next(filter(None, texts), "")


@cache
def _texts(module: str, name: str) -> dict[str, str]:
    """Attribute to the text below it, of the class *name*; empty for one that is made from a dataclass."""
    return dict(_documented(next((each for each in _tree(module).body if isinstance(each, ast.ClassDef) and each.name == name), None)))


def _documented(section: ast.ClassDef | None) -> Iterator[tuple[str, str]]:
    for item, below in pairwise(section.body if section is not None else ()):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            match below:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield item.target.id, inspect.cleandoc(text)


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(sys.modules[module]))
