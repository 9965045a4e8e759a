"""A proxy before a service that is busy at first: it refuses one request, and passes on all that follow.

Tests of clients go through it, so that a client that takes an error for a picture, or does not try again, fails.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from tests.support.http_server import QuietServer

REFUSAL = b'{"error": {"code": "queue_full", "message": "The queue is full.", "request_id": "x"}}'


class BusyProxy(QuietServer):
    """Listens on a port of its own.

    Args:
        port: of the service behind it.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = port
        self._first = threading.Semaphore(1)
        self.requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def count(self) -> bool:
        """Count a request; whether it is the one that is refused."""
        self.requests += 1
        return self._first.acquire(blocking=False)


class _Handler(BaseHTTPRequestHandler):
    server: BusyProxy

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.count():
            self._answer(429, {"Retry-After": "0", "Content-Type": "application/json"}, REFUSAL)
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=60)
        connection.request("POST", self.path, body, dict(self.headers))
        response = connection.getresponse()
        self._answer(response.status, dict(response.headers), response.read())
        connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def busy_proxy(port: int) -> Iterator[BusyProxy]:
    """A running proxy that ends with the context."""
    with BusyProxy(port) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
