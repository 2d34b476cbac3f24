"""`replace` and `quick_init` for the values that every check makes: the same as the library does, at a fraction of its cost."""

import dataclasses
import types
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["quick_init", "replace"]

_Value = TypeVar("_Value")
_Kind = TypeVar("_Kind", bound=type[Any])

# Slots of a frozen value can't be assigned; those of a blank with the same layout can, until it becomes such a value.
_COPY = """
def copy(value, changes):
    new = blank()
    {assignments}
    for name, changed in changes.items():
        setattr(new, name, changed)
    new.__class__ = kind
    return new
"""
_NEW = """
def __new__(cls, {parameters}):
    new = blank()
    {assignments}
    new.__class__ = cls
    return new
"""


def quick_init(kind: _Kind) -> _Kind:
    """Have instances of the frozen dataclass *kind* made by `__new__`, in a quarter of the time; not for what `db.codec` reads."""
    made: dict[str, Any] = {"blank": _blank(kind), "missing": dataclasses.MISSING}
    parameters, assignments = ["*"] if dataclasses.fields(kind)[0].kw_only else [], []
    for field in dataclasses.fields(kind):
        name, default, value = field.name, f"default_{field.name}", field.name
        if field.default_factory is not dataclasses.MISSING:
            made[default] = field.default_factory
            parameters.append(f"{name}=missing")
            value = f"{default}() if {name} is missing else {name}"
        elif field.default is not dataclasses.MISSING:
            made[default] = field.default
            parameters.append(f"{name}={default}")
        else:
            parameters.append(name)
        assignments.append(f"new.{name} = {value}")
    # As the library makes `__init__`; the names are those of the program's own fields.
    exec(_NEW.format(parameters=", ".join(parameters), assignments="; ".join(assignments)), made)  # noqa: S102
    names = [field.name for field in dataclasses.fields(kind)]
    kind.__new__, kind.__init__ = made["__new__"], object.__init__
    # For `copy` and `pickle`, which call `__new__`.
    kind.__getnewargs_ex__ = lambda value: ((), {name: getattr(value, name) for name in names})
    return kind


def _blank(kind: Any) -> type:
    """A class with the bases and slots of *kind*, which can be set."""
    slots = {"__slots__": tuple(field.name for field in dataclasses.fields(kind))}
    return types.new_class(kind.__name__, vars(kind).get("__orig_bases__", ()), exec_body=lambda body: body.update(slots))


def _replace(value: _Value, /, **changes: Any) -> _Value:
    """A copy of the frozen *value* with *changes*."""
    kind: Any = type(value)
    copy = _copier(kind)
    changed: _Value = dataclasses.replace(value, **changes) if copy is None else copy(value, changes)  # type: ignore[type-var]
    return changed


@cache
def _copier(kind: Any) -> Callable[[Any, Mapping[str, Any]], Any] | None:
    """What copies a value of *kind*; None for a kind whose values only its own `__init__` may make."""
    names = [field.name for field in dataclasses.fields(kind)]
    # A kind with fields of a base has another layout than one that has them all itself.
    if set(vars(kind).get("__slots__", ())) != set(names) or hasattr(kind, "__post_init__") or len(names) < 2:
        return None
    made: dict[str, Any] = {"blank": _blank(kind), "kind": kind}
    exec(_COPY.format(assignments="; ".join(f"new.{name} = value.{name}" for name in names)), made)  # noqa: S102 - as above
    copy: Callable[[Any, Mapping[str, Any]], Any] = made["copy"]
    return copy


if TYPE_CHECKING:
    # Of the library's function the type checker knows which names and types may be changed.
    from dataclasses import replace
else:
    replace = _replace
