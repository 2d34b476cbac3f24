"""The JSON API of the real daemon: schemathesis against its own description, and the examples of its page."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.conftest import simulating
from tests.deploy.daemon import ROOT, Daemon, Simulated
from tests.e2e.processes import fetch, wait_until
from tests.tools import require_tool

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
WORKING = "threads-17841412345678"
BROKEN = "mastodon-109876543210"
PAGE = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")

# What the generated requests find there: rows behind every list, so that answers are more than empty.
_CONFIG = """\
[generation]
deterministic = true

[phases.coverage]
unexpected-methods = ["POST"]

[parameters]
"path.platformId" = "{broken}"
"path.number" = 1
platformId = "{broken}"
account = "main"

[checks]
# Too long a query is told by the port itself, before there is anything to read.
negative_data_rejection.expected-statuses = ["400", "401", "403", "404", "405", "409", "431"]
positive_data_acceptance.expected-statuses = ["2xx", "404", "409", "431"]
# Who may ask is the port's own: it has tests of its own.
ignored_auth.enabled = false

# That it takes ids or a label is no rule that a description can hold.
[[operations]]
include-operation-id = "preflight"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "409", "431"]

{operations}
"""
_OPERATION = """\
[[operations]]
include-operation-id = "{name}"
parameters = {{ cursor = "{cursor}"{sort} }}
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A running daemon with two connections: one works, both broke and were told of."""
    folder = tmp_path_factory.mktemp("api")
    with simulating(folder) as simulated, _daemon(folder, simulated) as running:
        running.ready()
        wait_until("first checks", lambda: _get(running, "summary")["counts"]["ok"] == 2)
        for number, platform_id in enumerate((WORKING, BROKEN), start=1):
            simulated.steer.do(f"connections/{platform_id}/break")
            wait_until("the failure is told", lambda: len(_get(running, "deliveries?state=delivered")["deliveries"]) >= number)  # noqa: B023
        simulated.steer.do(f"connections/{WORKING}/heal")
        wait_until("it works again", lambda: _get(running, "summary")["counts"]["ok"] == 1)
        yield running


def _daemon(folder: Path, simulated: Simulated) -> Daemon:
    simulated.steer.do("connections", {"id": BROKEN, "account": "main"})
    return Daemon(folder, simulated, receivers=f'{{name: on-call, url: "{simulated.hook}"}}')


def _get(daemon: Daemon, path: str) -> Any:
    return json.loads(fetch(f"{daemon.url}/api/v1/{path}"))


def _config(daemon: Daemon) -> str:
    """Settings for schemathesis, with a cursor that each list gave; one of connections fits only the order that it was given in."""
    lists = {
        "listConnections": "connections?limit=1",
        "getHistory": f"connections/{BROKEN}/history?limit=1",
        "listIncidents": "incidents?limit=1",
        "listDeliveries": "deliveries?limit=1",
    }
    cursors = {name: _get(daemon, path)["nextCursor"] for name, path in lists.items()}
    sorts = {"listConnections": ', sort = "id"'}
    operations = "\n".join(
        _OPERATION.format(name=name, cursor=cursor, sort=sorts.get(name, "")) for name, cursor in cursors.items() if cursor is not None
    )
    return _CONFIG.format(broken=BROKEN, operations=operations)


@pytest.mark.slow
def test_schemathesis(daemon: Daemon, tmp_path: Path) -> None:
    """No generated request, fitting or not, gets an answer that the description does not announce, or a fault."""
    config = tmp_path / "schemathesis.toml"
    config.write_text(_config(daemon))
    done = subprocess.run(
        [
            *(SCHEMATHESIS, "--config-file", config, "run", f"{daemon.url}/api/v1/openapi.json", "--url", daemon.url),
            # Actions are off here; tests/integration/test_web_actions.py has them.
            *("--include-method", "GET", "--seed", "1", "--max-examples", "1", "--phases", "coverage,fuzzing", "--no-color"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert int(re.findall(r"(\d+) generated", done.stdout)[0]) > 100
    assert "Tested: 17" in done.stdout


@pytest.mark.slow
def test_examples(daemon: Daemon) -> None:
    """Every command of the page works as it stands there, and gets what the page says."""
    curl = require_tool("curl")
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    said = []
    for block in blocks:
        # With -f a refusal is a failure; one example shows a refusal.
        command = block.replace("http://127.0.0.1:9840", daemon.url).replace(
            "curl -s ", f"{curl} -s " if "opened=true" in block else f"{curl} -sf "
        )
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        said.append(done.stdout)

    assert len(blocks) == 5
    assert [json.loads(line)["version"] for line in said[0].splitlines()] == ["1"] * 8
    assert json.loads(said[1])["connections"][0]["platformId"] == WORKING
    assert said[2] == "go ahead\n"
    assert json.loads(said[3])["allowed"] == ["platformId", "account", "open", "since", "topic", "limit", "cursor"]
    assert said[4].count("<svg ") == 3
