"""The device thread: it runs one job at a time in the right order, and a thread that hangs is noticed."""

from __future__ import annotations

import asyncio
import threading

import pytest

from service.inference.device_thread import DeviceThread
from service.inference.jobs import JobEnd, Kind
from tests.service.inference.jobs import BlockingJob
from tests.support.clock import FakeClock
from tests.support.waiting import let_run, until


@pytest.fixture
def open_thread(device_thread: DeviceThread) -> DeviceThread:
    device_thread.open_gate()
    return device_thread


async def test_a_job_runs_in_the_gpu_thread_and_its_result_comes_back(open_thread: DeviceThread) -> None:
    assert await open_thread.run(lambda: threading.current_thread().name, kind=Kind.REQUEST) == "gpu"


@pytest.mark.parametrize("error", [ValueError("boom"), StopIteration(), SystemExit(3), KeyboardInterrupt()])
async def test_an_exception_of_a_job_reaches_its_caller_and_the_thread_goes_on(
    open_thread: DeviceThread, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises((ValueError, RuntimeError)):
        await open_thread.run(fail, kind=Kind.REQUEST)
    assert await open_thread.run(lambda: 7, kind=Kind.REQUEST) == 7


async def test_jobs_run_one_at_a_time_in_order_of_arrival(open_thread: DeviceThread) -> None:
    log: list[int] = []
    inside = 0

    def job(number: int) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        log.append(number)
        inside -= 1

    await asyncio.gather(*(open_thread.run(lambda n=n: job(n), kind=Kind.REQUEST) for n in range(20)))  # type: ignore[misc]
    assert log == list(range(20))


async def test_a_probe_runs_right_after_the_running_job(open_thread: DeviceThread) -> None:
    blocking, order = BlockingJob(), []
    tasks = [asyncio.create_task(open_thread.run(blocking, kind=Kind.REQUEST))]
    await until(blocking.running.is_set)
    tasks += [
        asyncio.create_task(open_thread.run(lambda n=n: order.append(n), kind=Kind.REQUEST)) for n in range(2)
    ]
    await let_run()
    tasks.append(asyncio.create_task(open_thread.run(lambda: order.append("probe"), kind=Kind.PROBE)))
    await let_run()
    assert open_thread.waiting == 3
    blocking.release.set()
    await asyncio.gather(*tasks)
    assert order == ["probe", 0, 1]


async def test_a_closed_gate_keeps_requests_waiting_but_neither_loads_nor_probes(
    device_thread: DeviceThread,
) -> None:
    order: list[str] = []
    request = asyncio.create_task(device_thread.run(lambda: order.append("request"), kind=Kind.REQUEST))
    await let_run()
    await device_thread.run(lambda: order.append("load"), kind=Kind.LOAD)
    await device_thread.run(lambda: order.append("probe"), kind=Kind.PROBE)
    assert order == ["load", "probe"]
    device_thread.open_gate()
    await request
    assert order == ["load", "probe", "request"]


async def test_a_job_whose_caller_was_cancelled_while_it_waited_never_runs(open_thread: DeviceThread) -> None:
    blocking, ran, ends = BlockingJob(), [], []
    running = asyncio.create_task(open_thread.run(blocking, kind=Kind.REQUEST))
    await until(blocking.running.is_set)
    waiting = asyncio.create_task(
        open_thread.run(lambda: ran.append(1), kind=Kind.REQUEST, on_end=ends.append)
    )
    await let_run()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    blocking.release.set()
    await running
    await open_thread.run(lambda: None, kind=Kind.REQUEST)
    assert ran == []
    assert ends == [JobEnd(None, None, abandoned=True)]


async def test_the_end_of_a_job_is_told_once_with_its_running_time_and_its_error(
    open_thread: DeviceThread, clock: FakeClock
) -> None:
    ends: list[JobEnd] = []
    boom = ValueError("boom")

    def job() -> None:
        clock.now += 2.5

    def fail() -> None:
        raise boom

    await open_thread.run(job, kind=Kind.REQUEST, on_end=ends.append)
    with pytest.raises(ValueError, match="boom"):
        await open_thread.run(fail, kind=Kind.REQUEST, on_end=ends.append)
    assert ends == [JobEnd(2.5, None, abandoned=False), JobEnd(0.0, boom, abandoned=False)]


async def test_the_end_of_a_running_job_is_told_even_if_its_caller_was_cancelled(
    open_thread: DeviceThread,
) -> None:
    blocking, ends = BlockingJob(), []
    task = asyncio.create_task(open_thread.run(blocking, kind=Kind.REQUEST, on_end=ends.append))
    await until(blocking.running.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ends == []
    assert open_thread.busy
    blocking.release.set()
    await until(lambda: ends == [JobEnd(0.0, None, abandoned=True)])
    assert not open_thread.busy


async def test_a_job_over_its_limit_counts_as_stuck_and_a_load_has_a_limit_of_its_own(
    open_thread: DeviceThread, clock: FakeClock
) -> None:
    assert open_thread.stuck is None
    for kind, limit in ((Kind.REQUEST, 300), (Kind.PROBE, 300), (Kind.LOAD, 600)):
        blocking = BlockingJob()
        task = asyncio.create_task(open_thread.run(blocking, kind=kind))
        await until(blocking.running.is_set)
        clock.now += limit
        assert open_thread.stuck is None
        assert open_thread.job_seconds == (0 if kind is Kind.LOAD else pytest.approx(limit))
        assert (open_thread.started_at == 0) == (kind is Kind.LOAD)
        clock.now += 1
        assert open_thread.stuck is not None
        assert f"{limit} s" in open_thread.stuck
        blocking.release.set()
        await task
        assert open_thread.stuck is None
        assert open_thread.job_seconds == open_thread.started_at == 0


async def test_a_job_is_never_seen_running_before_its_start_is_known() -> None:
    """The scrape's thread may look at any moment; a job that started "at 0" would look stuck for ever."""
    seen: list[float] = []

    class LookingClock(FakeClock):
        looking = False

        def __call__(self) -> float:
            if not self.looking:
                self.looking = True
                seen.append(thread.job_seconds)
                self.looking = False
            return super().__call__()

    thread = DeviceThread(hang_timeout=300, load_timeout=600, clock=LookingClock())
    thread.start()
    await thread.run(lambda: None, kind=Kind.PROBE)
    thread.stop()
    assert set(seen) == {0.0}
