"""The codec pool: clients share threads, probes have their own, and a thread that hangs is noticed."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.inference.codec_pool import CodecPool
from service.inference.jobs import JobEnd, Kind
from tests.service.inference.jobs import BlockingJob
from tests.support.clock import FakeClock
from tests.support.examples import examples
from tests.support.waiting import let_run, until

Running = list[tuple[BlockingJob, asyncio.Task[str]]]


async def occupy(pool: CodecPool, count: int, *, kind: Kind = Kind.REQUEST, alone: bool = False) -> Running:
    """Start that many jobs, and wait until all of them run."""
    jobs = [BlockingJob() for _ in range(count)]
    tasks = [asyncio.create_task(pool.run(job, kind=kind, alone=alone)) for job in jobs]
    for job in jobs:
        await until(job.running.is_set)
    return list(zip(jobs, tasks, strict=True))


async def release(running: Running) -> None:
    for job, _ in running:
        job.release.set()
    await asyncio.gather(*(task for _, task in running))


@pytest.mark.parametrize(("kind", "name"), [(Kind.REQUEST, "codec_"), (Kind.PROBE, "codec-probe_0")])
async def test_a_job_runs_in_a_daemon_thread_of_its_kind(
    codec_pool: CodecPool, kind: Kind, name: str
) -> None:
    thread = await codec_pool.run(threading.current_thread, kind=kind)
    assert thread.name.startswith(name)
    assert thread.daemon, "a stuck thread must not block the exit of the process"


@pytest.mark.parametrize("error", [ValueError("boom"), StopIteration(), SystemExit(3), KeyboardInterrupt()])
async def test_an_exception_of_a_job_reaches_its_caller_and_the_threads_go_on(
    codec_pool: CodecPool, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    for _ in range(codec_pool.threads + 1):
        with pytest.raises((ValueError, RuntimeError)):
            await codec_pool.run(fail, kind=Kind.REQUEST)
    assert await codec_pool.run(lambda: 7, kind=Kind.REQUEST) == 7


async def test_clients_share_their_threads_and_never_take_the_probes(codec_pool: CodecPool) -> None:
    running = await occupy(codec_pool, codec_pool.threads)
    third = asyncio.create_task(codec_pool.run(lambda: "served", kind=Kind.REQUEST))
    for _ in range(3):
        assert await codec_pool.run(lambda: "probed", kind=Kind.PROBE) == "probed"
    assert not third.done()
    assert codec_pool.running == codec_pool.threads
    await release(running)
    assert await third == "served"
    assert codec_pool.running == 0


async def test_a_job_that_must_be_alone_waits_without_a_thread_and_others_pass_it(
    codec_pool: CodecPool,
) -> None:
    first = await occupy(codec_pool, 1, alone=True)
    order: list[int] = []
    waiting = [
        asyncio.create_task(codec_pool.run(lambda n=n: order.append(n), kind=Kind.REQUEST, alone=True))  # type: ignore[misc]
        for n in range(3)
    ]
    assert await codec_pool.run(lambda: "passed", kind=Kind.REQUEST) == "passed"
    assert codec_pool.running == 1
    assert order == []
    await release(first)
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2]


async def test_a_probe_that_must_be_alone_does_not_wait_for_clients_that_must(codec_pool: CodecPool) -> None:
    running = await occupy(codec_pool, 1, alone=True)
    assert await codec_pool.run(lambda: "probed", kind=Kind.PROBE, alone=True) == "probed"
    await release(running)


@given(
    jobs=st.lists(st.booleans(), max_size=8),
    threads=st.integers(1, 3),
    ends=st.lists(st.integers(0, 2), min_size=8, max_size=8),
)
@settings(max_examples=examples(40), deadline=None)
def test_whatever_arrives_no_thread_idles_needlessly_and_each_sort_keeps_its_order(
    jobs: list[bool], threads: int, ends: list[int]
) -> None:
    """For any jobs, each of which may have to be alone, and any order in which running ones end."""

    async def run() -> None:
        pool = CodecPool(threads=threads, hang_timeout=300)
        pool.start()
        running: dict[int, asyncio.Future[None]] = {}
        started: list[int] = []
        gates = [threading.Event() for _ in jobs]

        async def one(number: int) -> None:
            def began() -> None:
                started.append(number)
                running[number] = asyncio.get_running_loop().create_future()

            await pool.run(gates[number].wait, kind=Kind.REQUEST, alone=jobs[number], on_start=began)
            running.pop(number).set_result(None)

        tasks = [asyncio.create_task(one(number)) for number in range(len(jobs))]
        await let_run()
        while running:
            waiting = [number for number in range(len(jobs)) if number not in started]
            occupied = any(jobs[number] for number in running)
            assert len(running) <= threads
            assert sum(jobs[number] for number in running) <= 1
            assert len(running) == threads or all(jobs[n] and occupied for n in waiting)
            ending = sorted(running)[ends[len(started) - len(running)] % len(running)]
            ended = running[ending]
            gates[ending].set()
            await ended
            await let_run()
        await asyncio.gather(*tasks)
        for sort in (True, False):
            order = [number for number in started if jobs[number] is sort]
            assert order == sorted(order)
        assert len(started) == len(jobs)
        pool.stop()

    asyncio.run(run())


async def test_a_job_whose_caller_was_cancelled_while_it_waited_never_runs(codec_pool: CodecPool) -> None:
    running, ran, ends = await occupy(codec_pool, codec_pool.threads), [], []
    waiting = asyncio.create_task(
        codec_pool.run(lambda: ran.append(1), kind=Kind.REQUEST, on_end=ends.append)
    )
    await let_run()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await release(running)
    await codec_pool.run(lambda: None, kind=Kind.REQUEST)
    assert ran == []
    assert ends == [JobEnd(None, None, abandoned=True)]


async def test_the_end_of_a_running_job_is_told_even_if_its_caller_was_cancelled(
    codec_pool: CodecPool, clock: FakeClock
) -> None:
    blocking, ends = BlockingJob(), []
    task = asyncio.create_task(codec_pool.run(blocking, kind=Kind.REQUEST, on_end=ends.append))
    await until(blocking.running.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (ends, codec_pool.running) == ([], 1)
    clock.now += 2.5
    blocking.release.set()
    await until(lambda: ends == [JobEnd(2.5, None, abandoned=True)])
    assert codec_pool.running == 0


async def test_the_start_of_a_job_is_told_when_a_thread_is_free_for_it(codec_pool: CodecPool) -> None:
    running, starts = await occupy(codec_pool, codec_pool.threads), []
    waiting = asyncio.create_task(
        codec_pool.run(lambda: None, kind=Kind.REQUEST, on_start=lambda: starts.append(1))
    )
    await let_run()
    assert starts == []
    await release(running)
    await waiting
    assert starts == [1]


async def test_client_threads_that_are_busy_with_one_job_for_too_long_are_late_and_probes_are_not(
    codec_pool: CodecPool, clock: FakeClock
) -> None:
    first = await occupy(codec_pool, 1)
    probe = await occupy(codec_pool, 1, kind=Kind.PROBE)
    clock.now += 10
    second = await occupy(codec_pool, 1)
    waiting = asyncio.create_task(codec_pool.run(lambda: None, kind=Kind.REQUEST))
    await let_run()
    assert (codec_pool.late(9), codec_pool.late(10)) == (1, 0)
    clock.now += 10
    assert (codec_pool.late(9), codec_pool.late(19)) == (codec_pool.threads, 1)
    await release([*first, *second, *probe])
    await waiting
    assert codec_pool.late(0) == 0


@pytest.mark.parametrize("kind", [Kind.REQUEST, Kind.PROBE])
async def test_a_job_over_the_limit_counts_as_stuck_whoever_sent_it(
    codec_pool: CodecPool, clock: FakeClock, kind: Kind
) -> None:
    assert (codec_pool.stuck, codec_pool.oldest_started_at) == (None, 0.0)
    running = await occupy(codec_pool, 1, kind=kind)
    assert codec_pool.oldest_started_at > 0
    clock.now += 300
    assert codec_pool.stuck is None
    clock.now += 1
    assert codec_pool.stuck == (
        "a codec thread (decoding and encoding of pictures) is stuck: the work for a "
        f"{kind.name.lower()} has been running for 301 s, over its limit of 300 s"
    )
    await release(running)
    assert (codec_pool.stuck, codec_pool.oldest_started_at) == (None, 0.0)


async def test_a_job_is_never_seen_running_before_its_start_is_known() -> None:
    """The scrape's thread may look at any moment; a job that started "at 0" would look late and stuck."""
    seen: list[object] = []

    class LookingClock(FakeClock):
        looking = False

        def __call__(self) -> float:
            if not self.looking:
                self.looking = True
                seen.extend([pool.late(1), pool.stuck])
                self.looking = False
            return super().__call__()

    pool = CodecPool(threads=2, hang_timeout=300, clock=LookingClock())
    pool.start()
    await pool.run(lambda: None, kind=Kind.REQUEST)
    pool.stop()
    assert set(seen) == {0, None}


async def test_jobs_that_wait_when_the_pool_stops_are_cancelled(codec_pool: CodecPool) -> None:
    running = await occupy(codec_pool, codec_pool.threads)
    waiting = asyncio.create_task(codec_pool.run(lambda: None, kind=Kind.REQUEST))
    await let_run()
    codec_pool.stop()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await release(running)


async def test_an_error_keeps_nothing_alive_once_it_is_handled(codec_pool: CodecPool) -> None:
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
            await codec_pool.run(fail, kind=Kind.REQUEST)
        await until(lambda: refs[0]() is None)  # the thread may need a moment longer
    finally:
        gc.enable()
