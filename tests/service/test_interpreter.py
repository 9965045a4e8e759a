"""How the process begins: again, with its memory set up, once, as the same process; garbage waits for the load."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.interpreter import (
    MEMORY,
    begin_again_with_memory_set_up,
    put_off_collection,
    resume_collection,
)
from tests.service.live import live

ROOT = Path(__file__).parents[2]


def environment_of(pid: int) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in Path(f"/proc/{pid}/environ").read_text().split("\0"))
    return {name: value for name, _, value in pairs}


@pytest.fixture
def collecting() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


def test_the_memory_is_set_up_and_it_is_still_the_process_that_was_started(tmp_path: Path) -> None:
    with live(tmp_path, command=["-m", "service"], engine="grabcut") as service:
        assert environment_of(service.process.pid).items() >= MEMORY.items()


def test_what_an_operator_has_set_is_left_as_it_is(tmp_path: Path) -> None:
    mine = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=4"}
    with live(tmp_path, command=["-m", "service"], engine="grabcut", env=mine) as service:
        found = environment_of(service.process.pid)
    assert found["GLIBC_TUNABLES"] == mine["GLIBC_TUNABLES"]
    assert found["THP_MEM_ALLOC_ENABLE"] == "1"


def test_a_command_line_survives_beginning_again() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--port", "not a port"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in MEMORY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "not a port" in done.stderr


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What this process takes for its environment, without anything of the memory's."""
    found = {name: value for name, value in os.environ.items() if name not in MEMORY}
    monkeypatch.setattr(os, "environ", found)
    return found


@pytest.mark.parametrize("refused", [OSError("E2BIG"), ValueError("illegal environment variable name")])
def test_where_it_cannot_begin_again_it_goes_on(
    refused: Exception, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def execve(*_: object) -> None:
        raise refused

    monkeypatch.setattr(os, "execve", execve)
    begin_again_with_memory_set_up()
    assert environment.items() >= MEMORY.items(), "what torch and oneDNN read later holds all the same"


def test_it_begins_again_once_even_if_the_variables_do_not_stay(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[object] = []
    monkeypatch.setattr(os, "execve", lambda _program, arguments, _environment: begun.append(arguments))
    begin_again_with_memory_set_up()
    del environment["GLIBC_TUNABLES"]
    begin_again_with_memory_set_up()
    assert len(begun) == 1


@pytest.mark.usefixtures("collecting")
@pytest.mark.parametrize("keep", [True, False])
def test_garbage_is_collected_again_once_it_was_put_off(keep: bool) -> None:
    put_off_collection()
    assert not gc.isenabled()
    before = gc.get_freeze_count()
    resume_collection(keep=keep)
    assert gc.isenabled()
    assert (gc.get_freeze_count() > before) == keep
    frozen = gc.get_freeze_count()
    resume_collection(keep=True)  # a later load
    assert gc.get_freeze_count() == frozen


def test_a_running_service_collects_garbage(tmp_path: Path) -> None:
    with live(tmp_path, command=["-m", "service"], engine="grabcut") as service:
        collections = 'python_gc_collections_total{generation="0"}'
        before = service.metric(collections, prefix="")
        service.until(lambda: service.metric(collections, prefix="") > before)
