"""The end of the process, on a clock that stands still."""

from __future__ import annotations

import asyncio

import pytest

from service.lifecycle import LAST_WORDS_SECONDS, QUIET_SECONDS, Lifecycle

GRACE = 8.0


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def lifecycle(clock: FakeClock) -> Lifecycle:
    return Lifecycle(drain_timeout=GRACE, clock=clock)


class Ending:
    """A wait for the end, whose polls happen as soon as the test lets the loop turn."""

    def __init__(self, lifecycle: Lifecycle, *, idle: bool, was_ready: bool = True) -> None:
        self.idle = idle
        self.task = asyncio.create_task(
            lifecycle.finished(idle=lambda: self.idle, was_ready=lambda: was_ready)
        )

    async def look(self) -> bool:
        """Let it look twice; whether it has come to an end."""
        await asyncio.wait([self.task], timeout=0.15)
        return self.task.done()


async def test_nothing_ends_before_a_signal(lifecycle: Lifecycle) -> None:
    ending = Ending(lifecycle, idle=True)
    assert not await ending.look()
    assert not lifecycle.draining
    ending.task.cancel()


async def test_one_that_was_never_ready_ends_as_soon_as_nobody_waits(lifecycle: Lifecycle) -> None:
    ending = Ending(lifecycle, idle=False, was_ready=False)
    lifecycle.signal()
    assert not await ending.look()
    ending.idle = True
    assert await ending.look()
    assert ending.task.result() is True


async def test_one_that_was_ready_stays_until_it_was_quiet_for_a_while(
    lifecycle: Lifecycle, clock: FakeClock
) -> None:
    ending = Ending(lifecycle, idle=True)
    lifecycle.signal()
    assert not await ending.look()
    clock.now += QUIET_SECONDS * 0.9
    ending.idle = False  # somebody came late
    assert not await ending.look()
    ending.idle = True
    clock.now += QUIET_SECONDS * 0.9
    assert not await ending.look()
    clock.now += QUIET_SECONDS * 0.2
    assert await ending.look()
    assert ending.task.result() is True


async def test_the_grace_ends_early_enough_for_last_words(lifecycle: Lifecycle, clock: FakeClock) -> None:
    ending = Ending(lifecycle, idle=False)
    lifecycle.signal()
    clock.now += GRACE - LAST_WORDS_SECONDS - 0.01
    assert not await ending.look()
    clock.now += 0.02
    assert await ending.look()
    assert ending.task.result() is False
    assert lifecycle.seconds_left == pytest.approx(LAST_WORDS_SECONDS, abs=0.05)


async def test_a_second_signal_ends_it_with_work_unfinished(lifecycle: Lifecycle) -> None:
    ending = Ending(lifecycle, idle=False)
    lifecycle.signal()
    assert not await ending.look()
    lifecycle.signal()
    assert await ending.look()
    assert ending.task.result() is False


async def test_the_first_failure_gives_the_exit_code(lifecycle: Lifecycle) -> None:
    assert lifecycle.exit_code == 0
    lifecycle.fail("no such device", exit_code=2)
    lifecycle.fail("and something else")
    assert lifecycle.exit_code == 2
    assert lifecycle.draining


async def test_whoever_listens_hears_once_even_if_another_fails(lifecycle: Lifecycle) -> None:
    heard: list[str] = []

    def fail() -> None:
        raise RuntimeError("boom")

    lifecycle.on_drain(fail)
    lifecycle.on_drain(lambda: heard.append("drain"))
    ending = Ending(lifecycle, idle=True, was_ready=False)
    lifecycle.signal()
    lifecycle.begin_drain("again")
    assert heard == ["drain"]
    assert await ending.look(), "a listener that fails must not keep the process alive"


async def test_told_to_end_it_ends_though_nobody_signalled(lifecycle: Lifecycle) -> None:
    ending = Ending(lifecycle, idle=False)
    lifecycle.end()
    assert await ending.look()
    assert lifecycle.draining
