"""A real Prometheus: started on a free port with our rules, asked over its API."""

import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.deploy.daemon import ROOT
from tests.e2e.processes import fetch, free_port, wait_until

_RULES = ROOT / "deploy/prometheus/rules"
_CONFIG = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}/*.yml"]
alerting: {{alertmanagers: [{{static_configs: [{{targets: [{alertmanager}]}}]}}]}}
scrape_configs:
  - {{job_name: postpost-monitor, static_configs: [{{targets: [{targets}]}}]{more}}}
"""


class Prometheus:
    """
    Runs inside the block; scrapes *targets*, separated by commas, every second.

    *more* are further keys of the job, such as `, scheme: https`; *rules* is the folder with its rules, *alertmanager* the address that
    gets its alerts.
    """

    def __init__(self, program: Path, folder: Path, targets: str, more: str = "", *, rules: Path = _RULES, alertmanager: str = "") -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        config = folder / "prometheus.yml"
        config.write_text(_CONFIG.format(rules=rules, targets=targets, more=more, alertmanager=alertmanager))
        self._log = (folder / "prometheus.log").open("w")
        command: list[str | Path] = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
        command.append("--rules.alert.resend-delay=1s")
        command.append(f"--web.listen-address={self.url.removeprefix('http://')}")
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)

    def __enter__(self) -> Self:
        wait_until("Prometheus", lambda: fetch(f"{self.url}/-/ready"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def targets(self) -> list[dict[str, Any]]:
        """What is scraped, and how that goes."""
        found: list[dict[str, Any]] = self._ask("targets", {})["activeTargets"]
        return found

    def series(self, query: str) -> int:
        """How many series the query gives now; raises ValueError with what is wrong with it."""
        return len(self._ask("query", {"query": query})["result"])

    def graph(self, query: str) -> int:
        """How many series the query gives over the last seconds."""
        now = time.time()
        return len(self._ask("query_range", {"query": query, "start": now - 10, "end": now, "step": 1})["result"])

    def rules(self) -> list[dict[str, Any]]:
        """Every rule and how it does."""
        found: list[dict[str, Any]] = [rule for group in self._ask("rules", {})["groups"] for rule in group["rules"]]
        return found

    def alerts(self) -> list[dict[str, Any]]:
        """Every alert that is pending or firing."""
        found: list[dict[str, Any]] = self._ask("alerts", {})["alerts"]
        return found

    def own_metric(self, name: str) -> float:
        """The sum of the samples of one of its own metrics."""
        lines = fetch(f"{self.url}/metrics").decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}[ {{]", line))

    def _ask(self, what: str, parameters: dict[str, Any]) -> Any:
        try:
            body = fetch(f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}")
        except urllib.error.HTTPError as error:
            raise ValueError(json.loads(error.read())["error"]) from None
        return json.loads(body)["data"]
