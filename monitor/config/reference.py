"""The reference of all keys, made from the section models. Tests tell when `docs/reference/configure.md` or `config/schema.json` are behind."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic_core import PydanticUndefined

from monitor.config.dump import as_schema
from monitor.config.model import Config
from monitor.config.secrets import Secret
from monitor.config.sections.policy import PolicySettings, expiry_by_platform
from monitor.config.types import Key, Section, Size, keys
from monitor.config.web_config import WebConfig
from monitor.text.durations import format_duration

BEGIN, END = "<!-- reference: made by postpost-monitor config reference --write . -->\n", "<!-- end of reference -->\n"

_DEFAULTS = {
    "accounts[].api_key": "one of the two is required",
    "accounts[].api_key_file": "",
    "api.base_url": "the brand's",
    "connections[].account": "the first",
    "connections[].user_id": "the account's",
    "connections[].interval": "`schedule.interval`",
    "receivers[].url": "one of the two is required",
    "receivers[].url_file": "",
    "policy.platforms.<name>.expiry": "see platforms",
    "policy.stale_after": "`auto`",
    "silences[].days": "`daily`",
    "quiet_hours.days": "`daily`",
    "database.url": "`sqlite:////var/lib/postpost-monitor/monitor.db`",
    "policy.expiry.thresholds": "`[14d, 7d, 1d]`; platforms differ",
}


_WEB_FILE_EXAMPLE = (
    "tls_server_config: {cert_file: monitor.crt, key_file: monitor.key}",
    "basic_auth_users:",
    "  prometheus: $2b$10$0K9sxW6mqzFVLnQ4XLZ2uOj0wpqNeoQC0QEQXbBhKbCAOQtf3rZgq",
)


def reference() -> str:
    """All keys in Markdown: one table per section, in the order of the file, and the table of platforms."""
    parts: list[str] = []
    for key in keys(Config):
        if key.section is not None:
            _section(key, key.name, key.section, parts)
    return "\n".join([*parts, *_web_file(), *_platforms()]) + "\n"


def _section(key: Key, path: str, section: type[Section], parts: list[str]) -> None:
    path += {"list": "[]", "mapping": ".<name>", "plain": ""}[key.shape]
    level = "##" + "#" * min(path.count(".") + (section.__module__ == WebConfig.__module__), 2)
    rows: list[Key] = []
    deeper: list[Key] = []
    for child in keys(section):
        (rows if child.section is None else deeper).append(child)
    parts += [f"{level} `{path}`", "", _line(section.__doc__ or ""), ""]
    if rows:
        parts += ["| key | kind | default | meaning |", "|---|---|---|---|", *(_row(path, child) for child in rows), ""]
    for child in deeper:
        if child.section is not None and path != "policy.platforms.<name>":
            _section(child, f"{path}.{child.name}", child.section, parts)
    if path == "policy.platforms.<name>":
        parts += ["Its only key is `expiry`, with the keys of `policy.expiry`.", ""]


def _row(path: str, key: Key) -> str:
    default = _DEFAULTS.get(f"{path}.{key.name}", _default(key))
    return f"| `{key.name}` | {_kind_of(key.field.annotation)} | {default} | {_line(key.field.description or '')} |"


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _default(key: Key) -> str:
    field = key.field
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined or value == "":
        return "none"
    return f"`{_shown(value)}`"


def _shown(value: Any) -> str:
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(_shown(item) for item in value)}]"
    if isinstance(value, dict):
        return "{}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _kind_of(annotation: Any) -> str:
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if get_origin(annotation) is tuple:
        return f"list of {_kind_of(arguments[0])}"
    plain = [argument for argument in arguments if argument is not type(None)]
    if len(plain) < len(arguments):
        return _kind_of(plain[0])
    if len(arguments) == 2 and get_origin(annotation) is not None and hasattr(get_origin(annotation), "keys"):
        return "names with text"
    if hasattr(annotation, "__metadata__"):
        return "size" if annotation is Size else _kind_of(annotation.__origin__)
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", timedelta: "duration", Secret: "secret"}
    return names[annotation]


def _web_file() -> list[str]:
    """The sections of the web-config file."""
    lead = "A separate file, reloaded with the configuration. `${...}` is not expanded in it, since hashes contain dollar signs."
    parts = ["## The file of `web.config_file`", "", lead, ""]
    for key in keys(WebConfig):
        if key.section is not None:
            _section(key, key.name, key.section, parts)
        else:
            parts += [f"### `{key.name}`", "", _line(key.field.description or ""), ""]
    return [*parts, "```yaml", *_WEB_FILE_EXAMPLE, "```", ""]


def _platforms() -> list[str]:
    rows = [
        f"| {name} | {_shown(policy.thresholds) if policy.thresholds else 'no countdown'} | {_shown(policy.trust_date)} | {_shown(policy.settle)} |"
        for name, policy in expiry_by_platform(PolicySettings()).items()
    ]
    head = ["## Platforms", "", "Built-in values where nothing is configured; every other platform follows `policy.expiry`.", ""]
    return [*head, "| platform | thresholds | trust_date | settle |", "|---|---|---|---|", *rows]


def renewed(page: str) -> str:
    """The text of `docs/reference/configure.md` with its reference made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{reference()}\n{END}{after}"


def write(root: Path) -> None:
    """Make the reference and the schema anew in the source tree at *root*."""
    page = root / "docs" / "reference" / "configure.md"
    page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
    (root / "config" / "schema.json").write_text(as_schema(), encoding="utf-8")
