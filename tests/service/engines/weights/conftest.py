"""What the tests of downloads and of the official checkpoints share."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.service.engines.weights.file_server import FileServer


@pytest.fixture
def server() -> Iterator[FileServer]:
    running = FileServer()
    thread = threading.Thread(target=running.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.stopping.set()
    running.http.shutdown()
    running.http.server_close()
    thread.join()
