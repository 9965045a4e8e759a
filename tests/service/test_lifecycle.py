"""The end of the process, on a fake clock."""

from __future__ import annotations

import asyncio

import pytest

from service.lifecycle import CLOSING_SECONDS, QUIET_SECONDS, Lifecycle
from tests.support.clock import FakeClock

GRACE = 8.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def lifecycle(clock: FakeClock) -> Lifecycle:
    return Lifecycle(drain_timeout=GRACE, clock=clock)


class Ending:
    """A task that waits for the end."""

    def __init__(self, lifecycle: Lifecycle, *, idle: bool, was_ready: bool = True) -> None:
        self.idle = idle
        self.task = asyncio.create_task(
            lifecycle.wait_for_end(idle=lambda: self.idle, was_ready=lambda: was_ready)
        )

    async def has_come(self) -> bool:
        """Whether the wait is over, after time for two polls."""
        await asyncio.wait([self.task], timeout=0.15)
        return self.task.done()


async def test_the_wait_for_the_end_lasts_until_a_signal(lifecycle: Lifecycle) -> None:
    ending = Ending(lifecycle, idle=True)
    assert not await ending.has_come()
    assert not lifecycle.draining
    ending.task.cancel()


async def test_a_service_that_was_never_ready_ends_as_soon_as_it_is_idle(lifecycle: Lifecycle) -> None:
    ending = Ending(lifecycle, idle=False, was_ready=False)
    lifecycle.signal()
    assert not await ending.has_come()
    ending.idle = True
    assert await ending.has_come()


async def test_a_service_that_was_ready_ends_once_it_was_quiet_for_a_while(
    lifecycle: Lifecycle, clock: FakeClock
) -> None:
    ending = Ending(lifecycle, idle=True)
    lifecycle.signal()
    assert not await ending.has_come()
    clock.now += QUIET_SECONDS * 0.9
    ending.idle = False  # a request came late
    assert not await ending.has_come()
    ending.idle = True
    clock.now += QUIET_SECONDS * 0.9
    assert not await ending.has_come()
    clock.now += QUIET_SECONDS * 0.2
    assert await ending.has_come()


async def test_the_wait_ends_early_enough_for_the_last_answers(
    lifecycle: Lifecycle, clock: FakeClock
) -> None:
    ending = Ending(lifecycle, idle=False)
    lifecycle.signal()
    clock.now += GRACE - CLOSING_SECONDS - 0.01
    assert not await ending.has_come()
    clock.now += 0.02
    assert await ending.has_come()
    assert lifecycle.seconds_left == pytest.approx(CLOSING_SECONDS, abs=0.05)


async def test_a_second_signal_ends_the_wait_with_work_unfinished(lifecycle: Lifecycle) -> None:
    ending = Ending(lifecycle, idle=False)
    lifecycle.signal()
    assert not await ending.has_come()
    lifecycle.signal()
    assert await ending.has_come()


async def test_the_first_failure_gives_the_exit_code(lifecycle: Lifecycle) -> None:
    assert lifecycle.exit_code == 0
    lifecycle.fail("no such device", exit_code=2)
    lifecycle.fail("and something else")
    assert lifecycle.exit_code == 2
    assert lifecycle.draining


async def test_a_listener_is_called_once_even_if_another_fails(lifecycle: Lifecycle) -> None:
    called: list[str] = []

    def fail() -> None:
        raise RuntimeError("boom")

    lifecycle.on_drain(fail)
    lifecycle.on_drain(lambda: called.append("drain"))
    ending = Ending(lifecycle, idle=True, was_ready=False)
    lifecycle.signal()
    lifecycle.begin_drain("again")
    assert called == ["drain"]
    assert await ending.has_come(), "a listener that fails must not keep the process alive"


async def test_an_end_without_a_signal_begins_the_drain_and_ends_the_wait(lifecycle: Lifecycle) -> None:
    ending = Ending(lifecycle, idle=False)
    lifecycle.end()
    assert await ending.has_come()
    assert lifecycle.draining
