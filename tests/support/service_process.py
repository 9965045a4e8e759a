"""The service as a process of its own: how tests start it, send it requests and signals, and wait for it.

Tests of signals, faults and limits of the process use ``live``. Every process must end with its test.
"""

from __future__ import annotations

import http.client
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.ports import free_port
from tests.support.programs import Program
from tests.support.waiting import wait_until


class Answer:
    """A response, read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        with (
            response
        ):  # the last answer of a connection owns the socket, also if it cannot be read to its end
            self.body = response.read()

    @property
    def code(self) -> str:
        """The error's code."""
        return str(json.loads(self.body)["error"]["code"])


class Live(Program):
    """A service on a port of its own.

    Args:
        folder: for its log and the file that switches its faults.
        name: of these files.
        command: what the interpreter runs; None is the service with switchable faults.
        env: environment variables.
        output: takes the output instead of the log in the folder.
        in_child: called in the new process before the program starts.
        settings: as in ``Settings``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "service",
        command: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        output: Path | None = None,
        in_child: Callable[[], None] | None = None,
        **settings: object,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._faults = folder / f"{name}.faults.json"
        self.set_faults()
        self._pool = ThreadPoolExecutor(32)
        super().__init__(
            [sys.executable, *(command or ["-m", "tests.support.faulty_service", str(self._faults)])],
            output or folder / f"{name}.log",
            env={
                "INSPYRENET_HOST": "127.0.0.1",
                "INSPYRENET_PORT": str(self.port),
                "INSPYRENET_LOG_FORMAT": "json",
                "OMP_NUM_THREADS": "1",
                **{f"INSPYRENET_{field.upper()}": str(value) for field, value in settings.items()},
                **(env or {}),
            },
            in_child=in_child,
        )

    def set_faults(self, **faults: str) -> None:
        """Switch these faults on and all others off; ``faulty_service`` lists them."""
        new = self._faults.with_suffix(".new")
        new.write_text(json.dumps(faults))
        new.replace(self._faults)

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
    ) -> Answer:
        """Send one request on a connection of its own.

        Raises:
            OSError, http.client.HTTPException: no whole answer came.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            if headers is None:
                headers = {} if body is None else {"Content-Type": "application/octet-stream"}
            connection.request(method, path, body=body, headers=dict(headers))
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def post(self, photo: bytes) -> Answer:
        return self.ask("/process", method="POST", body=photo)

    def posting(self, photo: bytes) -> Future[Answer]:
        """Post a photo in another thread."""
        return self._pool.submit(self.post, photo)

    def status(self, path: str, *, timeout: float = 10) -> int:
        """The status of a GET; 0 if no answer comes."""
        try:
            return self.ask(path, timeout=timeout).status
        except (OSError, http.client.HTTPException):
            return 0

    def is_ready(self) -> bool:
        return self.status("/readyz") == 200

    def metric(self, sample: str, *, prefix: str = "inspyrenet_") -> float:
        """A sample by its name with labels, without the prefix."""
        return sample_in(self.ask("/metrics").body.decode(), f"{prefix}{sample}")

    def until(self, condition: Callable[[], object], *, seconds: float = 30) -> float:
        """Wait until the condition holds; return how long that took. The error quotes the log."""
        try:
            return wait_until(condition, seconds=seconds, what="the condition of the test")
        except TimeoutError as error:
            error.add_note(self.end_of_log())
            raise

    def until_ready(self, *, seconds: float = 30) -> None:
        self.until(self.is_ready, seconds=seconds)

    def terminate(self) -> float:
        """Send SIGTERM; return the moment at which it was sent."""
        self.process.send_signal(signal.SIGTERM)
        return time.monotonic()

    def exit_code(self, *, within: float = 30) -> int:
        """Wait for the end."""
        return self.process.wait(timeout=within)

    def log_messages(self, severity: str) -> list[str]:
        """The messages of a severity in the log, each with its values."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [
            " ".join(str(value) for key, value in line.items() if key not in {"severity", "time"})
            for line in lines
            if line["severity"] == severity
        ]

    def close(self) -> None:
        """End the process and forget the requests that are under way."""
        self.end(signal.SIGKILL)
        self._pool.shutdown(wait=False, cancel_futures=True)


def sample_in(exposition: str, name: str) -> float:
    """A sample by its whole name with labels."""
    for line in exposition.splitlines():
        found, _, value = line.rpartition(" ")
        if found == name:
            return float(value)
    raise AssertionError(f"no sample {name}")


@contextmanager
def live(
    folder: Path, *, ready: bool = True, faults: Mapping[str, str] | None = None, **options: Any
) -> Iterator[Live]:
    """A running service that ends with the context.

    Args:
        folder: for its files.
        ready: wait until it is ready.
        faults: are switched on from the start.
        options: of ``Live``, including the settings.
    """
    service = Live(folder, **options)
    service.set_faults(**(faults or {}))
    service.start()
    try:
        if ready:
            service.until_ready()
        yield service
    finally:
        service.close()
