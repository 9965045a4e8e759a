"""Admission and turns."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from service.errors import DeadlineExceeded, Draining, QueueFull, Unavailable
from service.inference.place import Kind
from service.inference.worker import HEADROOM, Worker


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Gatekeeper:
    """A job that blocks until it is let through."""

    def __init__(self) -> None:
        self.running = threading.Event()
        self.release = threading.Event()

    def __call__(self) -> str:
        self.running.set()
        assert self.release.wait(30)
        return "done"


async def settle() -> None:
    """Let everything that is ready in the loop run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def serve_one(worker: Worker, job: Callable[[], object] = lambda: None) -> None:
    """What a handler does with a picture."""
    with worker.place() as place:
        place.queue_up()
        await place.in_gpu_thread(job)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def worker(clock: FakeClock) -> AsyncIterator[Worker]:
    worker = Worker(
        queue_size=2, request_timeout=10, hang_timeout=300, load_timeout=600, pool_size=2, clock=clock
    )
    worker.start()
    worker.open()
    yield worker
    worker.stop()


async def test_a_job_runs_in_the_gpu_thread_and_its_result_comes_back(worker: Worker) -> None:
    assert await worker.run(lambda: threading.current_thread().name, kind=Kind.REQUEST) == "gpu"


@pytest.mark.parametrize("error", [ValueError("boom"), StopIteration(), SystemExit(3), KeyboardInterrupt()])
async def test_whatever_a_job_raises_reaches_its_caller_and_the_thread_lives_on(
    worker: Worker, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises((ValueError, RuntimeError)):
        await worker.run(fail, kind=Kind.REQUEST)
    assert await worker.run(lambda: 7, kind=Kind.REQUEST) == 7


async def test_only_one_job_runs_at_a_time_in_order_of_arrival(worker: Worker) -> None:
    log: list[int] = []
    inside = 0

    def job(number: int) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        log.append(number)
        inside -= 1

    await asyncio.gather(*(worker.run(lambda n=n: job(n), kind=Kind.REQUEST) for n in range(20)))  # type: ignore[misc]
    assert log == list(range(20))


async def test_a_probe_comes_right_after_the_running_job(worker: Worker) -> None:
    hold, order = Gatekeeper(), []
    tasks = [asyncio.create_task(worker.run(hold, kind=Kind.REQUEST))]
    await until(hold.running.is_set)
    tasks += [
        asyncio.create_task(worker.run(lambda n=n: order.append(n), kind=Kind.REQUEST)) for n in range(2)
    ]
    await settle()
    tasks.append(asyncio.create_task(worker.run(lambda: order.append("probe"), kind=Kind.PROBE)))
    await settle()
    hold.release.set()
    await asyncio.gather(*tasks)
    assert order == ["probe", 0, 1]


async def test_requests_wait_at_the_gate_until_it_opens_and_the_load_does_not(clock: FakeClock) -> None:
    worker = Worker(
        queue_size=2, request_timeout=10, hang_timeout=300, load_timeout=600, pool_size=1, clock=clock
    )
    worker.start()
    order: list[str] = []
    request = asyncio.create_task(worker.run(lambda: order.append("request"), kind=Kind.REQUEST))
    await settle()
    await worker.run(lambda: order.append("load"), kind=Kind.LOAD)
    assert order == ["load"]
    worker.open()
    await request
    assert order == ["load", "request"]
    worker.stop()


async def test_places_are_refused_at_once_when_all_are_taken_and_come_back(worker: Worker) -> None:
    with worker.place(), worker.place(), worker.place():
        assert worker.taken == worker.capacity == 3
        with pytest.raises(QueueFull) as refused, worker.place():
            pass
        assert refused.value.retry_after is not None
        assert refused.value.retry_after >= 1
    assert worker.taken == 0


async def test_a_probe_needs_no_place(worker: Worker) -> None:
    with worker.place(), worker.place(), worker.place(), worker.probe_place() as place:
        assert await place.in_gpu_thread(lambda: 1, kind=Kind.PROBE) == 1


async def test_a_cancelled_waiting_job_never_reaches_the_thread(worker: Worker) -> None:
    hold, ran = Gatekeeper(), []
    running = asyncio.create_task(worker.run(hold, kind=Kind.REQUEST))
    await until(hold.running.is_set)
    waiting = asyncio.create_task(worker.run(lambda: ran.append(1), kind=Kind.REQUEST))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    hold.release.set()
    await running
    await worker.run(lambda: None, kind=Kind.REQUEST)
    assert ran == []


async def test_a_place_is_held_until_the_thread_ends_even_if_its_request_has_gone(worker: Worker) -> None:
    hold = Gatekeeper()

    async def request() -> None:
        with worker.place() as place:
            await place.in_gpu_thread(hold)

    task = asyncio.create_task(request())
    await until(hold.running.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert worker.taken == 1
    assert worker.busy
    hold.release.set()
    await until(lambda: worker.taken == 0)
    assert not worker.busy


async def test_a_place_is_held_until_its_decoder_ends_even_if_its_request_has_gone(worker: Worker) -> None:
    hold = Gatekeeper()

    async def request() -> None:
        with worker.place() as place:
            await place.in_pool(hold)

    task = asyncio.create_task(request())
    await until(hold.running.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert worker.taken == 1
    hold.release.set()
    await until(lambda: worker.taken == 0)


async def run_for(worker: Worker, clock: FakeClock, seconds: float) -> None:
    """One request's job that takes ``seconds`` by the fake clock."""

    def job() -> None:
        clock.now += seconds

    await worker.run(job, kind=Kind.REQUEST)


async def test_work_that_would_outlast_its_deadline_is_refused_at_the_door(
    worker: Worker, clock: FakeClock
) -> None:
    await run_for(worker, clock, 6.0)
    with worker.place() as first:
        first.queue_up()
        with pytest.raises(QueueFull, match="expected wait") as refused, worker.place():
            pass
        assert refused.value.retry_after == pytest.approx(12.0 - HEADROOM * 10)


async def test_a_job_slower_than_the_deadline_does_not_shut_the_door_for_ever(
    worker: Worker, clock: FakeClock
) -> None:
    await run_for(worker, clock, 60.0)
    with worker.place() as place:
        place.queue_up()


async def test_uploads_are_not_work_until_their_body_is_in(worker: Worker, clock: FakeClock) -> None:
    await run_for(worker, clock, 6.0)
    with worker.place():
        assert worker.expected_seconds == 0
        with worker.place() as second:
            second.queue_up()
            assert worker.expected_seconds == pytest.approx(6.0)


async def test_refusing_tells_those_who_wait_and_those_who_come_until_the_gate_opens(worker: Worker) -> None:
    hold = Gatekeeper()
    running = asyncio.create_task(worker.run(hold, kind=Kind.PROBE))
    await until(hold.running.is_set)
    waiting = asyncio.create_task(serve_one(worker))
    await settle()
    worker.refuse(lambda: Unavailable("no weights"))
    with pytest.raises(Unavailable, match="no weights"):
        await waiting
    with pytest.raises(Unavailable), worker.place():
        pass
    hold.release.set()
    assert await running == "done"
    worker.open()
    with worker.place():
        pass


async def test_draining_admits_what_fits_the_grace(worker: Worker, clock: FakeClock) -> None:
    await run_for(worker, clock, 3.0)
    worker.drain(8.0)
    with worker.place() as place:
        place.queue_up()
    clock.now += 6.0
    with pytest.raises(Draining), worker.place():
        pass


async def test_draining_before_the_load_lets_everybody_go_at_once() -> None:
    worker = Worker(queue_size=2, request_timeout=10, hang_timeout=300, load_timeout=600, pool_size=1)
    worker.start()
    waiting = asyncio.create_task(serve_one(worker))
    await settle()
    worker.drain(8.0)
    with pytest.raises(Draining):
        await waiting
    with pytest.raises(Draining), worker.place():
        pass
    worker.stop()


async def test_a_job_over_its_limit_counts_as_stuck_and_the_load_has_its_own(
    worker: Worker, clock: FakeClock
) -> None:
    assert worker.stuck is None
    for kind, limit in ((Kind.REQUEST, 300), (Kind.PROBE, 300), (Kind.LOAD, 600)):
        hold = Gatekeeper()
        task = asyncio.create_task(worker.run(hold, kind=kind))
        await until(hold.running.is_set)
        clock.now += limit
        assert worker.stuck is None
        assert worker.job_seconds == (0 if kind is Kind.LOAD else pytest.approx(limit))
        clock.now += 1
        assert worker.stuck is not None
        assert f"{limit} s" in worker.stuck
        hold.release.set()
        await task
        assert worker.stuck is None
        assert worker.job_seconds == 0


async def test_the_queue_depth_says_how_many_hold_a_place_and_do_not_run(worker: Worker) -> None:
    hold = Gatekeeper()

    async def request() -> None:
        with worker.place() as place:
            await place.in_gpu_thread(hold)

    first = asyncio.create_task(request())
    await until(hold.running.is_set)
    assert worker.queue_depth == 0
    second = asyncio.create_task(request())
    await settle()
    assert worker.queue_depth == 1
    hold.release.set()
    await asyncio.gather(first, second)
    assert worker.queue_depth == 0


async def test_an_abandoned_runner_is_told_and_its_place_stays_until_the_thread_ends(worker: Worker) -> None:
    hold = Gatekeeper()

    async def request() -> None:
        with worker.place() as place:
            await place.in_gpu_thread(hold)

    task = asyncio.create_task(request())
    await until(hold.running.is_set)
    worker.abandon(lambda: DeadlineExceeded("too late"))
    with pytest.raises(DeadlineExceeded):
        await task
    assert worker.taken == 1
    hold.release.set()
    await until(lambda: worker.taken == 0)
