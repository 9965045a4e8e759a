"""Fixtures for all tests: slow ones are made once for all workers of a run. Figures that tests record are printed."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from tests.support.examples import register_profiles
from tests.support.programs import ROOT

# Every worker runs torch on all cores. Without this setting, idle threads of one worker spin and slow the others down.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

register_profiles()


SLOW = {"process", "network", "photographs", "timing", "memory", "e2e", "stock", "gpu", "ray"}
"""The marks that pyproject.toml explains."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with most slow tests first. A run that ends with one of them ends with three idle workers."""
    slow = Counter(item.path for item in items if any(mark.name in SLOW for mark in item.iter_markers()))
    items.sort(key=lambda item: -slow[item.path])


def pytest_collection_finish() -> None:
    """Leave a million objects of the collected tests out of every later garbage collection: several tests collect."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _libraries_configured() -> None:
    """Configure the libraries as the program does at its start, for tests that use a part of it."""
    from service.startup import configure_libraries

    configure_libraries()


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Restore logging after each test: commands configure it for the whole process, and write into captured streams.

    Until a test configures it, lines have no tracebacks: to render one takes a tenth of a second, and reads source
    files, which would block the event loop.
    """
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()], cache_logger_on_first_use=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shared_directory(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A directory that all workers of this run share."""
    base = tmp_path_factory.getbasetemp()
    directory = (base.parent if hasattr(request.config, "workerinput") else base) / "shared"
    directory.mkdir(exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def dummy_checkpoint(shared_directory: Path) -> Callable[[str], Path]:
    """The path of a benign dummy checkpoint of a mode (``base``, ``fast``), about 370 MB; do not write to it."""

    def checkpoint(mode: str) -> Path:
        from service.engines.inspyrenet.dummy_weights import write_dummy

        path = shared_directory / f"dummy_{mode}.pth"
        with once(path) as missing:
            if missing:
                write_dummy(path, mode)
        return path

    return checkpoint


@pytest.fixture(scope="session")
def stock(shared_directory: Path, dummy_checkpoint: Callable[[str], Path]) -> Mapping[str, Any]:
    """The results of the unmodified package; ``tests/support/stock_package.py`` explains the keys.

    Tests that use it carry the marks ``stock`` and ``timeout(600)``: with a cold numba cache it takes a minute or more.
    """
    path = shared_directory / "stock.npz"
    with once(path) as missing:
        if missing:
            checkpoints = [str(dummy_checkpoint(mode)) for mode in ("base", "fast")]
            command = [sys.executable, "-m", "tests.support.stock_package", str(path), *checkpoints]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
    with np.load(path) as results:
        return dict(results)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests recorded as ``printed``, in whichever worker they ran."""
    printed = [
        str(value)
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "printed" and report.when == "call"
    ]
    if printed:
        terminalreporter.section("measured")
        for line in printed:
            terminalreporter.write_line(line)


@contextmanager
def once(path: Path) -> Iterator[bool]:
    """Hold the lock of ``path``; the value is True if the file has to be made."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not path.exists()
