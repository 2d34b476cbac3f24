"""The configuration shown: as YAML with secrets masked, and its form as JSON schema for editors."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import yaml
from pydantic_core import to_jsonable_python

from monitor.config.model import Config
from monitor.config.secrets import Secret
from monitor.config.sections.policy import ExpirySettings, PlatformSettings, expiry_by_platform
from monitor.config.types import Key, Section, keys
from monitor.domain.policy import ExpiryPolicy
from monitor.text.durations import format_duration


def as_yaml(config: Config) -> str:
    """The configuration in effect as YAML, with defaults and the built-in differences of platforms; secrets are masked."""
    shown = config.masked()
    platforms = expiry_by_platform(config.policy_settings)
    shown["policy"]["platforms"] = {name: {"expiry": _expiry(policy)} for name, policy in platforms.items()}
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=120)


def _expiry(policy: ExpiryPolicy) -> dict[str, Any]:
    section: Section = ExpirySettings(**{key: getattr(policy, key) for key in ExpirySettings.model_fields})
    return section.masked()


def as_schema() -> str:
    """The JSON schema of the configuration, for editors and for `config/schema.json`."""
    schema = Config.model_json_schema(by_alias=True)
    sections = {"": schema} | schema["$defs"]
    for model in _models(Config):
        section = sections["" if model is Config else model.__name__]
        section.pop("title", None)
        required = section.get("required", [])
        for key in keys(model):
            section["properties"][key.name] = _tidy(section["properties"][key.name], key, optional=key.name not in required)
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
    """One key's schema as people write it: it may be null when it may be left out, and `${VAR}` may stand for a plain value."""
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
    """The default as the file would have it; the default of a section is that of its keys, and of a secret not for showing."""
    value = key.field.get_default(call_default_factory=True)
    if key.section is not None or isinstance(value, Secret):
        return {}
    return {"default": to_jsonable_python(_written(value))}


def _written(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_written(one) for one in value]
    return format_duration(value) if isinstance(value, timedelta) else value
