"""Document to sections: each section and each list item is validated on its own, so that one mistake hides no other."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from monitor.config.model import Config
from monitor.config.problems import suggest, translate
from monitor.config.sections.core import AccountSettings, ConnectionSettings
from monitor.config.sections.receivers import RouteSettings
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
        sections: section name → valid section; a broken or absent one is missing.
        items: list name → position → valid item.
        web_file: the content of the file of `web.config_file`; None if it is broken.
        files: the files with secrets, and that one.
    """

    document: YamlDocument
    sections: dict[str, Section] = field(default_factory=dict)
    items: dict[str, dict[int, Section]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    web_file: WebConfig | None = None
    files: tuple[str, ...] = ()

    def section(self, kind: type[S], name: str) -> S:
        """The section called *name*, or its defaults."""
        section = self.sections.get(name)
        return section if isinstance(section, kind) else kind.defaults()

    def listed(self, kind: type[S], name: str) -> dict[int, S]:
        """The valid items of the list called *name*, by position."""
        return {index: item for index, item in self.items.get(name, {}).items() if isinstance(item, kind)}

    def names(self, name: str) -> list[str]:
        """The names of all items of a list, valid or not, each once, in the order of the file."""
        return list(dict.fromkeys(item["name"] for _, item in self.document.items(name) if isinstance(item.get("name"), str)))

    def refuse(self, path: Path, message: str, fix: str = "") -> None:
        """Record a problem at *path*."""
        self.problems.append(Problem(self.document.location(path), message, fix))

    def config(self, warnings: tuple[Problem, ...]) -> Config:
        """The configuration, once there is no problem."""
        lists = {name: tuple(items.values()) for name, items in self.items.items()}
        rest = {
            "warnings": warnings,
            "web_file": self.web_file or WebConfig.defaults(),
            "source": self.document.name,
            "files": self.files,
            "drop_ins": tuple(sorted(set(self.document.files.values()))),
        }
        # Every part is valid already.
        return Config.model_construct(**{**self.sections, **lists, **rest})  # type: ignore[arg-type]


def validate(document: YamlDocument, web_file: WebConfig | None, files: Iterable[str] = ()) -> Draft:
    """Everything in *document* that is valid, and a problem for everything that is not."""
    draft = Draft(document, web_file=web_file, files=tuple(sorted(files)))
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
            section = _validated(key.section, value, (name,), draft)
            draft.sections |= {name: section} if section else {}
        elif isinstance(value, list):
            items = {index: _validated(key.section, item, (name, index), draft) for index, item in enumerate(value)}
            draft.items[name] = {index: item for index, item in items.items() if item is not None}
        else:
            draft.refuse((name,), f"{name} must be a list", "one '- item' per line")
    _complete_connections(draft)
    for index, route in draft.listed(RouteSettings, "routes").items():
        draft.items["routes"][index] = route.placed(draft.document.location(("routes", index)))
    return draft


def _validated(kind: type[Section], value: Any, path: Path, draft: Draft) -> Section | None:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        draft.problems.extend(translate(detail, path, draft.document, Config) for detail in error.errors(include_url=False))
        return None


def _complete_connections(draft: Draft) -> None:
    """Fill in what connections inherit: the first account, the account's user. Every entry gets its place."""
    accounts = {account.name: account for account in draft.listed(AccountSettings, "accounts").values()}
    first = next(iter(draft.names("accounts")), "")
    for index, connection in draft.listed(ConnectionSettings, "connections").items():
        name, given = connection.account or first, connection.model_fields_set
        place = draft.document.location(("connections", index))
        if connection.match is not None:
            draft.items["connections"][index] = connection.placed(place)
            continue
        account = accounts.get(name)
        inherited: dict[str, Any] = {"account": name}
        if "user_id" not in given and account is not None:
            inherited["user_id"] = account.user_id
        draft.items["connections"][index] = connection.placed(place, **inherited)
