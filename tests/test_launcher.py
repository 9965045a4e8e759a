"""The script ``inspyrenet`` at the root of the repository, started as people and containers start it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.programs import ROOT
from tests.support.waiting import wait_until

INTERPRETERS = str(Path(sys.executable).parent)
SYSTEM = "/usr/bin:/bin"


def launch(
    script: Path, *arguments: str, cwd: Path, path: str = f"{INTERPRETERS}:{SYSTEM}"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(script), *arguments],
        cwd=cwd,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def installed(folder: Path) -> Path:
    """Copy the program to a directory with a space in its name and without ``.venv``; return the script."""
    root = folder / "a program"
    root.mkdir()
    shutil.copy(ROOT / "inspyrenet", root)
    for package in ("service", "supervisor", "metrics"):
        (root / package).symlink_to(ROOT / package)
    return root / "inspyrenet"


def no_answer(done: subprocess.CompletedProcess[str]) -> bool:
    return (done.returncode, done.stderr) == (1, "") and "no answer: " in done.stdout


def test_the_script_runs_from_another_directory(tmp_path: Path) -> None:
    assert no_answer(launch(ROOT / "inspyrenet", "check", "--port", "1", cwd=tmp_path))


def test_the_script_runs_through_symbolic_links(tmp_path: Path) -> None:
    """An absolute link to a relative one, as a package manager and a person would make them."""
    script = installed(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "first").symlink_to(Path("..") / "a program" / "inspyrenet")
    second = tmp_path / "second link"
    second.symlink_to(tmp_path / "bin" / "first")
    assert no_answer(launch(second, "check", "--port", "1", cwd=script.parent / "service"))


def test_the_script_is_found_on_path(tmp_path: Path) -> None:
    path = f"{ROOT}:{INTERPRETERS}:{SYSTEM}"
    command = ["sh", "-c", "inspyrenet check --port 1"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert no_answer(done)


def test_the_interpreter_of_the_virtual_environment_comes_first(tmp_path: Path) -> None:
    script = installed(tmp_path)
    python = script.parent / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "venv:" "$@"\n')
    python.chmod(0o755)
    done = launch(script, "weights", "--dummy", "a file", cwd=tmp_path)
    assert done.stdout == "venv: -P -m service weights --dummy a file\n"


@pytest.mark.parametrize("python3", ["exit 1", None])
def test_missing_packages_give_one_sentence_that_says_what_to_do(tmp_path: Path, python3: str | None) -> None:
    """The python3 on PATH lacks the packages, or there is none."""
    script = installed(tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "dirname", "readlink"):
        (programs / name).symlink_to(str(shutil.which(name)))
    if python3 is not None:
        (programs / "python3").write_text(f"#!/bin/sh\n{python3}\n")
        (programs / "python3").chmod(0o755)
    done = launch(script, cwd=tmp_path, path=str(programs))
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line == (
        f"error: the packages that the service needs are not installed; run `make setup` in {script.parent}"
    )


def test_paths_on_the_command_line_are_relative_to_the_callers_directory(tmp_path: Path) -> None:
    done = launch(ROOT / "inspyrenet", "probe", "http://127.0.0.1:1", "--key-file", "missing", cwd=tmp_path)
    assert "'missing'" in done.stdout
    (tmp_path / "missing").write_text("key")
    done = launch(ROOT / "inspyrenet", "probe", "http://127.0.0.1:1", "--key-file", "missing", cwd=tmp_path)
    assert "no answer" in done.stdout


def test_modules_in_the_callers_directory_are_not_imported(tmp_path: Path) -> None:
    for name in ("service", "http", "logging"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a module of the caller')")
    assert no_answer(launch(ROOT / "inspyrenet", "check", "--port", "1", cwd=tmp_path))


@pytest.mark.process
def test_sigterm_ends_a_service_that_the_script_started(tmp_path: Path) -> None:
    port = free_port()
    command = [str(ROOT / "inspyrenet"), "--engine", "u2netp", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as service:
        try:
            check = ("check", "--ready", "--port", str(port))
            wait_until(
                lambda: launch(ROOT / "inspyrenet", *check, cwd=tmp_path).returncode == 0,
                seconds=60,
                what="the service is ready",
            )
            service.send_signal(signal.SIGTERM)
            _, log = service.communicate(timeout=30)
        finally:
            service.kill()
    assert service.returncode == 0, log
    assert '"message": "stopped"' in log
