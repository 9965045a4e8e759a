"""Admission: which requests get a place, which are refused at once, and what happens to them when the service ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from service.errors import Draining, QueueFull, Unavailable
from service.inference.admission import HEADROOM, Admission
from service.inference.device_thread import DeviceThread, Kind
from tests.service.inference.jobs import BlockingJob
from tests.support.clock import FakeClock
from tests.support.waiting import let_run, until


async def serve_one(admission: Admission, job: Callable[[], object] = lambda: None) -> None:
    """Take a place and run a picture, like the handler of ``/process``."""
    with admission.take_place() as place:
        admission.enqueue(place)
        await place.run_on_device(job)


async def serve_for(admission: Admission, clock: FakeClock, seconds: float) -> None:
    """Serve a picture whose job takes ``seconds`` by the fake clock."""

    def job() -> None:
        clock.now += seconds

    await serve_one(admission, job)


async def test_places_are_refused_at_once_when_all_are_taken_and_come_back(admission: Admission) -> None:
    with admission.take_place(), admission.take_place(), admission.take_place():
        assert admission.taken == admission.capacity == 3
        with pytest.raises(QueueFull) as refused:
            admission.take_place()
        assert refused.value.retry_after is not None
        assert refused.value.retry_after >= 1
    assert admission.taken == 0


async def test_work_that_would_outlast_its_deadline_is_refused_before_its_upload(
    admission: Admission, clock: FakeClock
) -> None:
    await serve_for(admission, clock, 6.0)
    with admission.take_place() as first:
        admission.enqueue(first)
        with pytest.raises(QueueFull, match="expected wait") as refused:
            admission.take_place()
        assert refused.value.retry_after == pytest.approx(12.0 - HEADROOM * 10)


async def test_work_that_would_outlast_its_deadline_is_refused_when_its_body_is_in(
    admission: Admission, clock: FakeClock
) -> None:
    await serve_for(admission, clock, 6.0)
    with admission.take_place() as slow, admission.take_place() as fast:
        admission.enqueue(fast)
        with pytest.raises(QueueFull, match="expected wait"):
            admission.enqueue(slow)


async def test_a_job_slower_than_the_deadline_does_not_refuse_all_later_requests(
    admission: Admission, clock: FakeClock
) -> None:
    await serve_for(admission, clock, 60.0)
    with admission.take_place() as place:
        admission.enqueue(place)


async def test_the_service_time_follows_the_recent_jobs(admission: Admission, clock: FakeClock) -> None:
    assert admission.service_seconds == 0
    await serve_for(admission, clock, 4.0)
    assert admission.service_seconds == pytest.approx(4.0)
    await serve_for(admission, clock, 2.0)
    assert admission.service_seconds == pytest.approx(3.4)


async def test_uploads_are_not_work_until_their_body_is_in(admission: Admission, clock: FakeClock) -> None:
    await serve_for(admission, clock, 6.0)
    with admission.take_place():
        assert admission.expected_seconds == 0
        with admission.take_place() as second:
            admission.enqueue(second)
            assert admission.expected_seconds == pytest.approx(6.0)
            assert (admission.clients, admission.owed) == (2, 1)


async def test_refusing_ends_those_who_wait_and_those_who_come_until_the_gate_opens(
    admission: Admission, device_thread: DeviceThread
) -> None:
    blocking = BlockingJob()
    running = asyncio.create_task(device_thread.run(blocking, kind=Kind.PROBE))
    await until(blocking.running.is_set)
    waiting = asyncio.create_task(serve_one(admission))
    await let_run()
    admission.refuse(lambda: Unavailable("no weights"))
    with pytest.raises(Unavailable, match="no weights"):
        await waiting
    with pytest.raises(Unavailable):
        admission.take_place()
    blocking.release.set()
    assert await running == "done"
    admission.open()
    await serve_one(admission)


async def test_a_refusal_for_good_outlasts_the_opening_of_the_gate(admission: Admission) -> None:
    admission.refuse(lambda: Unavailable("the device is lost"), for_good=True)
    admission.open()
    with pytest.raises(Unavailable, match="lost"):
        admission.take_place()


async def test_draining_admits_what_fits_the_grace(admission: Admission, clock: FakeClock) -> None:
    await serve_for(admission, clock, 3.0)
    admission.drain(8.0)
    with admission.take_place() as place:
        admission.enqueue(place)
    clock.now += 6.0
    with pytest.raises(Draining):
        admission.take_place()


async def test_draining_before_the_gate_opens_ends_every_request_at_once(
    admission: Admission, device_thread: DeviceThread
) -> None:
    device_thread.close_gate()  # as before the first load: nothing is refused yet
    waiting = asyncio.create_task(serve_one(admission))
    await let_run()
    admission.drain(8.0)
    with pytest.raises(Draining):
        await waiting
    with pytest.raises(Draining):
        admission.take_place()


async def test_the_queue_depth_counts_the_requests_that_hold_a_place_and_do_not_run(
    admission: Admission,
) -> None:
    blocking = BlockingJob()
    first = asyncio.create_task(serve_one(admission, blocking))
    await until(blocking.running.is_set)
    assert admission.queue_depth == 0
    second = asyncio.create_task(serve_one(admission, blocking))
    await let_run()
    assert admission.queue_depth == 1
    blocking.release.set()
    await asyncio.gather(first, second)
    assert admission.queue_depth == 0
