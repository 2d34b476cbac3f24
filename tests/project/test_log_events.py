"""Log events: `noun.past_participle`, and each one in the list for operators."""

import ast
import re

from monitor import logs
from tests.project.source import ROOT, modules

LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
EVENT = re.compile(r"[a-z_]+(\.[a-z_]+)+")
LIST = ROOT / "docs" / "how-to" / "operate.md"


def _is_log(node: ast.expr) -> bool:
    """Whether *node* is a logger by its look: `log`, `_log`, or what makes one."""
    if isinstance(node, ast.Name):
        return node.id in ("log", "_log")
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return name in ("get_logger", "log_of")
    return False


def _logged() -> dict[str, str]:
    """Every event that is logged -> where."""
    events = {logs.DROPPED: "logs"}
    for module in modules("monitor"):
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not _is_log(node.func.value):
                continue
            if node.func.attr in LEVELS:
                name = node.args[0]
                assert isinstance(name, ast.Constant), f"{module.shown}:{node.lineno}: the name of an event is a literal"
                events[str(name.value)] = f"{module.shown}:{node.lineno}"
            else:
                assert node.func.attr == "bind", f"{module.shown}:{node.lineno}: which level?"
    return events


def test_names() -> None:
    """Every event has a name of a noun and a past participle, and nothing but its fields varies."""
    assert {event: place for event, place in _logged().items() if EVENT.fullmatch(event) is None} == {}


def test_list() -> None:
    """Every event is in the list for operators, and nothing else is."""
    section = LIST.read_text(encoding="utf-8").partition("\n## Log events\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert listed == sorted(set(listed))
    assert set(listed) == set(_logged())
