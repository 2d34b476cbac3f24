"""The command line as a whole."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.cli.main import build_parser, verbs_of
from monitor.cli.reference import rewritten

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "command-line.md"


def test_help_of_unloaded_verbs() -> None:
    """What is said of a verb whose module is not loaded is what the module says."""
    assert build_parser(["--help"]).format_help() == build_parser().format_help()


def test_only_the_named_verb_is_loaded() -> None:
    """The help loads no verb's module, so that it is there at once."""
    code = "import sys; from monitor.cli.main import build_parser; build_parser(['--help']); print([m for m in sys.modules if m.startswith('monitor.')])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert sorted(eval(said)) == ["monitor.cli", "monitor.cli.main", "monitor.cli.verb", "monitor.errors"]


def _all() -> list[tuple[str, argparse.ArgumentParser]]:
    return list(verbs_of(build_parser()))


@pytest.mark.parametrize(("name", "parser"), _all(), ids=[name for name, _ in _all()])
def test_every_verb_explains_itself(name: str, parser: argparse.ArgumentParser) -> None:
    """Each verb has a description and each option a help; what can be run says what it does."""
    assert parser.description, name
    assert [action.dest for action in parser._actions if not action.help and not isinstance(action, argparse._SubParsersAction)] == []


@pytest.mark.parametrize("verb", ["status", "history", "incidents", "explain", "preflight", "deliveries", "receivers", "export"])
def test_every_verb_has_examples(verb: str) -> None:
    """Each verb's help ends with examples."""
    assert "examples:\n  postpost-monitor" in dict(_all())[verb].format_help()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("status", "--watch", "0"), "not a number of seconds between 0.1 and 3600"),
        (("status", "--watch", "x"), "not a number of seconds"),
        (("status", "--watch", "--json"), "not allowed with"),
        (("status", "--health", "fine"), "invalid choice"),
        (("history",), "required: ID"),
        (("history", "x", "--limit", "0"), "not a number of 1 or more"),
        (("history", "x", "--since", "yesterday"), "is neither how long ago"),
        (("export", "everything"), "invalid choice"),
        (("deliveries", "list", "--state", "lost"), "invalid choice"),
        (("nonsense",), "invalid choice"),
    ],
)
def test_usage(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Words that make no sense end with 2 and say what is wrong."""
    with pytest.raises(SystemExit) as ended:
        build_parser(words).parse_args(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_reference_is_current() -> None:
    """The page about the command line holds what the parsers say; `python -m monitor.cli.reference docs/reference/command-line.md` makes it anew."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == rewritten(page)
