"""The configuration shown: as YAML with secrets masked, and its form as JSON schema for editors."""

import json
from typing import Any

import yaml

from monitor.config.effective import expiry_by_platform
from monitor.config.model import Config
from monitor.config.policies import ExpirySettings
from monitor.domain.policy import ExpiryPolicy


def as_yaml(config: Config) -> str:
    """The configuration in effect as YAML, with defaults and the built-in differences of platforms; secrets are masked."""
    shown = config.masked()
    platforms = expiry_by_platform(config.policy_settings)
    shown["policy"]["platforms"] = {name: {"expiry": _expiry(policy)} for name, policy in platforms.items()}
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=120)


def _expiry(policy: ExpiryPolicy) -> dict[str, Any]:
    return ExpirySettings(**{key: getattr(policy, key) for key in ExpirySettings.model_fields}).masked()


def as_schema() -> str:
    """The JSON schema of the configuration, for editors and for `config/schema.json`."""
    schema = Config.model_json_schema(by_alias=True)
    for section in (schema, *schema["$defs"].values()):
        required = section.get("required", [])
        section["properties"] = {name: _tidy(shape, optional=name not in required) for name, shape in section.get("properties", {}).items()}
        section.pop("title", None)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "postpost-monitor configuration"}
    schema["description"] = "The configuration of postpost-monitor. See docs/configure.md."
    return json.dumps(head | schema, indent=2, ensure_ascii=False) + "\n"


def _tidy(shape: dict[str, Any], *, optional: bool) -> dict[str, Any]:
    """One key's schema without generated titles; a key that may be left out may also be null."""
    shape = {key: value for key, value in shape.items() if key != "title"}
    if not optional:
        return shape
    if "$ref" in shape:
        return {"anyOf": [{"$ref": shape.pop("$ref")}, {"type": "null"}], **shape}
    if isinstance(shape.get("type"), str):
        shape["type"] = [shape["type"], "null"]
        if "enum" in shape:
            shape["enum"] = [*shape["enum"], None]
    return shape
