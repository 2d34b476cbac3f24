"""From a document to sections: each section and each item of a list on its own, so that one mistake hides no other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import ValidationError

from monitor.config.model import Config
from monitor.config.problems import suggest, translate
from monitor.config.sections.core import AccountSettings, ConnectionSettings, ScheduleSettings
from monitor.config.types import Section, keys
from monitor.config.web_config import WebConfig
from monitor.config.yaml import Path, YamlDocument
from monitor.errors import Problem

S = TypeVar("S", bound=Section)


@dataclass(slots=True)
class Draft:
    """
    As much of a configuration as is valid.

    Attributes:
        document: what it is made from.
        sections: section name → valid section; a broken or absent one is missing.
        items: list name → position → valid item.
        problems: what is broken.
        web_file: what the file of `web.config_file` says; None when it is broken.
    """

    document: YamlDocument
    sections: dict[str, Section] = field(default_factory=dict)
    items: dict[str, dict[int, Section]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    web_file: WebConfig | None = None

    def section(self, kind: type[S], name: str) -> S:
        """The section called *name*, or its defaults."""
        found = self.sections.get(name)
        return found if isinstance(found, kind) else kind()

    def listed(self, kind: type[S], name: str) -> dict[int, S]:
        """The valid items of the list called *name*, by position."""
        return {index: item for index, item in self.items.get(name, {}).items() if isinstance(item, kind)}

    def raw(self, name: str) -> list[tuple[int, dict[str, Any]]]:
        """The items of the list called *name* as the file has them, valid or not, with their positions."""
        found = self.document.at((name,))
        return [(index, item) for index, item in enumerate(found) if isinstance(item, dict)] if isinstance(found, list) else []

    def names(self, name: str) -> list[str]:
        """The names of all items of a list, valid or not, each once, in the order of the file."""
        return list(dict.fromkeys(item["name"] for _, item in self.raw(name) if isinstance(item.get("name"), str)))

    def refuse(self, path: Path, message: str, fix: str = "") -> None:
        """Note a problem at *path*."""
        self.problems.append(Problem(self.document.location(path), message, fix))

    def config(self, warnings: tuple[Problem, ...]) -> Config:
        """The whole, once there is no problem."""
        lists = {name: tuple(items.values()) for name, items in self.items.items()}
        beside = {"warnings": warnings, "web_file": self.web_file or WebConfig(), "source": self.document.name}
        return Config(**{**self.sections, **lists, **beside})  # type: ignore[arg-type]


def validate(document: YamlDocument, web_file: WebConfig | None) -> Draft:
    """Everything in *document* that is valid, and a problem for everything that is not."""
    draft = Draft(document, web_file=web_file)
    data = document.data if isinstance(document.data, dict) else {}
    known = {key.name: key for key in keys(Config)}
    for name in data:
        if name not in known:
            draft.refuse((name,), f"{name} is an unknown key", suggest(name, list(known), "known keys"))
    for name, key in known.items():
        value = data.get(name)
        if value is None or key.section is None:
            continue
        if key.shape == "plain":
            found = _attempt(key.section, value, (name,), draft)
            draft.sections |= {name: found} if found else {}
        elif isinstance(value, list):
            tried = {index: _attempt(key.section, item, (name, index), draft) for index, item in enumerate(value)}
            draft.items[name] = {index: item for index, item in tried.items() if item is not None}
        else:
            draft.refuse((name,), f"{name} must be a list", "one '- item' per line")
    _complete_connections(draft)
    return draft


def _attempt(kind: type[Section], value: Any, path: Path, draft: Draft) -> Section | None:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False)
        draft.problems.extend(translate(one, path, draft.document, Config) for one in found)
        return None


def _complete_connections(draft: Draft) -> None:
    """Fill in what a connection takes from elsewhere: the first account, that account's user, the schedule's interval."""
    accounts = {account.name: account for account in draft.listed(AccountSettings, "accounts").values()}
    interval = draft.section(ScheduleSettings, "schedule").interval
    first = next(iter(draft.names("accounts")), "")
    connections = draft.items.setdefault("connections", {})
    for index, connection in draft.listed(ConnectionSettings, "connections").items():
        connections[index] = _completed(connection, first, accounts, interval)


def _completed(
    connection: ConnectionSettings, first: str, accounts: Mapping[str, AccountSettings], interval: timedelta
) -> ConnectionSettings:
    name = connection.account or first
    account = accounts.get(name)
    given = connection.model_fields_set
    return connection.model_copy(
        update={
            "account": name,
            "user_id": connection.user_id if "user_id" in given or account is None else account.user_id,
            "interval": connection.interval if "interval" in given else interval,
        }
    )
