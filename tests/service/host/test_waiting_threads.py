"""The setting of OpenMP, and that it is made before OpenMP's library is loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from service.host.waiting_threads import sleep_while_waiting


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, {"OMP_WAIT_POLICY": "PASSIVE"}),
        ({"OMP_WAIT_POLICY": ""}, {"OMP_WAIT_POLICY": "PASSIVE"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
        ({"GOMP_SPINCOUNT": "1000"}, {"GOMP_SPINCOUNT": "1000"}),
    ],
)
def test_threads_sleep_unless_an_operator_has_decided(given: dict[str, str], wanted: dict[str, str]) -> None:
    environ = dict(given)
    sleep_while_waiting(environ)
    assert environ == wanted


@pytest.mark.process
def test_a_program_loads_torch_with_threads_that_sleep() -> None:
    """OpenMP's library prints its settings when it is loaded."""
    code = (
        "import os, sys; from service import startup; startup.configure_libraries(); "
        "loaded = 'torch' in sys.modules; import torch; sys.exit(loaded)"
    )
    environ = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environ | {"OMP_DISPLAY_ENV": "TRUE"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if "OMP_WAIT_POLICY" not in done.stderr:
        pytest.skip("this build of torch has no OpenMP")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
