"""``service/host/running_time.py``: what counts as a suspension, and what does not."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time

import pytest

from service.host.running_time import (
    LATE_SECONDS,
    PERIOD_SECONDS,
    RunningTime,
    RunningTimeLoop,
    explained_seconds,
    report_suspensions,
)
from tests.support.clock import FakeClock


class Watched:
    """A running time on a fake clock, and what its thread could explain so far."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.time = RunningTime(clock=self.clock)
        self.explained = 5.0
        self.look()

    def look(self) -> None:
        self.time.look(self.explained)


def test_without_a_look_it_is_the_clock() -> None:
    clock = FakeClock()
    running = RunningTime(clock=clock)
    clock.now += 1e6
    assert (running(), running.suspended) == (clock.now, 0)


def test_a_gap_that_nothing_explains_is_a_suspension_but_for_its_first_moment() -> None:
    watched = Watched()
    before = watched.time()
    watched.clock.now += 300
    assert watched.time() == before + LATE_SECONDS, "not yet judged"
    watched.look()
    assert watched.time() == before + LATE_SECONDS
    assert watched.time.suspended == 300 - LATE_SECONDS
    watched.clock.now += 0.2
    assert watched.time() == pytest.approx(before + LATE_SECONDS + 0.2)


def test_a_gap_in_which_the_thread_waited_for_a_cpu_or_for_the_interpreter_lock_counts_in_full() -> None:
    watched = Watched()
    before = watched.time()
    watched.clock.now += 300
    watched.explained += 299.9
    watched.look()
    assert (watched.time(), watched.time.suspended) == (before + 300, 0)


def test_a_hang_is_seen_in_the_end_even_if_every_gap_looks_like_a_suspension() -> None:
    watched = Watched()
    before = watched.time()
    for _ in range(600):
        watched.clock.now += 10
        watched.look()
    assert watched.time() - before >= 300


def test_it_never_goes_back() -> None:
    watched, seen = Watched(), [0.0]
    for gap, explained in [(0.1, 0), (5, 0), (0.4, 0.3), (5, 4.9), (0.7, 0), (3.2, 1)]:
        watched.clock.now += gap
        seen.append(watched.time())
        watched.explained += explained
        watched.look()
        seen.append(watched.time())
    assert seen == sorted(seen)


def test_every_second_counts_again_if_the_looking_ends() -> None:
    clock = FakeClock()
    running = RunningTime(clock=clock)

    class Failing(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            raise OSError("the thread cannot look any more")

    running.look_until(Failing())
    before = running()
    clock.now += 300
    assert running() == before + 300


@pytest.mark.timing
def test_a_thread_that_sleeps_with_the_interpreter_lock_held_is_no_suspension() -> None:
    explained_in_all: list[float] = []
    begun, ended = threading.Event(), threading.Event()

    def look() -> None:
        explained = explained_seconds()
        before = explained()
        begun.set()
        while not ended.is_set():
            time.sleep(0.001)
        explained_in_all.append(explained() - before)

    thread = threading.Thread(target=look)
    thread.start()
    begun.wait()
    ctypes.PyDLL(None).usleep(900_000)  # unlike CDLL, PyDLL does not release the lock
    ended.set()
    thread.join()
    assert explained_in_all[0] > 0.9 - LATE_SECONDS


async def test_each_suspension_is_reported_once() -> None:
    watched, reports = Watched(), []
    task = asyncio.create_task(report_suspensions(reports.append, running_time=watched.time))
    await asyncio.sleep(0)
    watched.clock.now += 60 + LATE_SECONDS
    watched.look()
    async with asyncio.timeout(20):
        while not reports:
            await asyncio.sleep(0.01)
    await asyncio.sleep(2 * PERIOD_SECONDS)
    task.cancel()
    assert reports == [60]


def test_the_timers_of_the_loop_do_not_run_while_the_process_is_suspended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = Watched()
    monkeypatch.setattr("service.host.running_time.running_seconds", watched.time)

    async def suspended_for_an_hour() -> bool:
        async with asyncio.timeout(1) as timeout:
            watched.clock.now += 3600
            watched.look()
            for _ in range(5):
                await asyncio.sleep(0)
        return timeout.expired()

    with asyncio.Runner(loop_factory=RunningTimeLoop) as runner:
        assert not runner.run(suspended_for_an_hour())
