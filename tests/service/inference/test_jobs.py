"""A job: what its caller and ``on_end`` are told, and what the thread does with it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from queue import SimpleQueue

import pytest
from structlog.testing import capture_logs

from service.errors import Undecodable
from service.inference.jobs import Job, JobEnd, Kind, run_jobs


def job(ends: list[JobEnd] | None = None) -> Job:
    return Job(lambda: 7, Kind.REQUEST, on_end=None if ends is None else ends.append)


async def test_the_end_of_a_job_is_told_before_its_caller_gets_the_result() -> None:
    told: list[tuple[JobEnd, bool]] = []
    one = Job(lambda: 7, Kind.REQUEST, on_end=lambda end: told.append((end, one.future.done())))
    one.finish(2.5, 7, None)
    assert told == [(JobEnd(2.5, None, abandoned=False), False)]
    assert await one.future == 7


async def test_a_job_that_waits_is_withdrawn_and_told_once() -> None:
    ends: list[JobEnd] = []
    one, other = job(ends), job()
    waiting = deque([other, one])
    one.withdraw(waiting)
    one.withdraw(waiting)
    assert waiting == deque([other])
    assert ends == [JobEnd(None, None, abandoned=True)]


@pytest.mark.parametrize(
    ("error", "lines"), [(ValueError("boom"), 1), (Undecodable("damaged"), 0), (None, 0)]
)
async def test_the_failure_of_an_abandoned_job_is_logged_unless_its_client_caused_it(
    error: Exception | None, lines: int
) -> None:
    ends: list[JobEnd] = []
    one = job(ends)
    one.future.cancel()
    with capture_logs() as logs:
        one.finish(1.0, None, error)
    assert ends == [JobEnd(1.0, error, abandoned=True)]
    assert [line["event"] for line in logs] == ["an abandoned job failed"] * lines


async def test_a_thread_runs_what_it_finds_in_its_inbox_until_it_finds_none() -> None:
    inbox: SimpleQueue[Job | None] = SimpleQueue()
    loop, finished = asyncio.get_running_loop(), asyncio.Queue[tuple[object, ...]]()
    thread = threading.Thread(
        target=run_jobs, args=(inbox, loop, lambda *args: finished.put_nowait(args), lambda: 5.0), daemon=True
    )
    thread.start()
    one = job()
    one.stamp(now=5.0, now_wall=6.0)
    one.start(inbox)
    inbox.put(None)
    assert await finished.get() == (one, 0.0, 7, None)
    await asyncio.to_thread(thread.join, 30)
    assert not thread.is_alive()


async def test_a_thread_ends_when_the_loop_is_closed() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    inbox: SimpleQueue[Job | None] = SimpleQueue()
    job().start(inbox)
    await asyncio.wait_for(asyncio.to_thread(run_jobs, inbox, loop, lambda *_: None, lambda: 0.0), 30)


async def test_a_callback_that_fails_is_reported_and_loses_neither_the_job_nor_its_result() -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left for the log")

    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    one = Job(lambda: 7, Kind.REQUEST, on_start=fail, on_end=fail)
    inbox: SimpleQueue[Job | None] = SimpleQueue()
    one.start(inbox)
    assert inbox.get_nowait() is one
    one.finish(1.0, 7, None)
    assert await one.future == 7
    assert [str(error) for error in reported] == ["no space left for the log"] * 2
