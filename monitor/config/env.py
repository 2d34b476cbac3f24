"""Expands `${VAR}` and `${VAR:-default}` in the texts of a document; `$$` is a dollar sign, any other `$` stays."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from monitor.config.yaml import Path, YamlDocument, dotted
from monitor.errors import Problem

_REFERENCE = re.compile(r"\$\$|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<broken>\$\{)")


@dataclass(slots=True)
class Expansion:
    """
    The expansion of one document.

    Attributes:
        values: what was filled in from the environment, to be masked in error texts; paths of files are left out.
        empty: where references gave an empty text -> the variable.
        broken: where a reference could not be expanded; further problems there are consequences.
    """

    document: YamlDocument
    environ: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    values: set[str] = field(default_factory=set)
    empty: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def result(self) -> YamlDocument:
        """The document with every reference expanded; an unset variable is a problem and leaves nothing."""
        data = self._expand(self.document.data, ())
        return replace(self.document, data=data, problems=(*self.document.problems, *self.problems))

    def _expand(self, value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {key: self._expand(child, (*path, key)) for key, child in value.items()}
        if isinstance(value, list):
            return [self._expand(child, (*path, index)) for index, child in enumerate(value)]
        if isinstance(value, str) and "$" in value:
            text = _REFERENCE.sub(lambda match: self._replace(match, path), value)
            if not text and (name := next((match["name"] for match in _REFERENCE.finditer(value)), None)):
                self.empty[dotted(path)] = name
            return text
        return value

    def explained(self, problem: Problem) -> Problem:
        """*problem*, with the variable that is empty where that is why."""
        name = self.empty.get(re.split("[ :]", problem.message)[0])
        if name is None:
            return problem
        return replace(problem, fix=f"the environment variable {name} is empty or not set: set it, or write another value after ':-'")

    def _replace(self, match: re.Match[str], path: Path) -> str:
        name, default = match["name"], match["default"]
        if match["broken"]:
            self._refuse(path, "contains '${' without a name and '}'", "write ${VAR} or ${VAR:-default}, or $$ for a dollar sign")
        if name is None:
            return "$"
        value = self.environ.get(name)
        if value is None and default is None:
            self._refuse(path, f"needs the environment variable {name}, which is not set", f"set it, or write ${{{name}:-default}}")
            return ""
        text = default if default is not None and not value else value or ""
        if not any(isinstance(step, str) and step.endswith(("_file", "_files")) for step in path):
            self.values.add(text)
        return text

    def _refuse(self, path: Path, message: str, fix: str) -> None:
        self.broken.add(dotted(path))
        self.problems.append(Problem(self.document.location(path), f"{dotted(path)} {message}", fix))
