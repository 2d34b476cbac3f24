"""Configuration files as files: bad ones name every problem, the examples load, generated texts are current."""

import json
import re
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from monitor.config import Config, load
from monitor.config.documentation import meaning_of
from monitor.config.dump import as_schema
from monitor.config.reference import renewed
from monitor.config.types import Key, Section, keys
from monitor.errors import EXIT_CONFIG, ConfigError
from monitor.notify import templates
from tests.configured import refused

ROOT = Path(__file__).parents[2]
BAD = sorted((Path(__file__).parent / "bad_config").glob("*.yaml"))
CANARY = "sk_canary.0123456789abcdef"
ENVIRON = {"CANARY": CANARY, "EMPTY": "", "LINES": "sk_canary.0123456789\nabcdef"}
SIGNING = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


def refusal(file: Path) -> ConfigError:
    return refused(file.read_text(encoding="utf-8"), ENVIRON, folder=Path("/etc/postpost-monitor"), name=file.name)


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_bad_file(file: Path) -> None:
    """A bad file is refused with exactly the problems in the comment at its top; neither they nor the traceback contain a secret."""
    expected = [line.removeprefix("# ") for line in file.read_text(encoding="utf-8").splitlines() if line.startswith(f"# {file.name}")]
    assert expected, f"{file.name} does not say what to expect"
    error = refusal(file)
    assert str(error).splitlines() == expected
    assert error.exit_code == EXIT_CONFIG
    assert "canary" not in "".join([str(error), repr(error), *traceback.format_exception(error)])
    assert all(problem.fix or " must " in problem.message for problem in error.problems), "every problem comes with advice"


@pytest.fixture
def credentials(tmp_path: Path) -> dict[str, str]:
    """An environment whose credentials folder contains the files of the example."""
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
    """Outside of its lists the complete example sets the defaults."""
    config = load(ROOT / "config" / "postpost-monitor.yaml", credentials, check_template=templates.problems)
    default = Config()
    for name in ("monitor", "api", "schedule", "web", "retention", "logging", "shutdown", "database", "quiet_hours", "heartbeat"):
        assert getattr(config, name) == getattr(default, name), name
    assert replace(config.policy(), routes=()) == default.policy()


def test_complete_example_shows_every_key() -> None:
    """Every key of the configuration is in the complete example, set or in a comment."""
    text = (ROOT / "config" / "postpost-monitor.yaml").read_text(encoding="utf-8")
    missing = [key.name for _, key in every_key(Config) if not re.search(rf"\b{key.name}:", text)]
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
    """Every key is documented."""
    assert [key.name for section, key in every_key(Config) if not meaning_of(section, key)] == []


def test_schema_knows_the_examples() -> None:
    """Every key of the examples is in the schema, at its place."""
    schema = json.loads(as_schema())
    for name in ("postpost-monitor.yaml", "minimal.yaml"):
        data = yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8"))
        assert set(data) <= set(schema["properties"])
        assert set(data["accounts"][0]) <= set(schema["$defs"]["AccountSettings"]["properties"])


def every_key(section: type[Section]) -> list[tuple[type[Section], Key]]:
    own = list(keys(section))
    return [(section, key) for key in own] + [below for key in own if key.section for below in every_key(key.section)]
