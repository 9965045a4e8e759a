"""The service as a process of its own: started, asked, signalled, and waited for."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Answer:
    """A response, read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def code(self) -> str:
        """The error's code."""
        return str(json.loads(self.body)["error"]["code"])


class Live:
    """A running service.

    Args:
        folder: for its log and the file that switches its faults.
        command: what the interpreter runs; None is the service with switchable faults.
        env: environment variables.
        output: a file that takes what it prints; None is the log.
        in_child: called in the new process before the program starts.
    """

    def __init__(
        self,
        folder: Path,
        *,
        command: Sequence[str] | None,
        env: Mapping[str, str],
        output: Path | None,
        in_child: Callable[[], None] | None,
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.switch = folder / "faults.json"
        self.log = output or folder / "log.jsonl"
        self._pool = ThreadPoolExecutor(32)
        self._command = [
            sys.executable,
            *(command or ["-m", "tests.support.faulty_service", str(self.switch)]),
        ]
        self._in_child = in_child
        self._env = os.environ | {
            "INSPYRENET_HOST": "127.0.0.1",
            "INSPYRENET_PORT": str(self.port),
            "INSPYRENET_LOG_FORMAT": "json",
            "OMP_NUM_THREADS": "1",
            **env,
        }

    def start(self) -> None:
        """Start the process; it may take a second until it answers."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._env,
                stdout=output,
                stderr=output,
                preexec_fn=self._in_child,  # noqa: PLW1509 - it only sets limits
            )

    def put_in(self, **faults: str) -> None:
        """Switch faults on, all others off."""
        beside = self.switch.with_suffix(".new")
        beside.write_text(json.dumps(faults))
        beside.replace(self.switch)

    def ask(
        self, path: str, *, method: str = "GET", body: bytes | None = None, timeout: float = 30
    ) -> Answer:
        """One request on a connection of its own.

        Raises:
            OSError, http.client.HTTPException: no whole answer came.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            headers = {} if body is None else {"Content-Type": "application/octet-stream"}
            connection.request(method, path, body=body, headers=headers)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def post(self, photo: bytes) -> Answer:
        return self.ask("/process", method="POST", body=photo)

    def posting(self, photo: bytes) -> Future[Answer]:
        """A request under way."""
        return self._pool.submit(self.post, photo)

    def status(self, path: str) -> int:
        """Of a GET; 0 if nothing answers."""
        try:
            return self.ask(path, timeout=10).status
        except (OSError, http.client.HTTPException):
            return 0

    def metric(self, sample: str, *, prefix: str = "inspyrenet_") -> float:
        """A sample by its name with labels, without the prefix."""
        for line in self.ask("/metrics").body.decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name == f"{prefix}{sample}":
                return float(value)
        raise AssertionError(f"no sample {sample}")

    def until(self, condition: Callable[[], object], *, seconds: float = 30) -> float:
        """Wait until something is so; how long that took."""
        start = time.monotonic()
        while not condition():
            assert time.monotonic() - start < seconds, (
                f"not so after {seconds} s\n{self.log.read_text()[-4000:]}"
            )
            time.sleep(0.02)
        return time.monotonic() - start

    def ready(self) -> None:
        self.until(lambda: self.status("/readyz") == 200)

    def terminate(self) -> float:
        """Send SIGTERM; the moment at which it was sent."""
        self.process.send_signal(signal.SIGTERM)
        return time.monotonic()

    def exit_code(self, *, within: float = 30) -> int:
        """Wait for the end."""
        return self.process.wait(timeout=within)

    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def said(self, severity: str) -> list[str]:
        """Log messages of a severity, with what came with them."""
        return [
            " ".join(str(value) for key, value in line.items() if key not in {"severity", "time"})
            for line in self.lines()
            if line["severity"] == severity
        ]

    def close(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        self._pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def live(
    folder: Path,
    *,
    command: Sequence[str] | None = None,
    ready: bool = True,
    faults: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    output: Path | None = None,
    in_child: Callable[[], None] | None = None,
    **settings: object,
) -> Iterator[Live]:
    """A service that ends with the context; settings as in ``Settings``."""
    named = {f"INSPYRENET_{name.upper()}": str(value) for name, value in settings.items()}
    service = Live(folder, command=command, env={**named, **(env or {})}, output=output, in_child=in_child)
    service.put_in(**(faults or {}))
    service.start()
    try:
        if ready:
            service.ready()
        yield service
    finally:
        service.close()
