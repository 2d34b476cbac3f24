"""`config show` and `config schema`: the configuration as YAML with secrets masked, and its JSON schema for editors."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import yaml
from pydantic_core import to_jsonable_python

from monitor.config.documentation import meaning_of
from monitor.config.model import Config
from monitor.config.secrets import Secret
from monitor.config.sections.policy import ExpirySettings, PlatformSettings, expiry_by_platform
from monitor.config.types import Key, Section, keys
from monitor.config.yaml import Path, YamlDocument, parse
from monitor.domain.connections import ConnectionSpec
from monitor.text.durations import format_duration

_UNFOLDED = 1_000_000
"""A width at which no value is folded."""


def as_yaml(config: Config, document: YamlDocument | None = None) -> str:
    """The configuration in effect as YAML, secrets masked; with *document*, a comment behind each given value names its file and line."""
    shown = config.masked()
    entries = config.entries()
    for connection, item in zip(config.connections, shown["connections"], strict=True):
        if connection.match is None:
            item.update(_effective(entries.spec(connection.key, listed=False)))
    platforms = expiry_by_platform(config.policy_settings)
    sections = {
        name: ExpirySettings(**{key: getattr(policy, key) for key in ExpirySettings.model_fields}) for name, policy in platforms.items()
    }
    shown["policy"]["platforms"] = {name: {"expiry": section.masked()} for name, section in sections.items()}
    if document is None:
        return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=120)
    text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=_UNFOLDED)
    return "\n".join(_with_origins(text, document)) + "\n"


def _effective(spec: ConnectionSpec) -> dict[str, Any]:
    """What all entries that apply make of a connection."""
    return {
        "name": spec.name,
        "labels": dict(spec.labels),
        "interval": format_duration(spec.interval),
        "expect": spec.expect,
        "require_permissions": list(spec.require_permissions),
    }


def _with_origins(text: str, document: YamlDocument) -> Iterator[str]:
    """The lines of *text*, a configuration as YAML, each with the place of the value that begins on it and ends there."""
    shown = parse(text, "")
    starts: dict[int, list[Path]] = {}
    for path, number in shown.lines.items():
        starts.setdefault(number, []).append(path)
    for number, line in enumerate(text.splitlines(), start=1):
        paths = starts.get(number, [])
        # The innermost value of a line: the first key of an entry stands on the line of the entry.
        path = max(paths, key=len, default=())
        plain = path and not isinstance(shown.at(path), dict | list) and "\n" not in str(shown.at(path))
        origin = next((candidate for candidate in _spellings(path) if candidate in document.lines), None) if plain else None
        yield line if origin is None else f"{line}  # {document.location(origin)}"


def _spellings(path: Path) -> Iterator[Path]:
    """How the file may have given the value at *path*: as it is, by a file that contains it, or as a bare connection id."""
    yield path
    if isinstance(path[-1], str):
        yield (*path[:-1], f"{path[-1]}_file")
        if len(path) == 3 and path[0] == "connections" and path[-1] == "id":
            yield path[:-1]


def as_schema() -> str:
    """The JSON schema of the configuration, for editors and for `config/schema.json`."""
    schema = Config.model_json_schema(by_alias=True)
    sections = {"": schema} | schema["$defs"]
    for model in _models(Config):
        section = sections["" if model is Config else model.__name__]
        section.pop("title", None)
        required = section.get("required", [])
        for key in keys(model):
            shape = {"description": meaning_of(model, key), **section["properties"][key.name]}
            section["properties"][key.name] = _tidy(shape, key, optional=key.name not in required)
    connections = schema["properties"]["connections"]["anyOf"][0]
    connections["items"] = {"anyOf": [{"type": "string", "description": "An id in the first account."}, connections["items"]]}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "postpost-monitor configuration"}
    schema["description"] = "The configuration of postpost-monitor. See docs/reference/configure.md."
    return json.dumps(head | schema, indent=2, ensure_ascii=False) + "\n"


def _models(section: type[Section]) -> Iterator[type[Section]]:
    yield section
    for key in keys(section):
        # ExpirySettings is met twice: below policy, and below each platform.
        if key.section is not None and (key.name, section) != ("expiry", PlatformSettings):
            yield from _models(key.section)


def _tidy(shape: dict[str, Any], key: Key, *, optional: bool) -> dict[str, Any]:
    """The schema of one key as in the file: null is allowed if the key is optional, and `${VAR}` in place of a plain value."""
    kept: dict[str, Any] = {name: shape[name] for name in ("description", "examples", "writeOnly") if name in shape}
    kept |= _default(key) if "default" in shape else {}
    plain = {name: value for name, value in shape.items() if name not in {*kept, "default", "title"}}
    choices: list[dict[str, Any]] = plain["anyOf"] if set(plain) == {"anyOf"} else [plain]
    if plain.get("type") in {"integer", "number", "boolean"} or "enum" in plain or "pattern" in plain:
        choices = [*choices, {"type": "string", "pattern": r"\$\{"}]
    if optional and {"type": "null"} not in choices:
        choices = [*choices, {"type": "null"}]
    return ({"anyOf": choices} if len(choices) > 1 else plain) | kept


def _default(key: Key) -> dict[str, Any]:
    """The default as the file spells it; none for sections, whose keys have their own, and for secrets."""
    value = key.field.get_default(call_default_factory=True)
    if key.section is not None or isinstance(value, Secret):
        return {}
    return {"default": to_jsonable_python(_spelled(value))}


def _spelled(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_spelled(item) for item in value]
    return format_duration(value) if isinstance(value, timedelta) else value
