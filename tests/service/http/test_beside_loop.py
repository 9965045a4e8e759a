"""Work beside the loop, with and without a thread for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from service.http.beside_loop import run_beside_loop


def fail() -> None:
    raise RuntimeError("its own error")


def no_thread(*_: object) -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("threads", [True, False])
async def test_work_gives_its_result_with_and_without_a_thread(
    threads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        if not threads:
            patch.setattr(threading.Thread, "start", no_thread)
        where = await run_beside_loop(threading.current_thread)
    assert (where is threading.main_thread()) is not threads


@pytest.mark.parametrize("threads", [True, False])
async def test_an_error_of_the_work_itself_is_raised(threads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        if not threads:
            patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError, match="its own error"):
            await run_beside_loop(fail)


async def test_work_does_not_stop_the_loop() -> None:
    release = threading.Event()
    waiting: Callable[[], bool] = lambda: release.wait(timeout=20)  # noqa: E731
    working = asyncio.create_task(run_beside_loop(waiting))
    await asyncio.sleep(0)
    release.set()
    assert await working
