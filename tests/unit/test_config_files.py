"""Configuration files as files: bad ones name every problem, the examples load, generated texts are current."""

import json
import re
import traceback
from pathlib import Path

import pytest
import yaml

from monitor.config import Config, load
from monitor.config.dump import as_schema
from monitor.config.loader import load_text
from monitor.config.reference import renewed
from monitor.config.types import Key, Section, keys
from monitor.errors import EXIT_CONFIG, ConfigError
from monitor.notify import templates

ROOT = Path(__file__).parents[2]
BAD = sorted((Path(__file__).parent / "bad_config").glob("*.yaml"))
CANARY = "sk_canary.0123456789abcdef"
ENVIRON = {"CANARY": CANARY, "EMPTY": "", "LINES": "sk_canary.0123456789\nabcdef"}
SIGNING = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


def refusal(file: Path) -> ConfigError:
    text = file.read_text(encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_text(text, file.name, ENVIRON, folder=Path("/etc/postpost-monitor"), check_template=templates.problems)
    return caught.value


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_bad_file(file: Path) -> None:
    """A bad file is refused with exactly the problems in the comment at its top."""
    expected = [line.removeprefix("# ") for line in file.read_text(encoding="utf-8").splitlines() if line.startswith(f"# {file.name}")]
    assert expected, f"{file.name} does not say what to expect"
    assert str(refusal(file)).splitlines() == expected


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_bad_file_keeps_secrets(file: Path) -> None:
    """No error text, nor its traceback, holds a secret's value or a part of it."""
    error = refusal(file)
    told = "".join([str(error), repr(error), *traceback.format_exception(error)])
    assert "canary" not in told
    assert error.exit_code == EXIT_CONFIG


def test_problems_say_what_to_do() -> None:
    """Nearly every problem comes with advice."""
    problems = [problem for file in BAD for problem in refusal(file).problems]
    silent = [
        str(problem) for problem in problems if not problem.fix and " must " not in problem.message and " must be" not in str(problem)
    ]
    assert not [text for text in silent if "must" not in text]


@pytest.fixture
def credentials(tmp_path: Path) -> dict[str, str]:
    """An environment whose credentials folder holds what the example names."""
    secrets = {
        "api-key": "sk_example.0123456789",
        "on-call-url": "https://hooks.example.org/T0/B0",
        "on-call-secret": SIGNING,
        "pagerduty-key": "0123456789abcdef",
        "opsgenie-key": "0123456789abcdef",
    }
    for name, secret in secrets.items():
        (tmp_path / name).write_text(secret + "\n", encoding="ascii")
    return {"CREDENTIALS_DIRECTORY": str(tmp_path)}


def test_complete_example(credentials: dict[str, str]) -> None:
    """The complete example loads without a warning."""
    config = load(ROOT / "config" / "postpost-monitor.yaml", credentials, check_template=templates.problems)
    assert config.warnings == ()
    assert [connection.id for connection in config.connections] == ["telegram--1001234567890", "linkedin-Tz9W5i6ZYG"]
    assert [receiver.name for receiver in config.receivers] == ["on-call", "pager", "genie"]


def test_complete_example_shows_defaults(credentials: dict[str, str]) -> None:
    """Whatever the complete example sets outside of its lists is the default, so that copying it changes nothing."""
    config = load(ROOT / "config" / "postpost-monitor.yaml", credentials, check_template=templates.problems)
    default = Config()
    for name in ("monitor", "api", "schedule", "web", "retention", "logging", "shutdown", "database", "quiet_hours", "heartbeat"):
        assert getattr(config, name) == getattr(default, name), name
    assert config.policy() == default.policy()


def test_complete_example_shows_every_key() -> None:
    """Every key of the configuration is in the complete example, set or in a comment."""
    text = (ROOT / "config" / "postpost-monitor.yaml").read_text(encoding="utf-8")
    missing = [key.name for key in every_key(Config) if not re.search(rf"\b{key.name}:", text)]
    assert missing == []


def test_minimal_example() -> None:
    """The minimal example loads with two variables set."""
    config = load(
        ROOT / "config" / "minimal.yaml",
        {"POSTPOST_API_KEY": "sk_0123456789", "ON_CALL_WEBHOOK_URL": "https://hooks.example.org/x"},
        check_template=templates.problems,
    )
    assert config.warnings == ()
    assert config.accounts[0].discover == "connections"


def test_schema_file() -> None:
    """`config/schema.json` is what the models say; `make docs` writes it."""
    assert (ROOT / "config" / "schema.json").read_text(encoding="utf-8") == as_schema()


def test_reference_page() -> None:
    """The reference in `docs/reference/configure.md` is what the models say; `make docs` writes it."""
    page = (ROOT / "docs" / "reference" / "configure.md").read_text(encoding="utf-8")
    assert page == renewed(page)


def test_every_key_is_documented() -> None:
    """Every key has a text that says what it means."""
    silent = [key.name for key in every_key(Config) if not key.field.description]
    assert silent == []


def test_schema_knows_the_examples() -> None:
    """Every key of the examples is in the schema, at its place."""
    schema = json.loads(as_schema())
    for name in ("postpost-monitor.yaml", "minimal.yaml"):
        data = yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8"))
        assert set(data) <= set(schema["properties"])
        assert set(data["accounts"][0]) <= set(schema["$defs"]["AccountSettings"]["properties"])


def every_key(section: type[Section]) -> list[Key]:
    found = list(keys(section))
    return found + [below for key in found if key.section for below in every_key(key.section)]
