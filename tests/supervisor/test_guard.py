"""The guard restarts the supervisor whatever ends it, and metrics, log and snapshots show that it was away."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from supervisor import LoadError, Outcome, guarded
from supervisor.guard import RESTART_SECONDS
from supervisor.supervisor import HEARTBEAT_SECONDS
from tests.supervisor.fakes import INTERVAL, World
from tests.support.waiting import let_run


def task(name: str) -> asyncio.Task[object]:
    return next(task for task in asyncio.all_tasks() if task.get_name() == name)


async def kill(world: World) -> None:
    task("warmup supervisor").cancel()
    await let_run()


async def test_a_supervisor_that_is_cancelled_comes_back_without_loading_again(world: World) -> None:
    await world.becomes_ready()
    assert world.value("warmup_supervisor_up") == 1
    await kill(world)
    assert world.value("warmup_supervisor_up") == 0
    assert not world.snapshot.alive
    await world.advance(RESTART_SECONDS)
    assert world.value("warmup_supervisor_up") == 1
    assert world.value("warmup_supervisor_restarts_total") == 1
    assert world.snapshot.alive
    assert world.snapshot.outcome is Outcome.SUCCESS
    assert len(world.target.loads) == 1
    await world.advance(INTERVAL)
    assert world.probes == 2


async def test_a_supervisor_that_raises_comes_back() -> None:
    world = World()
    with capture_logs() as logs:
        async with guarded(world.supervisor):
            await let_run()
            await world.becomes_ready()
            world.clock.raises = RuntimeError("a bug")
            await world.advance(HEARTBEAT_SECONDS)
            assert world.value("warmup_supervisor_up") == 0
            await world.advance(RESTART_SECONDS)
            assert world.value("warmup_supervisor_up") == 1
    deaths = [log for log in logs if log["event"] == "Warmup supervisor finished unexpectedly"]
    assert [str(log["exc_info"]) for log in deaths] == ["a bug"]


async def test_a_supervisor_comes_back_as_often_as_it_is_cancelled(world: World) -> None:
    for deaths in range(1, 6):
        await kill(world)
        assert world.value("warmup_supervisor_restarts_total") == deaths
        await world.advance(RESTART_SECONDS)
        assert world.value("warmup_supervisor_up") == 1


async def test_a_probe_in_progress_outlives_the_supervisor_that_sent_it(world: World) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL)
    await world.start_probe()
    await kill(world)
    await world.advance(RESTART_SECONDS)
    assert world.probes == 2
    await world.passes()
    assert world.value("warmup_runs_total", outcome="success") == 2


async def test_a_load_in_progress_outlives_the_supervisor_that_began_it(world: World) -> None:
    await kill(world)
    await world.advance(RESTART_SECONDS)
    assert len(world.target.loads) == 1
    await world.becomes_ready()


async def test_a_restart_between_two_loads_does_not_hurry_the_next_one(world: World) -> None:
    for delay in (1, 2, 4):
        await world.load_fails(LoadError(Outcome.ERROR, "no"))
        if delay < 4:
            await world.advance(delay)
    await kill(world)
    await world.advance(3.9)
    assert len(world.target.loads) == 3
    await world.advance(0.1)
    assert len(world.target.loads) == 4


async def test_a_demand_that_waits_is_answered_after_the_restart(world: World) -> None:
    waiting = asyncio.create_task(world.supervisor.demand())
    await let_run()
    await kill(world)
    await world.advance(RESTART_SECONDS)
    await world.becomes_ready()
    assert waiting.result().outcome is Outcome.SUCCESS


async def test_a_supervisor_that_is_down_when_the_guard_stops_does_not_come_back() -> None:
    world = World()
    async with guarded(world.supervisor):
        await let_run()
        await kill(world)
    await world.advance(10 * RESTART_SECONDS)
    assert world.value("warmup_supervisor_up") == 0


async def test_a_supervisor_is_closed_even_if_its_guard_was_cancelled() -> None:
    world = World()
    async with guarded(world.supervisor):
        await let_run()
        task("warmup guard").cancel()
        await let_run()
        assert world.value("warmup_supervisor_up") == 0
    assert world.target.loads[0].future.cancelled()


async def test_an_error_of_the_guarded_code_passes_through() -> None:
    world = World()
    with pytest.raises(ZeroDivisionError):
        async with guarded(world.supervisor):
            raise ZeroDivisionError
    assert world.value("warmup_supervisor_up") == 0


async def test_a_second_run_beside_the_first_is_refused(world: World) -> None:
    with pytest.raises(RuntimeError, match="already running"):
        await world.supervisor.run()
    assert world.supervisor.alive


async def test_a_demand_to_a_supervisor_that_is_down_returns_at_once(world: World) -> None:
    await world.becomes_ready()
    await kill(world)
    snapshot = await asyncio.wait_for(world.supervisor.demand(), timeout=5)
    assert snapshot.not_run == "the warmup supervisor is not running"
    assert world.value("warmup_runs_total", outcome="skipped") == 1


async def test_a_demand_that_waits_returns_when_the_guard_is_cancelled(world: World) -> None:
    waiting = asyncio.create_task(world.supervisor.demand())
    await let_run()
    task("warmup guard").cancel()
    snapshot = await asyncio.wait_for(waiting, timeout=5)
    assert snapshot.not_run == "the warmup supervisor is not running"
