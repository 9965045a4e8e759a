"""Memory settings: the program re-executes itself with them, once, and stays the same process."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

from service.host.allocator import MEMORY_VARIABLES, reexec_with_malloc_settings
from tests.support.programs import ROOT
from tests.support.service_process import live


@pytest.mark.process
def test_the_service_runs_with_the_memory_variables_in_the_process_that_was_started(tmp_path: Path) -> None:
    with live(tmp_path, command=["-m", "service"], engine="u2netp") as service:
        # GNU's C library overwrites the separators of its settings in place.
        environment = Path(f"/proc/{service.process.pid}/environ").read_text().replace("\0", ":")
        for name, value in MEMORY_VARIABLES.items():
            assert f":{name}={value}:" in f":{environment}:"


def test_memory_that_a_pass_has_freed_is_reused_by_the_next_one() -> None:
    """This also holds for blocks so large that the C library would map them, and in other threads than the first."""
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("this is another C library than GNU's")
    code = """
import ctypes, resource, threading
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
size = ctypes.c_size_t(1 << 28)
def passes():
    for _ in range(9):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        block = ctypes.c_void_p(libc.malloc(size))
        ctypes.memset(block, 1, size.value)
        libc.free(block)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=passes)
thread.start()
thread.join()
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=os.environ | MEMORY_VARIABLES, capture_output=True, check=True)
    faults = [int(number) for number in done.stdout.split()]
    assert median(faults) < 64, f"it was taken from the kernel again: {faults}"


def seen_by_libraries(environment: dict[str, str], *, before: str = "") -> dict[str, str | None]:
    """The values that ``getenv`` finds for :data:`MEMORY_VARIABLES` in a program that has set them."""
    code = f"""
import ctypes, json, os
from service.host.allocator import MEMORY_VARIABLES, reexec_with_malloc_settings
{before}
reexec_with_malloc_settings()
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
print(json.dumps({{name: (getenv(name.encode()) or b"").decode() for name in MEMORY_VARIABLES}}))
"""
    kept = {name: value for name, value in os.environ.items() if name not in MEMORY_VARIABLES}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=kept | environment, capture_output=True, check=True)
    found: dict[str, str | None] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", MEMORY_VARIABLES)
def test_a_variable_that_an_operator_has_set_keeps_its_value(name: str) -> None:
    if name == "GLIBC_TUNABLES":
        _, *rest = MEMORY_VARIABLES[name].split(":")
        mine = "glibc.malloc.perturb=0:glibc.malloc.arena_max=4"
        assert seen_by_libraries({name: mine})[name] == ":".join([mine, *rest])
    else:
        assert seen_by_libraries({name: "7"}) == MEMORY_VARIABLES | {name: "7"}


@pytest.mark.parametrize("refused", ['OSError("E2BIG")', 'ValueError("illegal environment variable name")'])
def test_the_variables_are_set_for_libraries_loaded_later_even_if_the_program_cannot_reexecute(
    refused: str,
) -> None:
    refuse = f"def refuse(*_):\n    raise {refused}\nos.execve = refuse"
    assert seen_by_libraries({}, before=refuse) == MEMORY_VARIABLES


@pytest.mark.memory
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_memory_does_not_grow_with_the_number_of_picture_sizes(dtype: str) -> None:
    """Torch and oneDNN cache one operation for each number of rows."""
    if not hasattr(ctypes.CDLL(None), "mallinfo2"):
        pytest.skip("this C library does not count what it has handed out")
    code = f"""
import ctypes, torch
from service.engines.inspyrenet.forward.layers import Linear
class Counts(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]
mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Counts
dtype = torch.{dtype}
layer = Linear(torch.randn(64, 64), None, device=torch.device("cpu"), dtype=dtype)
def used(sizes):
    for rows in sizes:
        layer(torch.zeros(rows, 64, dtype=dtype))
    return mallinfo().uordblks + mallinfo().hblkhd
with torch.inference_mode():
    print(-used(range(1, 250)) + used(range(250, 650)))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | MEMORY_VARIABLES, capture_output=True, check=True
    )
    assert int(done.stdout) < 20e6


def test_the_command_line_survives_the_reexecution() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--port", "not a port"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in MEMORY_VARIABLES},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "not a port" in done.stderr


def test_the_program_reexecutes_only_once_even_if_the_variables_do_not_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in MEMORY_VARIABLES}
    monkeypatch.setattr(os, "environ", environment)
    begun: list[object] = []
    monkeypatch.setattr(os, "execve", lambda _program, arguments, _environment: begun.append(arguments))
    reexec_with_malloc_settings()
    del environment["GLIBC_TUNABLES"]
    reexec_with_malloc_settings()
    assert len(begun) == 1
