"""Threads beside the loop: whatever they raise reaches whoever waits, and nobody else."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from contextlib import suppress

import pytest

from service.inference.threads import contained, deliverable, in_daemon_thread

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
async def test_what_no_future_can_carry_arrives_all_the_same(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(RuntimeError, match=type(error).__name__):
        await in_daemon_thread(fail, name="x")
    with pytest.raises(RuntimeError, match=type(error).__name__):
        await asyncio.to_thread(contained(fail))


def test_an_ordinary_error_stays_what_it_is() -> None:
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
        async with asyncio.timeout(10):  # the thread may be a moment behind
            while refs[0]() is not None:
                await asyncio.sleep(0.001)
    finally:
        gc.enable()
