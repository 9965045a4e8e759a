"""Threads beside the event loop: an exception reaches the task that waits for the thread, and nothing else."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from contextlib import suppress

import pytest

from service.inference.thread_results import deliverable, in_daemon_thread
from tests.support.waiting import until

UNDELIVERABLE = [
    StopIteration(),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError(),
]


async def test_a_daemon_thread_delivers_results_and_errors() -> None:
    assert await in_daemon_thread(lambda: threading.current_thread().daemon, name="x") is True

    def fail() -> None:
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        await in_daemon_thread(fail, name="x")


@pytest.mark.parametrize("error", UNDELIVERABLE, ids=repr)
async def test_an_exception_that_no_future_can_carry_arrives_as_a_runtime_error(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(RuntimeError, match=type(error).__name__):
        await in_daemon_thread(fail, name="x")


def test_an_ordinary_error_is_delivered_unchanged() -> None:
    error = ValueError("boom")
    assert deliverable(error) is error


async def test_an_error_keeps_nothing_alive_once_it_is_handled() -> None:
    class Big:
        pass

    refs = []

    def fail() -> None:
        big = Big()
        refs.append(weakref.ref(big))
        raise ValueError("boom")

    gc.disable()
    try:
        with suppress(ValueError):
            await in_daemon_thread(fail, name="x")
        await until(lambda: refs[0]() is None)  # the thread may need a moment longer
    finally:
        gc.enable()
