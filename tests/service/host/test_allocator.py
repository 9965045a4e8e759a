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


def seen_by_libraries(
    environment: dict[str, str], *, before: str = "", call: str = "reexec_with_malloc_settings()"
) -> dict[str, str | None]:
    """The values that ``getenv`` finds for :data:`MEMORY_VARIABLES` in a program that has set them."""
    code = f"""
import ctypes, json, os
from service import startup
from service.host.allocator import MEMORY_VARIABLES, reexec_with_malloc_settings
{before}
{call}
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


@pytest.mark.parametrize(
    ("name", "given_up"),
    [
        ("MALLOC_ARENA_MAX", "arena_max"),
        ("MALLOC_ARENA_TEST", "arena_max"),
        ("MALLOC_MMAP_MAX_", "mmap_max"),
        ("MALLOC_MMAP_THRESHOLD_", "mmap_max"),
        ("MALLOC_TRIM_THRESHOLD_", "trim_threshold"),
    ],
)
def test_a_malloc_variable_of_an_operator_is_not_overruled(name: str, given_up: str) -> None:
    """GNU's C library would prefer the program's own setting of the same thing."""
    name_of_all = "GLIBC_TUNABLES"
    ours = MEMORY_VARIABLES[name_of_all].split(":")
    kept = [setting for setting in ours if given_up not in setting]
    assert len(kept) == len(ours) - 1
    assert seen_by_libraries({name: "4"})[name_of_all] == ":".join(kept)
    assert seen_by_libraries({name: ""})[name_of_all] == ":".join(ours)


def test_a_tunable_of_an_operator_also_rules_out_ours_about_the_same_thing() -> None:
    mine = "glibc.malloc.mmap_threshold=1000000"
    seen = seen_by_libraries({"GLIBC_TUNABLES": mine})["GLIBC_TUNABLES"]
    assert seen is not None
    assert seen.startswith(mine)
    assert "mmap_max" not in seen


def test_the_heaps_of_an_operators_choice_are_used() -> None:
    """As the C library says it: with ``MALLOC_ARENA_MAX=3``, eight threads allocate in three heaps."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_info"):
        pytest.skip("this is another C library than GNU's")
    code = """
import ctypes, sys, threading
from service.host.allocator import reexec_with_malloc_settings
reexec_with_malloc_settings()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
gate = threading.Barrier(9)
def allocate():
    libc.malloc(ctypes.c_size_t(100000))
    gate.wait()
    gate.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
[thread.start() for thread in threads]
gate.wait()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
gate.wait()
"""
    kept = {name: value for name, value in os.environ.items() if name not in MEMORY_VARIABLES}

    def heaps(environment: dict[str, str]) -> int:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=ROOT, env=kept | environment, capture_output=True, check=True)
        return done.stdout.count(b"<heap nr=")

    assert heaps({}) == 1
    assert heaps({"MALLOC_ARENA_MAX": "3"}) == 3


UNSET = dict.fromkeys(MEMORY_VARIABLES, "")


@pytest.mark.parametrize(
    ("argv", "environment", "expected"),
    [
        ([], {}, MEMORY_VARIABLES),
        (["serve", "--port", "1"], {"INSPYRENET_MALLOC_TUNING": "on"}, MEMORY_VARIABLES),
        ([], {"INSPYRENET_MALLOC_TUNING": ""}, MEMORY_VARIABLES),
        ([], {"INSPYRENET_MALLOC_TUNING": "off"}, UNSET),
        (["--malloc-tuning", "off"], {}, UNSET),
        (["serve", "--port", "1", "--malloc-tuning=off"], {"INSPYRENET_MALLOC_TUNING": "on"}, UNSET),
        (["--malloc-tuning", "on"], {"INSPYRENET_MALLOC_TUNING": "off"}, MEMORY_VARIABLES),
    ],
)
def test_the_setting_switches_it_off_and_a_flag_beats_its_variable(
    argv: list[str], environment: dict[str, str], expected: dict[str, str]
) -> None:
    seen = seen_by_libraries(environment, call=f"startup.prepare_to_serve({argv}, os.environ)")
    assert seen == expected


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
