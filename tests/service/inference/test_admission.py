"""Admission: which requests get a place, which are refused at once, and what happens to them when the service ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadDimensions, Draining, QueueFull, Unavailable
from service.imaging.options import Options
from service.inference.admission import HEADROOM, Admission
from service.inference.codec_pool import CodecPool
from service.inference.device_thread import DeviceThread, Kind
from service.inference.place import Place
from service.inference.return_times import GRACE_SECONDS, LONGEST_SECONDS
from service.inference.service_time import Stage, Work
from service.inference.too_slow import TRIAL_DUTY
from tests.service.inference.conftest import new_admission
from tests.service.inference.jobs import BlockingJob
from tests.support.clock import FakeClock
from tests.support.memory_budgets import NEEDS, memory_budget
from tests.support.waiting import let_run, until


async def serve_one(
    admission: Admission, job: Callable[[], object] = lambda: None, size: tuple[int, int] | None = None
) -> None:
    """Take a place and run a picture, like the handler of ``/process``."""
    with admission.take_place() as place:
        admission.header_read(place, "PNG", size)
        admission.enqueue(place)
        await place.run_on_device(job)


async def serve_for(
    admission: Admission, clock: FakeClock, seconds: float, size: tuple[int, int] | None = None
) -> None:
    """Serve a picture whose job takes ``seconds`` by the fake clock."""

    def job() -> None:
        clock.now += seconds

    await serve_one(admission, job, size)


def queued(admission: Admission, size: tuple[int, int] | None = None) -> Place:
    """A request whose body is in; the test releases it."""
    place = admission.take_place()
    admission.header_read(place, "PNG", size)
    admission.enqueue(place)
    return place


async def test_places_are_refused_at_once_when_all_are_taken_and_come_back(admission: Admission) -> None:
    with admission.take_place(), admission.take_place(), admission.take_place():
        assert admission.taken == admission.capacity == 3
        with pytest.raises(QueueFull) as refused:
            admission.take_place()
        assert refused.value.retry_after is not None
        assert refused.value.retry_after >= 1
    assert admission.taken == 0


async def test_nobody_is_let_in_behind_work_that_takes_the_whole_deadline(
    admission: Admission, clock: FakeClock
) -> None:
    await serve_for(admission, clock, 9.0, (100, 100))
    queued(admission, (100, 100))
    with pytest.raises(QueueFull, match=r"expected wait of 9\.0 s would outlast") as refused:
        admission.take_place()
    assert refused.value.retry_after == pytest.approx(9.0 - HEADROOM * 10)


async def test_work_that_would_outlast_its_deadline_is_refused_by_its_header(
    admission: Admission, clock: FakeClock
) -> None:
    await serve_for(admission, clock, 6.0, (100, 100))
    queued(admission, (100, 100))
    with admission.take_place() as place:
        with pytest.raises(
            QueueFull, match=r"expected wait of 6\.0 s and the 6\.0 s that such a picture takes"
        ) as refused:
            admission.header_read(place, "PNG", (100, 100))
        assert refused.value.retry_after == pytest.approx(12.0 - HEADROOM * 10)
        admission.header_read(place, "PNG", (50, 50))


async def test_work_that_would_outlast_its_deadline_is_refused_when_its_body_is_in(
    admission: Admission, clock: FakeClock
) -> None:
    """Here the header said nothing: such a picture counts like the recent ones."""
    await serve_for(admission, clock, 6.0)
    with admission.take_place() as slow, admission.take_place() as fast:
        admission.enqueue(fast)
        with pytest.raises(QueueFull, match="expected wait"):
            admission.enqueue(slow)


async def test_small_pictures_are_let_in_after_large_ones_and_large_ones_refused_after_small_ones(
    admission: Admission, clock: FakeClock
) -> None:
    for _ in range(5):
        await serve_for(admission, clock, 4.5, (1000, 1000))
    queued(admission, (1000, 1000))
    queued(admission, (100, 100))
    assert admission.expected_wait == pytest.approx(4.5 + 0.045)
    for _ in range(5):
        admission.times.note(Work(model_input=(100, 100)), Stage.INFER, 0.045)
    with admission.take_place() as place, pytest.raises(QueueFull):
        admission.header_read(place, "PNG", (1000, 1000))


async def test_the_wait_shrinks_while_the_job_ahead_runs(
    admission: Admission, clock: FakeClock, device_thread: DeviceThread
) -> None:
    await serve_for(admission, clock, 4.0, (10, 10))
    blocking = BlockingJob()
    running = asyncio.create_task(serve_one(admission, blocking, (10, 10)))
    await until(blocking.running.is_set)
    clock.now += 3.0
    assert admission.expected_wait == pytest.approx(1.0)
    clock.now += 3.0
    assert admission.expected_wait == 0
    blocking.release.set()
    await running


async def test_codec_work_counts_when_it_takes_longer_than_the_device(
    admission: Admission, clock: FakeClock
) -> None:
    work = Work(size=(100, 100), model_input=(100, 100), input_format="PNG", output=Options().work)
    admission.times.note(work, Stage.DECODE, 4.0)
    admission.times.note(work, Stage.INFER, 0.5)
    admission.times.note(work, Stage.FINISH, 2.0)
    with admission.take_place() as place:
        admission.header_read(place, "PNG", (100, 100))
        admission.enqueue(place, Options())
        assert admission.expected_wait == pytest.approx((4.0 + 2.0) / 2), "two threads"
        place.note_size(100, 100)
        assert admission.expected_wait == pytest.approx(2.0 / 2), "it is decoded: only the rest is ahead"


async def test_a_newcomer_that_is_refused_anyway_makes_nobody_give_way(
    admission: Admission, clock: FakeClock
) -> None:
    await serve_for(admission, clock, 3.0)
    made_room: list[str] = []
    with admission.take_place():  # a slow upload
        queued(admission)
        queued(admission)
        assert admission.full
        with pytest.raises(QueueFull, match="expected wait"):
            admission.take_place(make_room=lambda: made_room.append("room"))
        assert not made_room


async def test_a_newcomer_that_can_be_served_gets_the_place_of_one_that_gives_way(
    admission: Admission,
) -> None:
    slow = [admission.take_place() for _ in range(admission.capacity)]
    with admission.take_place(make_room=slow[0].release):
        assert admission.full


async def test_a_picture_too_slow_for_its_deadline_is_refused_in_words_once_that_is_measured_again(
    admission: Admission, clock: FakeClock
) -> None:
    await serve_for(admission, clock, 12.0, (1000, 1000))
    await serve_for(admission, clock, 12.0, (1000, 1000))  # the first one may have been an accident
    with admission.take_place() as place:
        with pytest.raises(BadDimensions, match="takes 12 s, and a request may take 10 s") as refused:
            admission.header_read(place, "PNG", (1000, 1000))
        assert "at most 800 x 800" in refused.value.message
        admission.header_read(place, "PNG", (800, 800))


async def too_slow_at(admission: Admission, clock: FakeClock, side: int) -> None:
    """Pictures of this size take 12 s, one was refused, and a trial is due."""
    for _ in range(2):
        await serve_for(admission, clock, 12.0, (side, side))
    with admission.take_place() as place, pytest.raises(BadDimensions):
        admission.header_read(place, "PNG", (side, side))
    clock.now += TRIAL_DUTY * 12.0


async def test_a_picture_too_slow_for_its_deadline_is_tried_when_nobody_would_have_to_wait_for_it(
    admission: Admission, clock: FakeClock
) -> None:
    await too_slow_at(admission, clock, 1000)
    other = queued(admission, (10, 10))
    with admission.take_place() as place, pytest.raises(BadDimensions):
        admission.header_read(place, "PNG", (1000, 1000))
    other.release()
    await serve_for(admission, clock, 2.0, (1000, 1000))
    await serve_for(admission, clock, 2.0, (1000, 1000))


async def test_a_trial_whose_client_leaves_before_a_thread_begins_is_given_to_the_next(
    admission: Admission, clock: FakeClock
) -> None:
    await too_slow_at(admission, clock, 1000)
    with admission.take_place() as leaves, admission.take_place() as second:
        for place in (leaves, second):
            admission.header_read(place, "PNG", (1000, 1000))
        admission.enqueue(leaves)
        with pytest.raises(BadDimensions):
            admission.enqueue(second)
    await serve_for(admission, clock, 12.0, (1000, 1000))
    with admission.take_place() as place, pytest.raises(BadDimensions):
        admission.header_read(place, "PNG", (1000, 1000))


async def test_a_trial_that_fails_after_a_time_is_paid_for_like_one_that_was_measured(
    admission: Admission, clock: FakeClock
) -> None:
    await too_slow_at(admission, clock, 1000)

    def job() -> None:
        clock.now += 11.0
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        await serve_one(admission, job, (1000, 1000))
    clock.now += TRIAL_DUTY * 11.0 - 1
    with admission.take_place() as place, pytest.raises(BadDimensions):
        admission.header_read(place, "PNG", (1000, 1000))
    clock.now += 1
    await serve_for(admission, clock, 1.0, (1000, 1000))


async def test_a_size_that_was_never_measured_is_let_in_alone_and_one_at_a_time(
    admission: Admission, clock: FakeClock
) -> None:
    await serve_for(admission, clock, 1.0, (32, 32))
    with admission.take_place() as place:
        admission.header_read(place, "PNG", (3200, 3200))
        admission.enqueue(place)
        with pytest.raises(QueueFull):
            admission.take_place()


async def test_a_refused_size_is_refused_by_its_header_and_when_it_waits_and_after_decoding(
    admission: Admission, device_thread: DeviceThread
) -> None:
    def too_large(size: tuple[int, int]) -> Unavailable | None:
        return Unavailable(f"no room for {size[0]} x {size[1]}") if size[0] > 50 else None

    device_thread.close_gate()
    waits = asyncio.create_task(serve_one(admission, size=(100, 100)))
    small = asyncio.create_task(serve_one(admission, size=(50, 50)))
    await let_run()
    admission.limit_sizes(too_large)
    with pytest.raises(Unavailable, match="no room for 100 x 100"):
        await waits
    device_thread.open_gate()
    await small
    with admission.take_place() as place, pytest.raises(Unavailable, match="60 x 70"):
        admission.header_read(place, "PNG", (60, 70))
    with admission.take_place() as place:
        admission.enqueue(place)  # its header did not say its size
        with pytest.raises(Unavailable, match="60 x 1"):
            place.note_size(60, 1)
    with admission.probe_place() as probe:
        probe.note_size(60, 1)
    admission.limit_sizes(None)
    await serve_one(admission, size=(100, 100))


def refusing_above(width: int, height: int) -> Callable[[tuple[int, int]], Unavailable | None]:
    error = Unavailable("no room", retry_after=60)
    return lambda size: error if size[0] >= width and size[1] >= height else None


async def test_until_it_is_decoded_a_picture_is_refused_only_if_both_orientations_are(
    admission: Admission, device_thread: DeviceThread
) -> None:
    """A camera stores a portrait as a landscape, and only its EXIF says so."""
    device_thread.close_gate()
    admission.limit_sizes(refusing_above(200, 100))
    with admission.take_place() as place:
        admission.header_read(place, "JPEG", (200, 100))
        admission.enqueue(place)
        admission.limit_sizes(refusing_above(200, 100))
        place.note_size(100, 200)
        await let_run()  # nothing has interrupted it
    with admission.take_place() as place:
        admission.header_read(place, "JPEG", (200, 100))
        with pytest.raises(Unavailable):
            place.note_size(200, 100)
    with admission.take_place() as place, pytest.raises(Unavailable):
        admission.header_read(place, "JPEG", (200, 200))


async def test_a_picture_that_decodes_larger_than_its_header_said_is_refused_if_the_wait_is_too_long_for_it(
    admission: Admission, clock: FakeClock
) -> None:
    await serve_for(admission, clock, 6.0, (1000, 1000))
    ahead = queued(admission, (1000, 1000))
    ahead.note_size(1000, 1000)
    with admission.take_place() as place:
        admission.header_read(place, "AVIF", (10, 10))
        admission.enqueue(place)
        with pytest.raises(QueueFull, match=r"expected wait of 6\.0 s and the 6\.0 s"):
            place.note_size(1000, 1000)
    with admission.take_place() as place:
        admission.header_read(place, "AVIF", (1000, 10))
        admission.enqueue(place)
        place.note_size(10, 1000)


@pytest.mark.parametrize("claimed", [(10, 10), None])
async def test_a_picture_that_decodes_too_large_for_its_deadline_is_refused_in_words(
    admission: Admission, clock: FakeClock, claimed: tuple[int, int] | None
) -> None:
    for _ in range(2):
        await serve_for(admission, clock, 12.0, (1000, 1000))
    with admission.take_place() as place:
        admission.header_read(place, "AVIF", claimed)
        admission.enqueue(place)
        with pytest.raises(BadDimensions, match="1000 x 1000"):
            place.note_size(1000, 1000)


async def test_a_picture_that_decodes_as_its_header_said_is_not_judged_by_those_behind_it(
    admission: Admission, clock: FakeClock
) -> None:
    await serve_for(admission, clock, 3.0, (100, 200))
    with admission.take_place() as place:
        admission.header_read(place, "JPEG", (200, 100))
        admission.enqueue(place)
        behind = queued(admission, (100, 200))
        for _ in range(5):
            admission.times.note(behind.work, Stage.INFER, 9.0)
        place.note_size(100, 200)


async def test_a_probe_tells_the_time_of_its_size_but_not_of_recent_pictures(
    admission: Admission, clock: FakeClock
) -> None:
    def job() -> None:
        clock.now += 2.0

    with admission.probe_place() as probe:
        probe.note_size(10, 10)
        await probe.run_on_device(job)
    assert admission.times.recent(Stage.INFER) == 0
    with admission.take_place() as place:
        admission.header_read(place, "PNG", (10, 10))
        admission.enqueue(place)
        assert admission.expected_wait == pytest.approx(2.0)


async def test_a_proof_that_waits_for_the_device_or_runs_there_is_ahead_of_everybody(
    admission: Admission, clock: FakeClock
) -> None:
    blocking = BlockingJob()

    async def prove() -> None:
        with admission.probe_place() as probe:
            probe.note_size(1000, 1000)
            await probe.run_on_device(blocking)

    for _ in range(2):
        admission.times.note(Work(model_input=(1000, 1000)), Stage.INFER, 5.0)
    proofs = [asyncio.create_task(prove()) for _ in range(2)]
    await until(blocking.running.is_set)
    assert admission.expected_wait == pytest.approx(5.0 + 5.0)
    assert (admission.taken, admission.clients, admission.queue_depth) == (0, 0, 0)
    clock.now += 4.0
    assert admission.expected_wait == pytest.approx(1.0 + 5.0)
    blocking.release.set()
    await asyncio.gather(*proofs)
    assert admission.expected_wait == 0


async def test_the_time_of_codec_work_is_noted_even_if_nobody_waits_for_it(
    admission: Admission, clock: FakeClock
) -> None:
    blocking = BlockingJob()

    async def decode() -> None:
        with admission.take_place() as place:
            admission.header_read(place, "PNG", (10, 10))
            await place.run_in_codec_pool(blocking, stage=Stage.DECODE)

    leaving = asyncio.create_task(decode())
    await until(blocking.running.is_set)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    clock.now += 2.0
    blocking.release.set()
    await until(lambda: admission.taken == 0)
    assert admission.times.recent(Stage.DECODE) == pytest.approx(2.0)


async def test_the_time_of_decoding_counts_for_the_size_that_was_decoded(
    admission: Admission, clock: FakeClock
) -> None:
    """Headers of one pixel with a large picture behind them would make every large picture look endless."""

    def decode() -> tuple[int, int]:
        clock.now += 2.0
        return 1000, 1000

    with admission.take_place() as place:
        admission.header_read(place, "AVIF", (1, 1))
        await place.run_in_codec_pool(decode, stage=Stage.DECODE, size_of=lambda size: size)
    work = Work((1000, 1000), (1000, 1000), "AVIF")
    assert admission.times.expected(work, Stage.DECODE) == pytest.approx(2.0)


async def test_a_key_gets_no_more_than_half_of_the_places_while_another_waits(
    admission: Admission, clock: FakeClock
) -> None:
    greedy = [admission.take_place(key="a") for _ in range(admission.capacity)]
    with pytest.raises(QueueFull, match="Every place"):
        admission.take_place(key="b")
    for place in greedy[1:]:
        place.release()
    with pytest.raises(QueueFull, match="Requests with your API key"):
        admission.take_place(key="a")
    clock.now += LONGEST_SECONDS + GRACE_SECONDS + 1
    with admission.take_place(key="a"), admission.take_place(key="a"):
        assert admission.full


async def test_a_key_that_was_served_waits_no_longer(admission: Admission) -> None:
    """However often it was refused before: it may have been one client that did not wait."""
    greedy = [admission.take_place(key="a") for _ in range(admission.capacity)]
    for _ in range(60):
        with pytest.raises(QueueFull):
            admission.take_place(key="b")
    for place in greedy:
        place.release()
    with admission.take_place(key="b"):
        pass
    with admission.take_place(key="a"), admission.take_place(key="a"):
        assert admission.taken == 2, "more than half"


async def test_a_job_slower_than_the_deadline_does_not_refuse_all_later_requests(
    admission: Admission, clock: FakeClock
) -> None:
    await serve_for(admission, clock, 60.0)
    with admission.take_place() as place:
        admission.enqueue(place)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.floats(0, 5)), max_size=60))
async def test_whoever_was_refused_finds_the_other_key_with_at_most_half(
    steps: list[tuple[str, bool, float]],
) -> None:
    """Random requests and ends of two keys; a key waits at least as long as its shortest hint, a second."""
    clock = FakeClock()
    admission = Admission(
        memory=memory_budget(),
        device_thread=DeviceThread(hang_timeout=300, load_timeout=600, clock=clock),
        codec_pool=CodecPool(threads=1, hang_timeout=300),
        queue_size=6,
        request_timeout=10,
        model_input_size=lambda width, height: (width, height),
        clock=clock,
    )
    held: dict[str, list[Place]] = {"a": [], "b": []}
    refused_at = {"a": -100.0, "b": -100.0}
    for key, asks, pause in steps * 3:
        clock.now += pause
        if not asks:
            if held[key]:
                held[key].pop().release()
            continue
        other = "b" if key == "a" else "a"
        try:
            held[key].append(admission.take_place(key=key))
        except QueueFull:
            refused_at[key] = clock.now
        else:
            refused_at[key] = -100.0  # served, so it waits no longer
            assert len(held[key]) <= 3 or clock.now - refused_at[other] > 1.0


async def test_uploads_are_not_work_until_their_body_is_in(admission: Admission, clock: FakeClock) -> None:
    await serve_for(admission, clock, 6.0)
    with admission.take_place():
        assert admission.expected_wait == 0
        with admission.take_place() as second:
            admission.enqueue(second)
            assert admission.expected_wait == pytest.approx(6.0)
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


@pytest.fixture
def scarce(device_thread: DeviceThread, codec_pool: CodecPool, clock: FakeClock) -> Admission:
    """An admission like the other one, in a container that has 60 MB beside the engine."""
    return new_admission(memory_budget(NEEDS.idle + 60_000_000), device_thread, codec_pool, clock)


async def test_a_body_for_which_there_is_no_memory_is_refused_at_the_door_unless_a_slow_one_gives_way(
    scarce: Admission,
) -> None:
    with scarce.take_place(body_bytes=200_000_000) as slow:  # alone, it has all the memory that there is
        with pytest.raises(QueueFull, match="leave no memory"):
            scarce.take_place(body_bytes=20_000_000)
        with scarce.take_place(body_bytes=20_000_000, make_room=slow.release) as place:
            assert scarce.taken == 1
            with scarce.take_place(body_bytes=10_000_000), pytest.raises(QueueFull, match="leave no memory"):
                scarce.body_grows(place, 20_000_000)  # a picture is fetched by its address


async def test_what_a_picture_holds_is_free_again_as_it_goes_on(scarce: Admission) -> None:
    with scarce.take_place() as place:
        scarce.header_read(place, "PNG", (300, 500))
        scarce.enqueue(place, Options(), file_bytes=2_000_000)
        with scarce.take_place() as other:
            with pytest.raises(QueueFull, match="leave no memory"):
                scarce.header_read(other, "PNG", (400, 500))
            place.note_size(300, 500)
            await place.run_on_device(lambda: None)
            await place.run_in_codec_pool(lambda: None)
            scarce.header_read(other, "PNG", (400, 500))
