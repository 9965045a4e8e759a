"""A real HTTP server on this machine that answers as a test tells it to, for downloads."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

from tests.support.http_server import QuietServer

GOOD = b"PK\x03\x04" + bytes(range(256)) * 400
"""What the server sends by default, in place of a checkpoint."""

MD5 = hashlib.md5(GOOD).hexdigest()
SHA256 = hashlib.sha256(GOOD).hexdigest()

Answer = Callable[[BaseHTTPRequestHandler], None]


def whole(body: bytes, *, status: int = 200, length: int | None = None) -> Answer:
    """An answer with this body; ``length`` is announced instead of the body's own length."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body) if length is None else length))
        request.end_headers()
        request.wfile.write(body)

    return answer


class FileServer:
    """Answers each request with the next of its answers, and repeats the last one."""

    def __init__(self) -> None:
        self.answers: list[Answer] = [whole(GOOD)]
        self.requests = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = outer.answers[min(outer.requests, len(outer.answers) - 1)]
                outer.requests += 1
                answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = QuietServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/ckpt.pth"
        self.stopping = threading.Event()
