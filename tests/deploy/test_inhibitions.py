"""The inhibitions of the Alertmanager example: by the labels that tie cause and effect, in a real Alertmanager, with two instances."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tests.deploy.alerting import Alertmanager, Labels
from tests.deploy.daemon import ROOT
from tests.waiting import eventually_sync

EXAMPLE = ROOT / "deploy/alertmanager/alertmanager.yml"

USER = "6626a1f5e4b0c91a2d3f4567"
BASE = {
    "instance": "one:9840",
    "monitor": "one",
    "account": "main",
    "user_id": USER,
    "platform": "x",
    "platform_id": "x-1",
    "receiver": "on-call",
}
"""The labels of an alert, as far as the alerts of its name have them."""
OTHER = {
    "instance": "two:9840",
    "monitor": "two",
    "account": "other",
    "user_id": "a" * 24,
    "platform": "threads",
    "platform_id": "x-2",
    "receiver": "chat",
}

_CONNECTION = ("monitor", "account", "user_id", "platform", "platform_id")
OWN: Mapping[str, tuple[str, ...]] = {
    "PostpostConnection.+|PostpostToken.+|PostpostP(ublish|ermiss).+": _CONNECTION,
    "PostpostPlatformFailed": ("monitor", "platform"),
    "PostpostGroupFailed": ("monitor", "account", "user_id", "platform"),
    "PostpostUserFailed": ("monitor", "account", "user_id"),
    "PostpostAccount.+": ("monitor", "account"),
    "PostpostReceiver.+": ("monitor", "receiver"),
    "PostpostApi.+|PostpostStorageDown": ("monitor",),
    "PostpostLoopStuck": ("instance", "monitor", "account"),
    "PostpostOutboxStuck": ("instance", "monitor", "receiver"),
    "PostpostMonitorDown": ("instance",),
    ".+": ("instance", "monitor"),
}
"""Pattern of names -> the labels that alerts of these names have."""


def alert_names() -> list[str]:
    """The name of every alert rule."""
    document = yaml.safe_load((ROOT / "deploy/prometheus/rules/alerts.yml").read_text(encoding="utf-8"))
    return [rule["alert"] for group in document["groups"] for rule in group["rules"] if "alert" in rule]


def an_alert(name: str, case: str, **changed: str) -> Labels:
    """An alert of this *name*, with the labels that its rule gives it; *case* keeps the tests apart."""
    own = next(labels for pattern, labels in OWN.items() if re.fullmatch(pattern, name))
    more = {"loop": "checker"} if name == "PostpostLoopStuck" else {}
    more |= {"job": "postpost-monitor"} if "instance" in own else {}
    # Every case has instances and monitors of its own, so that it inhibits nothing of another case.
    values = {label: changed.get(label, BASE[label]) for label in own}
    values |= {label: f"{case} {values[label]}" for label in ("instance", "monitor") if label in own}
    return {"alertname": name, "case": case, **more, **values}


def cases() -> Iterator[tuple[str, Labels, Labels, bool]]:
    """Every cause and effect of the example: with the labels of the effect that are the same, and with one of them another."""
    names = alert_names()
    for number, rule in enumerate(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))["inhibit_rules"]):
        sources, targets = (
            [name for name in names if all(_holds(matcher, name) for matcher in rule[key])]
            for key in ("source_matchers", "target_matchers")
        )
        for source in sources:
            for target in targets:
                case = f"{number}-{source}-{target}"
                yield case, an_alert(source, case), an_alert(target, case), True
                for label in set(rule["equal"]) & OTHER.keys() & an_alert(source, case).keys():
                    yield (
                        f"{case}-{label}",
                        an_alert(source, f"{case}-{label}"),
                        an_alert(target, f"{case}-{label}", **{label: OTHER[label]}),
                        False,
                    )


def _holds(matcher: str, name: str) -> bool:
    """Whether *matcher* allows alerts called *name*."""
    label, kind, value = re.findall(r'(\w+) (=~|!=|=) "(.*)"', matcher)[0]
    if label != "alertname":
        return True
    same = re.fullmatch(value, name) is not None if kind == "=~" else value == name
    return same is not (kind == "!=")


@pytest.mark.slow
def test_in_a_real_alertmanager(tmp_path: Path) -> None:
    """A cause inhibits its effects where the labels that tie them are the same, and nothing of another instance, account or receiver."""
    expected: dict[str, bool] = {}
    alerts: list[Labels] = []
    for case, source, target, inhibited in cases():
        alerts += [source, target]
        expected[case] = inhibited
    targets = {case: target for case, _, target, _ in cases()}
    with Alertmanager(tmp_path, EXAMPLE) as alertmanager:
        alertmanager.send(alerts, datetime.now(UTC).isoformat())

        def shown() -> dict[str, bool]:
            return {
                alert["labels"]["case"]: bool(alert["status"]["inhibitedBy"])
                for alert in alertmanager.alerts()
                if alert["labels"] == targets[alert["labels"]["case"]]
            }

        eventually_sync(lambda: shown().keys() >= expected.keys(), what="the alerts")
        assert shown() == expected
    assert True in expected.values()
    assert len([case for case, inhibited in expected.items() if not inhibited and case.endswith(("-instance", "-monitor"))]) > 20


def test_every_effect_is_named_once() -> None:
    """Every inhibition names alerts that exist, compares the monitor or its target, and compares nothing that its causes never have."""
    for rule in yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))["inhibit_rules"]:
        assert set(rule["equal"]) & {"monitor", "instance"}
        names = [name for name in alert_names() if all(_holds(matcher, name) for matcher in rule["source_matchers"])]
        assert names, rule
        assert all(set(rule["equal"]) <= an_alert(name, "any").keys() for name in names), rule
