"""A real Alertmanager, and two servers beside it: what Prometheus scrapes, and where pages arrive."""

import json
import subprocess
import threading
import urllib.request
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.e2e.processes import fetch, free_port
from tests.tools import require_tool
from tests.waiting import eventually_sync

Labels = dict[str, str]


class Alertmanager:
    """Runs inside the block, with the configuration in the file *config*."""

    def __init__(self, folder: Path, config: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command: list[str | Path] = [
            require_tool("prometheus-alertmanager"),
            f"--config.file={config}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ]
        self._log = (folder / "alertmanager.log").open("wb")
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)

    def __enter__(self) -> Self:
        eventually_sync(self._is_ready, what="Alertmanager")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def send(self, alerts: Sequence[Labels], starts_at: str) -> None:
        """Send alerts with these labels, as Prometheus does."""
        body = json.dumps([{"labels": labels, "startsAt": starts_at} for labels in alerts]).encode()
        request = urllib.request.Request(f"{self.url}/api/v2/alerts", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request).close()

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are active or inhibited, as amtool shows them."""
        options = ["alert", "query", "--active", "--inhibited", "-o", "json"]
        output = subprocess.run(
            [require_tool("amtool"), f"--alertmanager.url={self.url}", *options], capture_output=True, check=True
        ).stdout
        found: list[dict[str, Any]] = json.loads(output)
        return found

    def _is_ready(self) -> bool:
        try:
            fetch(f"{self.url}/-/ready")
        except OSError:
            return False
        return True


class LocalServer:
    """
    A server on the loopback interface, running inside the block.

    Attributes:
        page: what it answers to GET, such as the metrics of a monitor.
        received: the JSON documents that were posted to it.
    """

    def __init__(self) -> None:
        self.page = ""
        self.received: list[dict[str, Any]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(server.page.encode())

            def do_POST(self) -> None:
                server.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self._answer(b"")

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Write nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
