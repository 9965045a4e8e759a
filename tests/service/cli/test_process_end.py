"""The end of a process whose threads still work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.programs import ROOT

SCRIPT = """
import sys, threading
from service.cli.process_end import end_process

threading.Thread(target=threading.Event().wait).start()  # the interpreter would wait for it
sys.stdout.write("written")
{more}
end_process(3)
"""


@pytest.mark.parametrize("more", ["", "sys.stderr = None"], ids=["all streams", "without standard error"])
def test_a_thread_that_never_ends_keeps_neither_the_process_nor_its_output(more: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(more=more)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "written", "")


def test_a_reader_that_has_gone_costs_no_traceback_and_no_thread_is_waited_for() -> None:
    read, write = os.pipe()
    os.close(read)
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(more="").replace("(3)", "(0)")],
        stdout=write,
        stderr=subprocess.PIPE,
        env=environ,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (120, "")


def test_an_error_that_nobody_expected_ends_with_its_traceback_and_code_1(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import threading\n"
        "import service.cli.commands as commands\n"
        "def main(*_):\n"
        "    threading.Thread(target=threading.Event().wait).start()\n"
        "    raise RuntimeError('unexpected')\n"
        "commands.main = main\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "service", "--version"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.endswith("RuntimeError: unexpected\n")
