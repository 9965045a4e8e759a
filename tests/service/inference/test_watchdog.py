"""The watchdog over the device thread and the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from metrics import Metrics
from service.inference.watchdog import StuckJudge, watch
from service.lifecycle import Lifecycle
from tests.support.waiting import until

NOTICE = 10.0
REASON = "a request has been running for 301 s"


def test_the_judge_gives_notice_once_and_then_says_when() -> None:
    judge = StuckJudge(NOTICE)
    assert judge.judge(None, 0) == (False, False)
    assert judge.judge(REASON, 1) == (True, False)
    assert judge.judge(REASON, 1 + NOTICE - 0.1) == (False, False)
    assert judge.judge(REASON, 1 + NOTICE) == (False, True)


def test_a_job_that_ends_within_the_notice_is_forgiven_and_the_next_one_gets_a_whole_notice() -> None:
    judge = StuckJudge(NOTICE)
    judge.judge(REASON, 1)
    assert judge.judge(None, 5) == (False, False)
    assert judge.judge(REASON, 20) == (True, False)
    assert judge.judge(REASON, 20 + NOTICE - 0.1) == (False, False)


class World:
    def __init__(self) -> None:
        self.stuck: str | None = None
        self.metrics = Metrics()
        self.lifecycle = Lifecycle(drain_timeout=3600, stuck_notice=0.05)

    @property
    def looks(self) -> float:
        name = "inspyrenet_event_loop_lag_seconds_count"
        # Restricted, because the collector of process figures reads files, which would block the event loop.
        [metric] = self.metrics.registry.restricted_registry([name]).collect()
        return sum(sample.value for sample in metric.samples if sample.name == name)

    async def until_looked(self, times: int = 2) -> None:
        goal = self.looks + times
        await until(lambda: self.looks >= goal)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    task = asyncio.create_task(
        watch(world.lifecycle, world.metrics, stuck=lambda: world.stuck, period_seconds=0.005)
    )
    yield world
    task.cancel()


async def test_a_healthy_thread_is_left_alone_and_the_lag_is_measured(world: World) -> None:
    await world.until_looked(3)
    assert (world.lifecycle.dead, world.lifecycle.draining) == (None, False)


async def test_a_stuck_thread_ends_the_process_with_a_reason(world: World) -> None:
    with capture_logs() as logs:
        world.stuck = REASON
        async with asyncio.timeout(20):
            await world.lifecycle.wait_for_end(idle=lambda: False, was_ready=lambda: True)
    assert world.lifecycle.dead == REASON
    assert world.lifecycle.exit_code == 1
    critical = [log["event"] for log in logs if log["log_level"] == "critical"]
    assert critical == [
        "a thread is stuck",
        "ending the process: only a restart mends a stuck thread",
    ]


async def test_a_look_that_fails_is_logged_and_the_next_one_comes(world: World) -> None:
    await world.until_looked()
    with capture_logs() as logs:
        observe = world.metrics.event_loop_lag_seconds.observe
        world.metrics.event_loop_lag_seconds.observe = None  # type: ignore[assignment]
        await until(lambda: any(log["event"] == "the watchdog failed to look" for log in logs))
        world.metrics.event_loop_lag_seconds.observe = observe  # type: ignore[method-assign]
    await world.until_looked()
    world.stuck = REASON
    async with asyncio.timeout(20):
        await world.lifecycle.wait_for_end(idle=lambda: False, was_ready=lambda: True)
