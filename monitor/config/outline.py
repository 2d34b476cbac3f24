"""The shape of the configuration, read from the section models: which keys there are, and which sections lie below them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from monitor.config.document import Path
from monitor.config.values import Section


@dataclass(frozen=True, slots=True)
class Key:
    """
    One key of a section.

    Attributes:
        name: as the file spells it.
        attribute: as Python spells it.
        section: the section below it, if any.
        shape: whether the key holds a plain value or section, a list, or a mapping by name.
    """

    name: str
    attribute: str
    field: FieldInfo
    section: type[Section] | None
    shape: Literal["plain", "list", "mapping"]


def keys(section: type[Section]) -> Iterator[Key]:
    """The keys of *section*, in the order of the documentation."""
    for attribute, field in section.model_fields.items():
        if not field.exclude:
            shape, below = _below(field.annotation)
            yield Key(field.alias or attribute, attribute, field, below, shape)


def _below(annotation: Any) -> tuple[Literal["plain", "list", "mapping"], type[Section] | None]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return "list", _as_section(arguments[0])
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return "mapping", _as_section(arguments[1])
    return "plain", _as_section(annotation)


def _as_section(annotation: Any) -> type[Section] | None:
    """The section that *annotation* stands for, which may be None too."""
    rest = [one for one in get_args(annotation) if one is not type(None)]
    if len(rest) == 1 and len(get_args(annotation)) == 2:
        annotation = rest[0]
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def section_at(top: type[Section], path: Path) -> type[Section] | None:
    """The section that *path* leads to from *top*, through lists and mappings; None where there is none."""
    section: type[Section] | None = top
    steps = list(path)
    while steps and section is not None:
        step = steps.pop(0)
        key = next((key for key in keys(section) if key.name == step), None)
        if key is None:
            return None
        section = key.section
        if key.shape != "plain" and steps:
            steps.pop(0)
    return section
