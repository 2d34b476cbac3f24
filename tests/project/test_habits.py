"""The habits of the repository: form of commit messages, hooks, continuous integration."""

import re
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.project.source import ROOT

HOOK = ROOT / ".ci/commit-message"
WORKFLOW = ROOT / ".github/workflows/ci.yml"
TEMPLATE = ROOT / ".github/pull_request_template.md"
PROBLEMS: Callable[[str], list[str]] = runpy.run_path(str(HOOK))["problems"]


@pytest.mark.parametrize(
    "message",
    [
        "Add a receiver type\n",
        "Add a receiver type\n\nIt is asked for often. Kept small.\n",
        "Bring the documents up to date\n",
        "Embed the schema in the wheel\n",
        "Speed up the scrape\n",
        "String lengths are counted in characters\n",
        "Delete: the ballast file\n",
        "\n# a comment of git\nKeep the lock\n# another one\n",
        f"Name {'x' * 67}\n",
        f"Größe {'ü' * 66}\n",
        f'Revert "{"Add a line that was already as long as a subject may be at all, at most"}"\n',
        "Merge branch 'main' into topic\n",
        "fixup! Added something.\n",
        "Keep it\n# ------------------------ >8 ------------------------\nAdded.\ndiff --git a/x b/x\n",
    ],
    ids=lambda message: message.strip()[:30],
)
def test_good_message(message: str) -> None:
    """A message of good form passes."""
    assert PROBLEMS(message) == []


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("\n# only a comment\n", "the message is empty"),
        (f"Name {'x' * 68}\n", "73 characters"),
        ("Add a receiver type.\n", "period"),
        ("Added a receiver type\n", '"Added"'),
        ("adding a receiver type\n", '"adding"'),
        ("Fixed: the lock\n", '"Fixed"'),
        ("Add a receiver type\nIt is asked for often.\n", "second line"),
    ],
    ids=["empty", "long", "period", "past", "participle", "colon", "second-line"],
)
def test_bad_message(message: str, said: str) -> None:
    """A message of bad form is refused, with the reason."""
    assert said in "\n".join(PROBLEMS(message))


@pytest.mark.parametrize(("message", "status", "printed"), [("Keep it", 0, ""), ("Added it", 1, "imperative")])
def test_hook(message: str, status: int, printed: str, tmp_path: Path) -> None:
    """The hook says what is wrong, and its exit code stops the commit."""
    file = tmp_path / "COMMIT_EDITMSG"
    file.write_text(message, encoding="utf-8")
    done = subprocess.run([HOOK, file], capture_output=True, text=True, check=False)

    assert done.returncode == status
    assert printed in done.stderr
    assert bool(printed) == bool(done.stderr)


def test_hooks_are_local() -> None:
    """The hooks fetch nothing: each runs a program that the repository or its virtual environment has."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))

    assert [group["repo"] for group in config["repos"]] == ["local"]
    hooks = {hook["id"]: hook for hook in config["repos"][0]["hooks"]}
    assert {hook["language"] for hook in hooks.values()} == {"system"}
    assert set(hooks) == {"ruff", "ruff-format", "commit-message"}
    assert all(hook["entry"].startswith((".venv/bin/ruff ", ".ci/")) for hook in hooks.values())
    assert (ROOT / hooks["commit-message"]["entry"]).stat().st_mode & 0o111


def test_workflow_runs_what_everyone_runs() -> None:
    """Every recipe and script that the workflow runs exists, and it runs `.ci/run` for both Python versions and both PostgreSQL versions."""
    text = WORKFLOW.read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    recipes = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    assert jobs["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    assert [entry["postgres"] for entry in jobs["postgres"]["strategy"]["matrix"]["include"]] == ["14", "17"]
    assert set(jobs["nightly"]["strategy"]["matrix"]["recipe"]) <= recipes
    assert [script for script in re.findall(r"\.ci/[\w-]+", text) if not (ROOT / script).exists()] == []
    for job in ("test", "postgres"):
        assert {"run": ".ci/run"} in jobs[job]["steps"]


def test_workflow_uses_known_actions() -> None:
    """The workflow uses the two standard actions only."""
    used = re.findall(r"uses: (\S+)@", WORKFLOW.read_text(encoding="utf-8"))

    assert set(used) == {"actions/checkout", "actions/setup-python"}


def test_template_has_the_questions() -> None:
    """A pull request starts with the questions of CONTRIBUTING.md."""
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Before you ask for a review")[2]
    questions = re.findall(r"^\d\. .+$", section, re.MULTILINE)
    asked = re.findall(r"^\d\. .+$", TEMPLATE.read_text(encoding="utf-8"), re.MULTILINE)

    assert len(questions) == len(asked) == 4
    assert [re.sub(r"[^a-z]", "", question.lower())[:40] for question in asked] == [
        re.sub(r"[^a-z]", "", question.lower())[:40] for question in questions
    ]
