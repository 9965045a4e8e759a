"""The end of a process whose threads still work."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
