"""A place: how its state follows the request, and when it is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from service.errors import DeadlineExceeded, Unavailable
from service.inference.admission import Admission
from service.inference.codec_pool import CodecPool
from service.inference.device_thread import DeviceThread
from service.inference.jobs import Kind
from service.inference.place import Place, State
from service.inference.service_time import Stage
from tests.service.inference.jobs import BlockingJob
from tests.support.waiting import let_run, until

Work = Callable[[Place, BlockingJob], object]


async def in_device_thread(place: Place, job: BlockingJob) -> None:
    await place.run_on_device(job)


async def in_codec_pool(place: Place, job: BlockingJob) -> None:
    await place.run_in_codec_pool(job)


async def test_the_state_of_a_place_follows_its_request(admission: Admission) -> None:
    with admission.take_place() as place:
        states = [(place.state, place.ahead)]
        admission.enqueue(place, file_bytes=5)
        states.append((place.state, place.ahead))
        await place.run_in_codec_pool(lambda: None)
        place.note_size(1, 1)
        assert place.work.file_bytes == 0
        states.append((place.state, place.ahead))
        await place.run_on_device(lambda: None)
        states.append((place.state, place.ahead))
        await place.run_in_codec_pool(lambda: None)
        states.append((place.state, place.ahead))
    states.append((place.state, place.ahead))
    assert states == [
        (State.UPLOADING, set()),
        (State.QUEUED, {Stage.DECODE, Stage.INFER, Stage.FINISH}),
        (State.QUEUED, {Stage.INFER, Stage.FINISH}),
        (State.FINISHING, {Stage.FINISH}),
        (State.ANSWERING, set()),
        (State.RELEASED, set()),
    ]
    assert admission.taken == 0


@pytest.mark.parametrize("work", [in_device_thread, in_codec_pool])
async def test_a_place_is_held_until_its_thread_ends_even_if_its_request_was_cancelled(
    admission: Admission, work: Callable[[Place, BlockingJob], asyncio.Future[None]]
) -> None:
    blocking = BlockingJob()

    async def request() -> None:
        with admission.take_place() as place:
            await work(place, blocking)

    task = asyncio.create_task(request())
    await until(blocking.running.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert admission.taken == 1
    assert admission.clients == 0
    blocking.release.set()
    await until(lambda: admission.taken == 0)


async def test_a_place_is_given_back_at_once_when_it_is_released_by_another_task(
    admission: Admission,
) -> None:
    ended = asyncio.Event()

    async def upload() -> None:
        with admission.take_place():
            await ended.wait()

    task = asyncio.create_task(upload())
    await let_run()
    (place,) = admission._places
    place.release()
    assert admission.taken == 0
    ended.set()
    await task
    assert admission.taken == 0


async def test_a_released_place_waits_for_its_running_job_and_still_counts_as_work_ahead(
    admission: Admission,
) -> None:
    blocking = BlockingJob()

    async def request() -> None:
        with admission.take_place() as place:
            admission.enqueue(place)
            await place.run_on_device(blocking)

    task = asyncio.create_task(request())
    await until(blocking.running.is_set)
    (place,) = admission._places
    place.release()
    assert place.needs_device
    assert admission.taken == 1
    blocking.release.set()
    await task
    assert not place.needs_device
    assert admission.taken == 0


async def test_an_interruption_becomes_its_error_and_the_place_stays_until_the_thread_ends(
    admission: Admission,
) -> None:
    blocking = BlockingJob()

    async def request() -> None:
        with admission.take_place() as place:
            admission.enqueue(place)
            await place.run_on_device(blocking)

    task = asyncio.create_task(request())
    await until(blocking.running.is_set)
    admission.abandon(lambda: DeadlineExceeded("too late"))
    with pytest.raises(DeadlineExceeded):
        await task
    assert admission.taken == 1
    blocking.release.set()
    await until(lambda: admission.taken == 0)


async def test_an_interruption_comes_too_late_once_the_answer_is_being_written(admission: Admission) -> None:
    with admission.take_place() as place:
        admission.enqueue(place)
        await place.run_on_device(lambda: None)
        await place.run_in_codec_pool(lambda: None)
        place.interrupt(lambda: DeadlineExceeded("too late"))
        await let_run()


async def test_a_cancellation_from_outside_stays_one_even_if_the_place_was_interrupted_too(
    admission: Admission,
) -> None:
    async def request() -> None:
        with admission.take_place() as place:
            admission.enqueue(place)
            await asyncio.sleep(60)

    task = asyncio.create_task(request())
    await let_run()
    admission.abandon(lambda: DeadlineExceeded("too late"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert admission.taken == 0


async def test_a_place_for_a_probe_needs_no_free_place(admission: Admission) -> None:
    with admission.take_place(), admission.take_place(), admission.take_place():
        assert admission.full
        with admission.probe_place() as place:
            assert await place.run_on_device(lambda: 1) == 1
        assert admission.taken == 3


async def test_a_request_whose_device_job_failed_is_not_interrupted_while_it_reports_that(
    admission: Admission,
) -> None:
    """Reporting a lost device refuses and drains; the task that does it must not cancel itself."""

    def fail() -> None:
        raise ValueError("boom")

    async def request() -> int:
        with admission.take_place() as place:
            admission.enqueue(place)
            with pytest.raises(ValueError, match="boom"):
                await place.run_on_device(fail)
            admission.refuse(lambda: Unavailable("the device is lost"), for_good=True)
            admission.drain(8.0)
            task = asyncio.current_task()
            assert task is not None
            return task.cancelling()

    assert await asyncio.create_task(request()) == 0


async def test_a_codec_job_that_no_thread_has_begun_is_dropped_with_its_request(
    admission: Admission, codec_pool: CodecPool
) -> None:
    busy, ran = [BlockingJob(), BlockingJob()], []
    occupied = [asyncio.create_task(codec_pool.run(job, kind=Kind.REQUEST)) for job in busy]

    async def request() -> None:
        with admission.take_place() as place:
            await place.run_in_codec_pool(lambda: ran.append(1))

    task = asyncio.create_task(request())
    await let_run()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: admission.taken == 0)
    for job in busy:
        job.release.set()
    await asyncio.gather(*occupied)
    await codec_pool.run(lambda: None, kind=Kind.REQUEST)
    assert ran == []


async def test_a_place_tells_when_a_thread_works_for_it_and_waiting_does_not_count(
    admission: Admission, device_thread: DeviceThread
) -> None:
    blocking, told = BlockingJob(), []
    occupied = asyncio.create_task(device_thread.run(blocking, kind=Kind.REQUEST))
    await until(blocking.running.is_set)
    decoding = BlockingJob()

    async def probe() -> None:
        with admission.probe_place(told.append) as place:
            await place.run_in_codec_pool(decoding)
            await place.run_on_device(lambda: None)
            await place.run_in_codec_pool(lambda: None)

    task = asyncio.create_task(probe())
    await until(decoding.running.is_set)
    assert told == [True]
    decoding.release.set()
    await until(lambda: device_thread.waiting == 1)
    assert told == [True, False], "it waits for its turn"
    blocking.release.set()
    await asyncio.gather(task, occupied)
    assert told == [True, False] * 3


async def test_a_job_that_never_began_is_not_told_as_ended(
    admission: Admission, device_thread: DeviceThread
) -> None:
    told: list[bool] = []
    device_thread.stop()

    async def probe() -> None:
        with admission.probe_place(told.append) as place:
            await place.run_on_device(lambda: None)

    blocking = BlockingJob()
    occupied = asyncio.create_task(device_thread.run(blocking, kind=Kind.REQUEST))
    await let_run()
    task = asyncio.create_task(probe())
    await let_run()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == []
    occupied.cancel()
