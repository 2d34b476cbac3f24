"""The command line as a whole."""

import argparse
import subprocess
import sys
from contextlib import redirect_stderr

import pytest

from monitor.cli.main import build_parser, main, verbs_of
from tests.terminal import Stream


def test_help_of_unloaded_verbs() -> None:
    """The help is the same whether the modules of the verbs are loaded or not."""
    assert build_parser(["--help"]).format_help() == build_parser().format_help()


def test_only_the_named_verb_is_loaded() -> None:
    """The help loads no verb's module, so that it starts fast."""
    code = "import sys; from monitor.cli.main import build_parser; build_parser(['--help']); print([m for m in sys.modules if m.startswith('monitor.')])"
    message = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert sorted(eval(message)) == ["monitor.cli", "monitor.cli.main", "monitor.cli.verb", "monitor.errors"]


def _all() -> list[tuple[str, argparse.ArgumentParser]]:
    return list(verbs_of(build_parser()))


@pytest.mark.parametrize(("name", "parser"), _all(), ids=[name for name, _ in _all()])
def test_every_verb_explains_itself(name: str, parser: argparse.ArgumentParser) -> None:
    """Each verb has a description and each option a help."""
    assert parser.description, name
    assert [action.dest for action in parser._actions if not action.help and not isinstance(action, argparse._SubParsersAction)] == []


@pytest.mark.parametrize("verb", ["status", "history", "incidents", "explain", "preflight", "deliveries", "receivers", "export"])
def test_every_verb_has_examples(verb: str) -> None:
    """Each verb's help ends with examples."""
    assert "examples:\n  postpost-monitor" in dict(_all())[verb].format_help()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("status", "--watch", "0"), "not a number of seconds between 0.1 and 3600"),
        (("status", "--watch", "x"), "not a number of seconds"),
        (("status", "--watch", "--json"), "not allowed with"),
        (("status", "--health", "fine"), "invalid choice"),
        (("history",), "required: ID"),
        (("history", "x", "--limit", "0"), "not a number of 1 or more"),
        (("history", "x", "--since", "yesterday"), "is neither a duration before now"),
        (("export", "everything"), "invalid choice"),
        (("deliveries", "list", "--state", "lost"), "invalid choice"),
        (("xyzzy",), "unknown verb 'xyzzy'; choose from run, demo"),
        (("statsu",), "unknown verb 'statsu'; did you mean status?"),
        (("silence", "lst"), "unknown verb 'lst'; did you mean list?"),
    ],
)
def test_usage(command: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Usage errors end with 2 and an explanation."""
    with pytest.raises(SystemExit) as ended:
        build_parser(command).parse_args(command)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_errors_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error fits the terminal, its place first; programs get it in one line."""
    shown = {}
    monkeypatch.setenv("COLUMNS", "60")
    for terminal in (True, False):
        with redirect_stderr(Stream(terminal=terminal)) as stream:
            main(["status", "--config", "/nonexistent/of/a/directory/with/a/long/name/config.yaml"])
        shown[terminal] = stream.getvalue().splitlines()
    assert (len(shown[False]), shown[True][0].startswith("postpost-monitor: /nonexistent")) == (1, True)
    assert [line for line in shown[True][1:] if len(line) > 60 or not line.startswith("  ")] == []


def test_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    """Without arguments the help is printed; a script that forgot the verb still fails."""
    assert main([]) == 2
    assert "verbs:" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        ("--config", "a.yaml", "status"),
        ("--config=a.yaml", "status"),
        ("status", "--config", "a.yaml"),
        ("config", "check", "a.yaml"),
        ("silence", "--config", "a.yaml", "list"),
        ("silence", "list", "--config", "a.yaml"),
    ],
)
def test_config_anywhere(command: tuple[str, ...]) -> None:
    """The configuration may be named before the verb, after it or the group of verbs, and to `config check` without an option."""
    args = build_parser(command).parse_args(command)
    assert str(getattr(args, "file", None) or args.config) == "a.yaml"
    assert build_parser(("status",)).parse_args(("status",)).config is None


@pytest.mark.parametrize(("name", "parser"), [("", build_parser()), *_all()], ids=["", *(name for name, _ in _all())])
def test_help_fits(name: str, parser: argparse.ArgumentParser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every help fits a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    assert [line for line in parser.format_help().splitlines() if len(line) > 80] == [], name
