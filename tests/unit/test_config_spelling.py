"""Every closed set of the configuration: a misspelled key or value is answered with its line and the nearest right one."""

import pytest

from monitor.config import Config
from monitor.config.types import Section, keys
from monitor.errors import ConfigError
from tests.configured import configured

USER = "6626a1f5e4b0c91a2d3f4567"
BASE = f"""\
accounts: [{{name: main, api_key: "${{KEY}}", discover: "off"}}]
connections: [{{id: linkedin-a1, name: Page, labels: {{team: social}}}}]
users: [{{id: {USER}, name: Acme}}]
receivers: [{{name: on-call, url: "https://hooks.example.org/x"}}]
"""
RECEIVER = '- {name: a, url: "https://hooks.example.org/y", '
PAGER = "- {receivers: [on-call], "
AT_NIGHT = 'from: "22:00", to: "07:00", '

VALUES: dict[str, tuple[str, str, str]] = {
    "brand": ("api", "brand: postpots", "postpost"),
    "discover": ("accounts", '- {name: two, api_key: "${KEY}", discover: conections}', "connections"),
    "account": ("connections", "- {id: x-1, account: mian}", "main"),
    "expect": ("connections", "- {id: x-1, expect: unsuported}", "unsupported"),
    "permission": ("connections", "- {id: x-1, require_permissions: [w_member_socail]}", "w_member_social"),
    "platform of an id": ("connections", "- linkedn-a1", "linkedin"),
    "platform of a selector": ("connections", "- match: {platform: linkedn}", "linkedin"),
    "account of a selector": ("connections", "- match: {account: mian}", "main"),
    "user of a selector": ("connections", "- match: {user_id: Acmee}", "Acme"),
    "policy.platforms": ("policy", "platforms: {linkedn: {expiry: {thresholds: [1d]}}}", "linkedin"),
    "platform of a known false negative": ("policy", "known_false_negatives: [{platform: linkedn, message: m}]", "linkedin"),
    "platform of a text": ("policy", "platform_texts: [{platform: linkedn, message: m, reason: token_expired}]", "linkedin"),
    "reason of a text": ("policy", "platform_texts: [{platform: x, message: m, reason: token_expird}]", "token_expired"),
    "receiver type": ("receivers", RECEIVER + "type: slak}", "slack"),
    "receiver time zone": ("receivers", RECEIVER + "timezone: Europe/Berln}", "Europe/Berlin"),
    "template": ("receivers", RECEIVER + 'template: \'{"a": "{sumary}"}\'}', "{summary}"),
    "text": ("receivers", "- {name: a, type: slack, url: 'https://hooks.slack.com/x', text: '{sumary}'}", "{summary}"),
    "header": ("receivers", RECEIVER + "headers: {Authorizaton: x}}", "Authorization"),
    "receiver of a route": ("routes", "- receivers: [oncall]", "on-call"),
    "receiver of an escalation": ("routes", PAGER + "escalate: {after: 3m, receivers: [oncall]}}", "on-call"),
    "severity of quiet hours": ("routes", PAGER + f"quiet_hours: {{{AT_NIGHT} severities: [warnin]}}}}", "warning"),
    "day of quiet hours": ("quiet_hours", AT_NIGHT.replace(", ", "\n  ") + "days: [mond]", "mon"),
    "time zone of quiet hours": ("quiet_hours", AT_NIGHT.replace(", ", "\n  ") + "timezone: Europ/Berlin", "Europe/Berlin"),
    "day of a silence": ("silences", f"- {{name: a, match: {{severity: info}}, {AT_NIGHT} days: [sunda]}}", "sun"),
    "cluster mode": ("cluster", "mode: stanby", "standby"),
    "level of the log": ("logging", "level: inof", "info"),
    "form of the log": ("logging", "format: jsn", "json"),
    "heartbeat method": ("heartbeat", "url: https://h.example.org/x\n  method: PSOT", "POST"),
}
"""What is misspelled -> its section, the line with it, and what was meant."""

MATCHERS = {
    "severity": ("crit", "critical"),
    "type": ("connection.broken", "connection."),
    "topic": ("expirey", "expiry"),
    "scope": ("acount", "account"),
    "reason": ("token_expird", "token_expired"),
    "why": ("open", "opened"),
    "account": ("mian", "main"),
    "platform": ("LinkedIn", "linkedin"),
    "connection": ("Pgae", "Page"),
    "user": ("Acmee", "Acme"),
    "team": ("socail", "social"),
    "tem": ("social", "team"),
}
"""Name of a matcher -> a misspelled value, or any for a misspelled name, and what was meant."""
for _name, (_given, _meant) in MATCHERS.items():
    VALUES[f"route by {_name}"] = ("routes", f"- {{match: {{{_name}: {_given}}}, receivers: [on-call]}}", _meant)
    VALUES[f"silence by {_name}"] = ("silences", f"- {{name: a, match: {{{_name}: {_given}}}, {AT_NIGHT}}}", _meant)


def problems(section: str, line: str) -> list[str]:
    """What is said of *line* in a *section* that is added to a good configuration."""
    kept = "".join(given for given in BASE.splitlines(keepends=True) if not given.startswith(f"{section}:"))
    own = next((given for given in BASE.splitlines() if given.startswith(f"{section}:")), "")
    entries = f"- {own.partition('[')[2].rpartition(']')[0]}\n  " if own else ""
    try:
        said = configured(f"{kept}{section}:\n  {entries}{line}\n").warnings
    except ConfigError as error:
        said = error.problems
    number = len(kept.splitlines()) + 2 + bool(own)
    return [str(problem) for problem in said if problem.location.startswith(f"config.yaml:{number}") or "\n" in line]


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    """A misspelled value of a closed set, and one that is nearly a known one of an open set."""
    section, line, meant = VALUES[name]
    found = problems(section, line)
    assert any(f"did you mean {meant}" in problem for problem in found), found


def _sections(section: type[Section], place: str = "") -> list[tuple[str, list[str]]]:
    """*section* and those below it: the place of each, and its keys."""
    found = [(place, [key.name for key in keys(section) if len(key.name) > 3])]
    for key in keys(section):
        if key.section is not None:
            inner = f"{place}{key.name}."
            found += _sections(key.section, inner + {"plain": "", "list": "0.", "mapping": "linkedin."}[key.shape])
    return found


@pytest.mark.parametrize(("place", "names"), _sections(Config))
def test_keys(place: str, names: list[str]) -> None:
    """Every misspelled key of any section at any depth."""
    text = ", ".join(f"{name[0]}{name[2:]}: 1" for name in names)
    text = f"{{{text}}}" if place else text.replace(", ", "\n")
    for part in reversed(place.split(".")[:-1]):
        text = f"[{text}]" if part == "0" else f"{{{part}: {text}}}"
    with pytest.raises(ConfigError) as caught:
        configured("# The first line.\n" + text)
    said = [problem for problem in caught.value.problems if "unknown key" in problem.message]
    assert [name for name in names if not any(problem.fix == f"did you mean {name}?" for problem in said)] == []
    assert all(problem.location.startswith("config.yaml:2") or not place for problem in said)
