"""Loading: the location of the file, defaults without one, expansion, YAML, inherited values of connections, warnings."""

import string
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.config import Config, default_config, load
from monitor.config.env import Expansion
from monitor.config.yaml import YamlDocument, parse
from monitor.errors import ConfigError, Problem
from monitor.notify import templates
from tests.configured import ACCOUNT, KEY, configured, refused

ROOT = Path(__file__).parents[2]
RECEIVER = 'receivers: [{name: on-call, url: "https://hooks.example.org/x"}]\n'
USER = "6626a1f5e4b0c91a2d3f4567"


def warnings_of(text: str) -> list[str]:
    return [str(warning) for warning in configured(text).warnings]


def test_file_from_environment(tmp_path: Path) -> None:
    """Without --config, `$POSTPOST_MONITOR_CONFIG` names the file."""
    file = tmp_path / "monitor.yaml"
    file.write_text(ACCOUNT)
    config = load(None, {"KEY": KEY, "POSTPOST_MONITOR_CONFIG": str(file)}, check_template=templates.problems)
    assert config.source == str(file)


@pytest.mark.parametrize("by_option", [True, False])
def test_named_file_is_missing(tmp_path: Path, by_option: bool) -> None:
    """A file that was named but is not there is a problem, even with a key in the environment."""
    file = tmp_path / "none.yaml"
    environ = {"POSTPOST_API_KEY": "sk_0123456789"} | ({} if by_option else {"POSTPOST_MONITOR_CONFIG": str(file)})
    with pytest.raises(ConfigError) as caught:
        load(file if by_option else None, environ, check_template=templates.problems)
    assert f"{file}: can't be read: No such file" in str(caught.value)
    assert "--config" in caught.value.problems[0].fix


@pytest.mark.parametrize("content", [b"accounts: \xff\xfe", b"\n\naccounts: \xe9"])
def test_file_is_not_text(tmp_path: Path, content: bytes) -> None:
    """A file that is not UTF-8 is refused with the line."""
    file = tmp_path / "monitor.yaml"
    file.write_bytes(content)
    line = 1 + content.count(b"\n")
    with pytest.raises(ConfigError, match=rf":{line}: is not UTF-8"):
        load(file, {}, check_template=templates.problems)


def test_file_is_too_large(tmp_path: Path) -> None:
    """A file over 8 MiB is refused unread."""
    file = tmp_path / "monitor.yaml"
    with file.open("wb") as stream:
        stream.truncate(9 * 1024 * 1024)
    with pytest.raises(ConfigError, match="8 MiB"):
        load(file, {}, check_template=templates.problems)


@pytest.mark.parametrize(
    "environ",
    [
        {"POSTPOST_API_KEY": "sk_0123456789"},
        {"PUBLORA_API_KEY": "sk_0123456789"},
        {"POSTPOST_API_KEY": "sk_0123456789", "PUBLORA_API_KEY": "sk_old_0123456"},
    ],
)
def test_no_file_but_a_key(environ: dict[str, str], tmp_path: Path) -> None:
    """With only a key in the environment, all connections of that account are discovered; the present variable wins over the older."""
    config = default_config(environ | {"STATE_DIRECTORY": str(tmp_path)})
    (account,) = config.accounts
    assert (account.name, account.discover, account.api_key.reveal()) == ("main", "connections", "sk_0123456789")
    assert config.database.url.reveal() == f"sqlite:///{tmp_path}/monitor.db"
    assert config.connections == ()


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/one:/var/lib/two"}, "/var/lib/one"),
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/me"}, "/state/postpost-monitor"),
        ({"HOME": "/home/me"}, "/home/me/.local/state/postpost-monitor"),
        ({}, "/var/lib/postpost-monitor"),
    ],
)
def test_no_file_database(environ: dict[str, str], folder: str) -> None:
    """Without a file the database is where this user can write."""
    assert default_config(environ | {"POSTPOST_API_KEY": "sk_0123456789"}).database.url.reveal() == f"sqlite:///{folder}/monitor.db"


def test_no_file_and_no_key() -> None:
    """With neither file nor key, the problem says what to write or set."""
    with pytest.raises(ConfigError, match="POSTPOST_API_KEY"):
        default_config({})


def test_no_file_and_bad_key() -> None:
    """A bad key in the environment is refused without being printed."""
    with pytest.raises(ConfigError) as caught:
        default_config({"POSTPOST_API_KEY": "sk_canary\ncanary"})
    assert "environment (POSTPOST_API_KEY)" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_loading_twice() -> None:
    """Loading has no effects: the same text gives an equal, separate configuration; another key an unequal one."""
    first, second = configured(ACCOUNT), configured(ACCOUNT)
    assert first == second
    assert first is not second
    assert first != configured(ACCOUNT, {"KEY": "sk_another_0123456"})


def test_inherited_values() -> None:
    """A connection without account, user or interval has the first account, that account's user, the schedule's interval."""
    text = f"""
accounts:
  - {{name: first, api_key: "${{KEY}}", user_id: {USER}}}
  - {{name: second, api_key: "${{KEY}}"}}
connections:
  - linkedin-Ab1
  - {{id: linkedin-Ab1, account: second, interval: 5m}}
  - {{id: linkedin-Ab2, account: first, user_id: 000000000000000000000001}}
schedule: {{interval: 7m}}
"""
    config = configured(text)
    assert [connection.key for connection in config.connections] == [
        ("first", USER, "linkedin-Ab1"),
        ("second", "", "linkedin-Ab1"),
        ("first", "000000000000000000000001", "linkedin-Ab2"),
    ]
    specs = [config.entries().spec(connection.key, listed=False) for connection in config.connections]
    assert [spec.interval for spec in specs] == [timedelta(minutes=7), timedelta(minutes=5), timedelta(minutes=7)]


def test_values_from_environment() -> None:
    """`${VAR}` is expanded in texts, numbers, flags and durations; a default replaces an unset or empty one; `$$` is a dollar sign."""
    text = """
api: {concurrency: "${COUNT}", requests_per_second: "${RATE:-2.5}"}
web: {status_page: "${PAGE:-false}", listen: "127.0.0.1:${PORT:-9999}"}
schedule: {interval: "${INTERVAL:-3m}"}
connections: [{id: linkedin-Ab1, name: "cost $$5 ${COUNT} $x"}]
"""
    config = configured(ACCOUNT + text, {"COUNT": "7", "PORT": ""})
    assert (config.api.concurrency, config.api.requests_per_second) == (7, 2.5)
    assert (config.web.status_page, config.web.port) == (False, 9999)
    assert config.schedule.interval == timedelta(minutes=3)
    assert config.connections[0].name == "cost $5 7 $x"


def test_values_are_not_expanded_twice() -> None:
    """Values from the environment are not expanded again."""
    config = configured(ACCOUNT + 'connections: [{id: linkedin-Ab1, name: "${NAME}"}]', {"NAME": "${KEY} $$"})
    assert config.connections[0].name == "${KEY} $$"


def test_brand_brings_its_address() -> None:
    """The brand decides the default URL and the header names."""
    assert configured(ACCOUNT + "api: {brand: publora}").api.base_url == "https://api.publora.com/api/v1"
    api = configured(ACCOUNT + "api: {brand: publora, base_url: 'http://127.0.0.1:8080/api/v1/'}").api
    assert (api.base_url, api.profile.key_header) == ("http://127.0.0.1:8080/api/v1", "x-publora-key")


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost", "[::1]:8080"])
def test_http_on_loopback(host: str) -> None:
    """Plain http is accepted on loopback."""
    assert configured(ACCOUNT + f"api: {{base_url: 'http://{host}/api/v1'}}").api.base_url == f"http://{host}/api/v1"


@pytest.mark.parametrize("host", ["10.0.0.5", "127.0.0.1.example.org", "[::2]"])
def test_http_elsewhere(host: str) -> None:
    """Plain http is refused elsewhere, also for names that look like loopback."""
    assert "is not encrypted" in str(refused(ACCOUNT + f"api: {{base_url: 'http://{host}/api/v1'}}"))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9093/hook", "http://10.1.2.3/hook", "http://alertmanager:9093/", "https://[fd00::1]/x"])
def test_receiver_on_private_address(url: str) -> None:
    """Receivers on loopback and private addresses are fine: they come from the operator."""
    config = configured(ACCOUNT + f"receivers: [{{name: on-call, url: '{url}'}}]")
    assert config.receivers[0].url.reveal() == url


@pytest.mark.parametrize("kind", ["pagerduty", "opsgenie"])
def test_public_receiver(kind: str) -> None:
    """Services with one public address need a key only."""
    key = {"pagerduty": "routing_key", "opsgenie": "api_key"}[kind]
    config = configured(ACCOUNT + f'receivers: [{{name: on-call, type: {kind}, {key}: "${{KEY}}"}}]')
    assert config.receivers[0].url.reveal().startswith("https://")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no receiver is configured"),
        ("accounts: [{name: main, api_key: '${KEY}', discover: off}]", "has no connections"),
        ("schedule: {interval: 30s, recheck: 10s}", "puts much load on the API"),
        ("connections: [{id: linkedin-Ab1, interval: 30s}]", "puts much load on the API"),
        ("schedule: {interval: 1m, recheck: 2m}", "recheck is longer"),
        ("policy: {reminders: 5m}", "shorter than an interval"),
        ("shutdown: {drain: 60s}", "TimeoutStopSec"),
        ("web: {listen: '0.0.0.0:9840', insecure_listen: true}", "without a password or token"),
        ("web: {listen: '0.0.0.0:9840', token: '${KEY}'}", "without TLS"),
        ("database: {url: 'sqlite:///monitor.db'}", "relative to the working directory"),
        ("monitor: {dashboard_url: 'https://example.org/?token=1'}", "has a query"),
        ("connections: [LinkedIn-Ab1]", "starts with upper case"),
        (
            "connections: [linkedin-1, linkedin-2]\nschedule: {interval: 1m}\napi: {requests_per_second: 0.03}",
            "need 120 checks per hour, but 0.03 requests per second allow 108: checks are late (use longer intervals: 2m",
        ),
        ("receivers: [{name: chat, type: slack, url: 'http://example.org/x'}]", "are not encrypted"),
        (
            "receivers: [{name: a, type: alertmanager, url: 'http://prometheus.example.org:9090'}]",
            "9090 is the usual port of Prometheus, which takes no alerts (write that of Alertmanager, usually 9093)",
        ),
        ("receivers: [{name: a, url: 'https://example.org/x'}]\nroutes: [{receivers: []}]", "gets no notifications"),
        (
            "receivers: [{name: a, url: 'https://example.org/x'}]\nroutes: [{receivers: [a]}, {match: {platform: x}, receivers: [a]}]",
            "never reached",
        ),
        (
            "receivers: [{name: a, url: 'https://example.org/x'}]\nroutes: [{match: {severity: '*'}, receivers: []}, {receivers: [a]}]",
            "never reached",
        ),
        ("receivers: [{name: a, url: 'https://example.org/x'}]\nroutes: [{receivers: []}]", "no route has a receiver"),
    ],
)
def test_warning(text: str, message: str) -> None:
    """There is a warning about what works but is probably not meant."""
    full = text if text.startswith("accounts") else ACCOUNT + text
    assert [warning for warning in warnings_of(full) if message in warning], warnings_of(full)


def test_no_warning() -> None:
    """An ordinary configuration has no warnings."""
    assert warnings_of(ACCOUNT + RECEIVER) == []


def test_short_interval_on_loopback() -> None:
    """Short intervals are accepted with an API on loopback, as in a demo or a test."""
    text = (
        ACCOUNT
        + RECEIVER
        + "api: {base_url: 'http://127.0.0.1:1/api/v1'}\nschedule: {interval: 1s, recheck: 500ms}\npolicy: {reminders: off}\n"
    )
    assert warnings_of(text) == []


def test_null_is_the_default() -> None:
    """A key with everything below it commented out means its default."""
    config = configured(ACCOUNT + "api:\npolicy:\n  confirm:\n    failures:\nconnections:\nroutes:\n")
    assert (config.api, config.policy()) == (Config().api, Config().policy())


def test_off_is_text() -> None:
    """The booleans of YAML 1.1, off and no, are text."""
    config = configured('accounts: [{name: no, api_key: "${KEY}", discover: off}]')
    assert (config.accounts[0].name, config.accounts[0].discover) == ("no", "off")


def test_digits_stay_digits() -> None:
    """A user id of digits, or one that looks like a float, is not turned into a number."""
    for user in ("1" * 24, "66260000000000000000e123"):
        config = configured(f'accounts: [{{name: main, api_key: "${{KEY}}", user_id: {user}}}]')
        assert config.accounts[0].user_id == user


def test_aliases() -> None:
    """Aliases repeat a value; each copy is its own."""
    config = configured(
        ACCOUNT + "connections:\n  - {id: linkedin-A, labels: &social {team: social}}\n  - {id: linkedin-B, labels: *social}\n"
    )
    assert config.connections[0].labels == config.connections[1].labels == {"team": "social"}


def test_anchor_given_again() -> None:
    """An alias repeats the latest anchor of its name before it; what stands below an alias has the line of the alias."""
    document = parse("a: &x {b: 1}\nc: &x\n  - 2\nd:\n  - *x\n", "f.yaml")
    assert document.data == {"a": {"b": 1}, "c": [2], "d": [[2]]}
    assert document.location(("d", 0, 0)) == "f.yaml:5"


@pytest.mark.parametrize("depth", [31, 100_000])
def test_deep_nesting(depth: int) -> None:
    """Nesting is bounded before it costs a stack."""
    [problem] = parse("a:\n  " + "[" * depth + "]" * depth, "f.yaml").problems
    assert str(problem).startswith("f.yaml:2: nested deeper than 30 levels")


def test_lines_are_those_of_the_file() -> None:
    """Every value has a line, in block and flow style; an absent one has the line of the value around it."""
    document = parse("a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n", "f.yaml")
    assert {path: document.location(path) for path in [("a",), ("b", 0), ("b", 1, "d"), ("b", 1, "zzz"), ("zzz",)]} == {
        ("a",): "f.yaml:1",
        ("b", 0): "f.yaml:3",
        ("b", 1, "d"): "f.yaml:5",
        ("b", 1, "zzz"): "f.yaml:4",
        ("zzz",): "f.yaml:1",
    }


def test_joiners_in_names() -> None:
    """A name of the user may have joiners within its words, as Persian names and emoji have; not elsewhere."""
    name = "نمی\u200cشد 👩\u200d👧"
    config = configured(ACCOUNT + f'connections: [{{id: linkedin-Ab1, name: "{name}", labels: {{team: "{name}"}}}}]')
    assert [(entry.name, entry.labels["team"]) for entry in config.connections] == [(name, name)]
    for hidden in ("a\u200cb", "شد\u200d", "a\u202eb"):
        assert "printable" in problems_of(ACCOUNT + f'connections: [{{id: linkedin-Ab1, name: "{hidden}"}}]')[0].message


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet=string.printable + "é\u2028\ud800\x00", max_size=200))
def test_any_text(text: str) -> None:
    """Parsing any text ends with values or problems, never with an exception."""
    document = parse(text, "f.yaml")
    assert document.data is None or isinstance(document, YamlDocument)
    Expansion(document, {}).result()


_EXAMPLE = (ROOT / "config" / "postpost-monitor.yaml").read_text(encoding="utf-8")
_ENVIRON = {"CREDENTIALS_DIRECTORY": "/nonexistent", "POSTPOST_API_KEY": "sk_0123456789"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(_EXAMPLE) - 1), st.integers(0, 40), st.text(alphabet="{}[]:-*&!|>'\"%@`,#\n\t 0a.$", max_size=8))
def test_damaged_file(start: int, length: int, insert: str) -> None:
    """A damaged file gives a configuration or a ConfigError with locations, never another exception."""
    text = _EXAMPLE[:start] + insert + _EXAMPLE[start + length :]
    # A damaged web.config_file names another file: that one is in the message.
    files = ("f.yaml", "/nonexistent")
    assert all(problem.location.startswith(files) and problem.message for problem in problems_of(text))


def problems_of(text: str) -> tuple[Problem, ...]:
    try:
        return configured(text, _ENVIRON, folder=Path("/nonexistent"), name="f.yaml").warnings
    except ConfigError as error:
        return error.problems
