"""A node that tends nothing shows everything, and has the others do what is asked for at its pages."""

from pathlib import Path

import pytest

from monitor.config import load
from monitor.notify import templates
from monitor.simulator.presets import DEMO_KEY
from tests.integration.test_standby import _instance, _simulator
from tests.waiting import eventually

pytestmark = pytest.mark.slow

CONFIG = """\
api: {{base_url: "{api}", requests_per_second: 100}}
accounts: [{{name: main, api_key: "{key}"}}]
database: {{url: "{url}"}}
cluster: {{mode: shared, node: {node}, weight: {weight}}}
web: {{listen: "127.0.0.1:0"}}
shutdown: {{drain: 2s}}
"""


async def test_pages_of_a_node_without_work(postgres_url: str, tmp_path: Path) -> None:
    """It exports no connection, its page shows all, and a check that is asked for there is made by the other node."""
    async with _simulator() as api:
        configs = []
        for node, weight in (("worker", 1), ("pages", 0)):
            path = tmp_path / f"{node}.yaml"
            path.touch(mode=0o600)
            path.write_text(CONFIG.format(api=api, key=DEMO_KEY, url=postgres_url, node=node, weight=weight))
            configs.append(load(path, check_template=templates.problems))
        left = configs[1].model_copy(update={"cluster": None})
        async with _instance(configs[0]) as worker, _instance(configs[1], reread=lambda: left) as pages:
            for instance in (worker, pages):
                await instance.until(instance.app.ready.is_set, "it has started")
            await worker.until(lambda: len(worker.app._registry.ids()) > 3, "the connections")
            registry = worker.app._registry
            await worker.until(lambda: all(registry.state(number).last_check_at for number in registry.ids()), "all are checked")
            await pages.get_with("/", "threads-17841412345678")
            assert "postpost_connection_" not in await pages.get("/metrics")
            assert "postpost_connection_up" in await worker.get_with("/metrics", "postpost_connection_up")
            number = registry.ids()[0]
            connection, before = registry.connection(number), registry.state(number).last_check_at
            assert connection is not None
            assert await pages.app._reload_and_wait() == 1, "a node leaves the cluster only when it is stopped"
            assert pages.app._check_now(connection)
            await eventually(lambda: registry.state(number).last_check_at != before, what="the check that was asked for")
