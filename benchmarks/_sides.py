"""The two sides as processes: the service, started as in production, and stock ``transparent-background``.

The benchmarks that measure whole processes start them here. Each process must have its own home, cache and temporary
folder. These folders contain everything that a process keeps from one start to the next, so a process with new folders
starts as on a fresh disk. Three caches need attention:

- The compiled ``.pyc`` files of the installed packages stay, because a container image contains them too.
- The cache of numba does not stay. Without ``NUMBA_CACHE_DIR`` it would be beside the package, and the first start
  would fill it.
- The page cache of the operating system stays, so both sides read their files from memory.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from benchmarks._harness import RESULTS, ROOT
from tests.support.ports import free_port

POLL_SECONDS = 0.005
START_LIMIT_SECONDS = 600
UNMEASURED = 3
"""Pictures that are not measured. The first ones are slower, and the service may still work after its first 200."""


def weights(*, hostile: bool = False) -> Path:
    """Return the file of a dummy checkpoint of the ``base`` network, for both sides. It is created once (367 MB)."""
    folder = RESULTS / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("hostile.pth" if hostile else "benign.pth")
    if not path.exists():
        code = (
            "from service.engines.inspyrenet.dummy_weights import write_dummy; "
            f"write_dummy({str(path)!r}, 'base', hostile={hostile})"
        )
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    return path


def environment(home: Path, **extra: str) -> dict[str, str]:
    """Return environment variables for a process, so that all its caches are under ``home``."""
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    kept = {
        name: os.environ[name]
        for name in (
            "PATH",
            "LANG",
            "LD_LIBRARY_PATH",
            "OMP_NUM_THREADS",
            "OMP_WAIT_POLICY",
            "CUDA_VISIBLE_DEVICES",
        )
        if name in os.environ
    }
    return {
        **kept,
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "TMPDIR": str(home / "tmp"),
        "NUMBA_CACHE_DIR": str(home / "numba"),
        "PYTHONUNBUFFERED": "1",
        **extra,
    }


class Service:
    """``python -m service`` in a process of its own. The context manager ends it.

    Args:
        home: the folder of all its caches.
        command: arguments of Python, if another program is to run. It must listen on ``INSPYRENET_PORT``.
        log: for its output; the default is a file in its home.
        env: further environment variables.
        settings: environment variables without ``INSPYRENET_``, such as ``WEIGHTS``.
    """

    def __init__(
        self,
        home: Path,
        *,
        command: tuple[str, ...] = ("-m", "service"),
        log: BinaryIO | None = None,
        env: Mapping[str, str] | None = None,
        **settings: object,
    ) -> None:
        self.port = free_port()
        values = {"HOST": "127.0.0.1", "PORT": self.port, **settings}
        named = {f"INSPYRENET_{name}": str(value) for name, value in values.items()}
        variables = environment(home, **named, **(env or {}))
        self._log = log or (home / "service.log").open("wb")
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=variables,
            stdout=self._log,
            stderr=self._log,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, Message]:
        """Send one request on a new connection. Return status, body and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_LIMIT_SECONDS)
        with contextlib.closing(connection):
            connection.request(
                method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
            )
            response = connection.getresponse()
            return response.status, response.read(), response.headers

    def wait(self, path: str) -> float:
        """Return the seconds from the start of the process to the first 200 of ``path``.

        ``/warmup`` gets a single POST as soon as the port answers, which waits, as a platform or a web page would do
        it. Polling instead would take a fifth of the CPU time away from the imports that it waits for.
        """
        if path == "/warmup":
            self.wait("/livez")
            status, answer, _ = self.request("POST", path)
            if status != 200:
                raise RuntimeError(f"{path}: {status} {answer[:300]!r}; see {self._log.name}")
            return time.perf_counter() - self.started
        while time.perf_counter() - self.started < START_LIMIT_SECONDS:
            if self.process.poll() is not None:
                raise RuntimeError(f"the service ended with {self.process.returncode}; see {self._log.name}")
            with contextlib.suppress(OSError):
                if self.request("GET", path)[0] == 200:
                    return time.perf_counter() - self.started
            time.sleep(POLL_SECONDS)
        raise TimeoutError(f"{path} did not answer 200; see {self._log.name}")

    def cut_out(self, picture: bytes, query: str = "") -> bytes:
        """Send a picture to ``POST /process``, and return the body of the answer.

        Raises:
            RuntimeError: the answer is not 200.
        """
        return self._process(picture, query)[0]

    def stages(self, picture: bytes) -> dict[str, float]:
        """Return the milliseconds of each stage of one ``POST /process``, from the header ``Server-Timing``."""
        stages = self._process(picture, "")[1]["Server-Timing"].split(", ")
        return {name: float(value) for name, _, value in (stage.partition(";dur=") for stage in stages)}

    def _process(self, picture: bytes, query: str) -> tuple[bytes, Message]:
        status, answer, headers = self.request(
            "POST", f"/process{query}", picture, content_type="application/octet-stream"
        )
        if status != 200:
            raise RuntimeError(f"{status}: {answer[:300]!r}")
        return answer, headers

    def warmup(self) -> dict[str, Any]:
        """Return the body of ``GET /warmup``."""
        found: dict[str, Any] = json.loads(self.request("GET", "/warmup")[1])
        return found

    def metrics(self, name: str) -> dict[str, float]:
        """Return the samples of one metric, by their labels as text."""
        lines = self.request("GET", "/metrics")[1].decode().splitlines()
        found = (line.rpartition(" ") for line in lines if line.startswith((f"{name}{{", f"{name} ")))
        return {key.removeprefix(name): float(value) for key, _, value in found}

    def peak_memory(self) -> int:
        """Return the largest resident size so far in bytes (``VmHWM``)."""
        return _status(self.process.pid, "VmHWM")

    def memory(self) -> int:
        """Return the resident size in bytes (``VmRSS``)."""
        return _status(self.process.pid, "VmRSS")


class Stock:
    """Stock ``transparent-background`` in a process of its own. It runs ``benchmarks/stock_process.py``.

    Args:
        home: the folder of all its caches.
        checkpoint: the weights.
        resize: ``static`` or ``dynamic``.
    """

    def __init__(self, home: Path, checkpoint: Path, *, resize: str = "dynamic") -> None:
        # Without this variable, albumentations asks the network for a newer version at every import.
        env = environment(home, NO_ALBUMENTATIONS_UPDATE="1")
        self._log = (home / "stock.log").open("wb")
        self.moments: dict[str, float] = {}
        """Seconds from the start of the process to each step of its start: ``running``, ``imported``, ``built``. The
        clock is read when :meth:`ask` receives the line of a step. So call :meth:`ask` right after the start."""
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.stock_process", str(checkpoint), resize],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)
        self._log.close()

    def ask(self, **order: object) -> dict[str, Any]:
        """Send one order, and return its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        while line := self.process.stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            if "moment" not in answer:
                return answer
            self.moments[answer["moment"]] = time.perf_counter() - self.started
        raise RuntimeError(f"the process of stock has ended; see {self._log.name}")

    def cut_out(self, picture: Path, out: Path, *, kind: str = "rgba") -> float:
        """Make one cut-out. Return the seconds from the bytes of the file to the bytes of the PNG.

        The seconds are measured inside the process. They do not include writing the PNG to ``out``.
        """
        return float(self.ask(picture=str(picture), out=str(out), kind=kind)["seconds"])

    def peak_memory(self) -> int:
        """Return the largest resident size so far in bytes (``VmHWM``)."""
        return _status(self.process.pid, "VmHWM")


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def jpeg(width: int, height: int, name: str = "astronaut") -> bytes:
    """Return a photograph of that size in pixels, as a JPEG of quality 90."""
    from io import BytesIO

    from PIL import Image

    from benchmarks.scenes import photograph

    buffer = BytesIO()
    Image.fromarray(photograph(name, width, height)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder for homes, pictures and links to weights. It is removed afterwards."""
    import tempfile

    (ROOT / "out").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / "out") as folder:
        yield Path(folder)


def fresh_home(folder: Path, checkpoint: Path) -> tuple[Path, Path]:
    """Return an empty home, and a hard link to the checkpoint in a folder that contains nothing else."""
    number = sum(1 for _ in folder.iterdir())
    home = folder / f"home-{number}"
    (home / "weights").mkdir(parents=True)
    linked = home / "weights" / checkpoint.name
    linked.hardlink_to(checkpoint)
    return home, linked


def used_home(name: str) -> Path:
    """Return a home that is kept from run to run, so that numba need not compile again before a warm measurement."""
    home = RESULTS / "homes" / name
    home.mkdir(parents=True, exist_ok=True)
    return home


def caches_elsewhere(since: float) -> list[Path]:
    """Return files beside the code that are newer than ``since`` (Unix time). A fresh home would not clear them."""
    import site

    places = [Path(path) for path in site.getsitepackages()]
    places += [ROOT / name for name in ("service", "supervisor", "metrics")]
    return [
        path
        for place in places
        for path in place.rglob("*")
        if path.is_file() and path.suffix not in {".pyc", ".py"} and path.stat().st_mtime > since
    ]


def caches_in(home: Path) -> list[str]:
    """Return the files that a start has left in its home, without the log and the checkpoint."""
    return sorted(
        str(path.relative_to(home))
        for path in home.rglob("*")
        if path.is_file() and path.suffix not in {".log", ".pth"}
    )
