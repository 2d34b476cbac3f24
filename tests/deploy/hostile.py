"""Receivers that answer in every bad way and throw what they were sent back at the sender: addresses, headers and bodies."""

import http.server
import threading
from types import TracebackType
from typing import Self

BAD = {"500": 500, "400": 400, "403": 403, "410": 410, "429": 429, "302": 302}


class HostileReceiver:
    """
    Runs inside the block. `/500/...` is answered with 500, and so on; `/hang/...` never; anything else is taken.

    Attributes:
        bodies: first part of the path → every body that came there.
    """

    def __init__(self) -> None:
        self.bodies: dict[str, list[bytes]] = {}
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._take(self)

            do_GET = do_POST  # noqa: N815 - as above

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as above
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._released = threading.Event()
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def url(self, way: str, path: str) -> str:
        """The address of a receiver of that kind."""
        return f"http://127.0.0.1:{self.port}/{way}/{path}"

    def _take(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        way = handler.path.split("/")[1]
        self.bodies.setdefault(way, []).append(body)
        if way == "hang":
            self._released.wait(30)
            return
        echo = f"{handler.path}\n{handler.headers}\n".encode() + body
        handler.send_response(BAD.get(way, 200), f"No {handler.path}")
        handler.send_header("Location", f"http://127.0.0.1:{self.port}{handler.path}?again")
        handler.send_header("X-Echo", handler.path)
        handler.send_header("Content-Length", str(len(echo)))
        handler.end_headers()
        handler.wfile.write(echo)
