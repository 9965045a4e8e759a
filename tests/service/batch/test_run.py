"""Several jobs at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.batch.run import at_once, run
from tests.support.waiting import let_run


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


class Work:
    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.go = asyncio.Semaphore(0)

    async def do(self, number: int) -> None:
        self.begun.append(number)
        await self.go.acquire()
        self.ended.append(number)


async def test_no_more_jobs_run_at_once_than_asked_for() -> None:
    work = Work()
    running = asyncio.create_task(run(numbers(5), work.do, at_once=2, stop=asyncio.Event()))
    await let_run()
    assert work.begun == [0, 1]
    work.go.release()
    await let_run()
    assert work.begun == [0, 1, 2]
    for _ in range(4):
        work.go.release()
    await running
    assert sorted(work.ended) == [0, 1, 2, 3, 4]


async def test_after_a_stop_jobs_are_finished_and_none_begins() -> None:
    work, stop = Work(), asyncio.Event()
    running = asyncio.create_task(run(numbers(5), work.do, at_once=2, stop=stop))
    await let_run()
    stop.set()
    work.go.release()
    work.go.release()
    await running
    assert work.ended == work.begun == [0, 1]


async def test_a_cancellation_drops_what_runs() -> None:
    work = Work()
    running = asyncio.create_task(run(numbers(5), work.do, at_once=2, stop=asyncio.Event()))
    await let_run()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert work.ended == []


def test_the_device_and_every_codec_thread_are_kept_busy_within_the_places() -> None:
    assert at_once(codec_threads=2, places=17) == 6
    assert at_once(codec_threads=32, places=17) == 17
