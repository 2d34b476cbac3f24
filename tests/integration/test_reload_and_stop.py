"""A reload and a stop that come together, at every moment of each other: the monitor ends, and ends clean."""

import asyncio
from pathlib import Path

import pytest

from monitor.app import App
from monitor.clock import SystemClock
from monitor.config import load
from monitor.notify import templates
from monitor.runtime.signals import Signals
from tests import marked
from tests.waiting import eventually, patience

CONFIG = """\
api: {{base_url: "http://127.0.0.1:9/api/v1"}}
accounts: [{{name: main, api_key: {key}, discover: "off"}}]
connections: [linkedin-page1, linkedin-page2]
receivers: [{{name: on-call, url: "http://127.0.0.1:9/{path}"}}]
database: {{url: "sqlite:///{folder}/monitor.db"}}
web: {{listen: "127.0.0.1:0"}}
shutdown: {{drain: 2s}}
"""


@pytest.mark.parametrize("turns", [-13, -1, 0, 3, 13, 55, 233])
async def test_together(tmp_path: Path, turns: int) -> None:
    """However many turns of the loop the stop comes after the reload, or before it, everything that was started is ended."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(key=marked.API_KEY, path=marked.PATH, folder=tmp_path))
    config, signals = load(path, check_template=templates.problems), Signals()
    app = App(config, clock=SystemClock(), signals=signals, reread=lambda: config)
    running = asyncio.create_task(app.run())
    await eventually(lambda: running.done() or app.ready.is_set(), what="the start")
    first, second = (signals.reload.set, signals.request_stop) if turns >= 0 else (signals.request_stop, signals.reload.set)
    first()
    for _ in range(abs(turns)):
        await asyncio.sleep(0)
    second()
    async with asyncio.timeout(patience()):
        await running
    left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert left == []
