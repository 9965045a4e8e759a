"""Runs Prometheus, Alertmanager and the example receiver on this machine: ``make monitor`` and ``make monitor-stop``.

It starts the three programs in the background and returns when they are ready. Everything that they write is in
``out/monitor``. Only the standard library is used, so that any Python runs it.
"""

# ruff: noqa: T201 - this program exists to print

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS = 30.0
END_SECONDS = 10.0


class Part(NamedTuple):
    """One program of the monitoring."""

    name: str
    command: Sequence[str]
    ready: str
    """An address that answers once the program is ready."""


def find(*names: str) -> str:
    """The path of the first of these programs that is installed.

    Raises:
        SystemExit: none is.
    """
    # Debian keeps servers in sbin, which an ordinary user's PATH leaves out.
    path = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin"
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    sys.exit(
        f"monitor: {names[0]} is not installed (Debian 12 or later: apt-get install prometheus prometheus-alertmanager)"
    )


def parts(folder: Path) -> list[Part]:
    """The programs in the order in which they start.

    Args:
        folder: for everything that they store.
    """
    return [
        Part(
            "alert-log", [sys.executable, "-u", str(ROOT / "deploy/alert_log.py")], "http://127.0.0.1:9099/"
        ),
        Part(
            "alertmanager",
            [
                find("alertmanager", "prometheus-alertmanager"),
                f"--config.file={ROOT / 'metrics/alertmanager.yml'}",
                f"--storage.path={folder / 'alertmanager'}",
                "--web.listen-address=127.0.0.1:9093",
                "--cluster.listen-address=",
                # What it has sent survives a crash, so that each page is told to be resolved.
                "--data.maintenance-interval=1m",
            ],
            "http://127.0.0.1:9093/-/ready",
        ),
        Part(
            "prometheus",
            [
                find("prometheus"),
                f"--config.file={ROOT / 'metrics/prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                "--web.listen-address=127.0.0.1:9090",
                "--web.external-url=http://localhost:9090",
                f"--web.user-assets={ROOT / 'metrics/runbooks'}",
                # After a restart, an alert that waits goes on waiting from where it was.
                "--rules.alert.for-grace-period=1m",
            ],
            "http://127.0.0.1:9090/-/ready",
        ),
    ]


def start(folder: Path) -> None:
    """Start what does not run yet, and print where everything is.

    Raises:
        SystemExit: a program is missing, or does not become ready.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts(folder):
        if running(folder, part.name) is None:
            with (folder / f"{part.name}.log").open("ab") as log:
                process = subprocess.Popen(  # noqa: S603 - the command is in this file
                    part.command,
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            (folder / f"{part.name}.pid").write_text(str(process.pid))
            _wait_until_ready(part, process, folder)
    print(
        "monitor: Prometheus is on http://localhost:9090, Alertmanager on http://localhost:9093.\n"
        f"monitor: what would go to a pager:  tail -f {_shown(folder / 'alert-log.log')}\n"
        "monitor: make monitor-stop ends all of it."
    )


def stop(folder: Path) -> None:
    """End what runs."""
    for name in ("prometheus", "alertmanager", "alert-log"):
        file = folder / f"{name}.pid"
        if (pid := running(folder, name)) is not None:
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + END_SECONDS
            while running(folder, name) is not None and time.monotonic() < deadline:
                time.sleep(0.05)
            if running(folder, name) is not None:
                print(f"monitor: {name} (process {pid}) has not ended yet; run make monitor-stop again")
                continue
            print(f"monitor: {name} has been ended")
        file.unlink(missing_ok=True)


def running(folder: Path, name: str) -> int | None:
    """The number of the process that was started as this program, or None if it does not run any more."""
    try:
        pid = int((folder / f"{name}.pid").read_text())
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
    except (OSError, ValueError):
        return None
    # The number may belong to another program by now.
    listed = subprocess.run(  # noqa: S603 - a fixed command and a number
        ["ps", "-ww", "-o", "stat=,args=", "-p", str(pid)],  # noqa: S607 - found in PATH: its place differs between systems
        capture_output=True,
        text=True,
        check=False,
    )
    state, _, command = listed.stdout.strip().partition(" ")
    return pid if name.replace("-", "_") in command.replace("-", "_") and not state.startswith("Z") else None


def _wait_until_ready(part: Part, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if _answers(part.ready):
            return
        time.sleep(0.1)
    log = folder / f"{part.name}.log"
    end = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
    stop(folder)
    sys.exit(f"monitor: {part.name} did not start. The end of {_shown(log)}:\n{end}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - the address is in this file
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code != 503  # the receiver takes only POST, and says 501
    except OSError:
        return False


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def main(argv: Sequence[str]) -> None:
    """``start`` or ``stop``, and the folder for all files."""
    match list(argv):
        case ["start", folder]:
            start(Path(folder).resolve())
        case ["stop", folder]:
            stop(Path(folder).resolve())
        case _:
            sys.exit("usage: monitor.py start|stop FOLDER")


if __name__ == "__main__":
    main(sys.argv[1:])
