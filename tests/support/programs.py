"""Runs programs, such as Prometheus, for tests; and finds those of other projects.

Tests with real programs and ``service_process`` use it. If a program is not installed, the test that needs it must be
skipped with the reason; with ``REQUIRE_E2E=1`` it must fail.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PACKAGES = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
    "haproxy": "haproxy",
    "chromium": "chromium",
    "convert": "imagemagick",
    "heif-enc": "libheif-examples",
    "heif-convert": "libheif-examples",
    "node": "nodejs",
    "npm": "npm",
    "php": "php-cli php-curl",
}
"""The Debian package of each."""

OTHER_NAMES = {"alertmanager": ["prometheus-alertmanager"], "chromium": ["chromium-browser", "google-chrome"]}


def program(name: str) -> str:
    """The path of an installed program. Without it, the calling test is skipped or fails."""
    # Debian keeps servers in sbin, which an ordinary user's PATH leaves out.
    path = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin"
    for candidate in [name, *OTHER_NAMES.get(name, [])]:
        if (found := shutil.which(candidate, path=path)) is not None:
            return found
    raise missing(f"{name} is not installed (Debian: apt-get install {PACKAGES[name]})")


def missing(reason: str) -> BaseException:
    """What a test raises if something that it runs is missing: it is skipped; with ``REQUIRE_E2E=1`` it fails."""
    if os.environ.get("REQUIRE_E2E") == "1":
        return pytest.fail.Exception(f"{reason}, and REQUIRE_E2E=1 asks for it")
    return pytest.skip.Exception(reason)


class Program:
    """One process, started from the root of the repository. Its output goes to a file.

    Args:
        command: the program and its arguments.
        log: the file.
        env: variables beside those of this process.
        in_child: called in the new process before the program starts.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        in_child: Callable[[], None] | None = None,
    ) -> None:
        self.log = log
        self._command, self._env, self._in_child = list(command), dict(env or {}), in_child
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was started last."""
        assert self._process is not None
        return self._process

    def start(self) -> None:
        """Start the process. A program that has ended can be started again."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=os.environ | self._env,
                stdout=output,
                stderr=output,
                preexec_fn=self._in_child,  # noqa: PLW1509 - it only sets limits
            )

    @property
    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def end(self, number: int = signal.SIGTERM) -> None:
        """Send the signal and wait. Kill the process if it does not end."""
        if self.ended:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def end_of_log(self) -> str:
        """The last lines of the output, for the message of a failed test."""
        return self.log.read_text(errors="replace")[-4000:] if self.log.is_file() else ""
