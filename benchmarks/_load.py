"""Several clients that post pictures at the same time.

``gpu``, ``scaling`` and ``throughput`` call it. It must keep every client busy, and it fails if an answer is not 200.
"""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

LIMIT_SECONDS = 3600
HEADERS = {"Content-Type": "application/octet-stream"}


def post_all(port: int, pictures: Sequence[bytes], clients: int) -> float:
    """Post all pictures, and return the seconds until the last cut-out has arrived.

    Args:
        port: of the service on this machine.
        pictures: a client that is free takes the next one.
        clients: the number of clients. Each keeps a connection of its own open.

    Raises:
        RuntimeError: an answer is not 200.
    """
    waiting: SimpleQueue[bytes] = SimpleQueue()
    for picture in pictures:
        waiting.put(picture)

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_SECONDS)
        with contextlib.closing(connection), contextlib.suppress(Empty):
            while True:
                connection.request("POST", "/process", waiting.get_nowait(), HEADERS)
                response = connection.getresponse()
                answer = response.read()
                if response.status != 200:
                    raise RuntimeError(f"{response.status}: {answer[:300]!r}")

    with ThreadPoolExecutor(clients) as pool:
        start = time.perf_counter()
        for ended in [pool.submit(client) for _ in range(clients)]:
            ended.result()
        return time.perf_counter() - start
