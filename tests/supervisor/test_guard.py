"""The guard: whatever ends the supervisor, it comes back, and everybody can see that it was away."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from supervisor import LoadError, Outcome, guarded
from supervisor.guard import RESTART_SECONDS
from supervisor.supervisor import HEARTBEAT_SECONDS
from tests.supervisor.fakes import INTERVAL, World, settle


def task(name: str) -> asyncio.Task[object]:
    return next(task for task in asyncio.all_tasks() if task.get_name() == name)


async def kill(world: World) -> None:
    task("warmup supervisor").cancel()
    await settle()


async def test_a_supervisor_that_is_cancelled_comes_back_without_loading_again(world: World) -> None:
    await world.becomes_ready()
    assert world.value("warmup_supervisor_up") == 1
    await kill(world)
    assert world.value("warmup_supervisor_up") == 0
    assert world.said.http_status == 503
    assert world.said.error_type == "supervisor_down"
    assert "not running" in world.said.message
    await world.advance(RESTART_SECONDS)
    assert world.value("warmup_supervisor_up") == 1
    assert world.value("warmup_supervisor_restarts_total") == 1
    assert world.said.http_status == 200
    assert len(world.target.loads) == 1
    await world.advance(INTERVAL)
    assert world.probes == 2


async def test_a_supervisor_that_raises_comes_back() -> None:
    world = World()
    with capture_logs() as logs:
        async with guarded(world.supervisor):
            await settle()
            await world.becomes_ready()
            world.clock.raises = RuntimeError("a bug")
            await world.advance(HEARTBEAT_SECONDS)
            assert world.value("warmup_supervisor_up") == 0
            await world.advance(RESTART_SECONDS)
            assert world.value("warmup_supervisor_up") == 1
    deaths = [log for log in logs if log["event"] == "Warmup supervisor finished unexpectedly"]
    assert [str(log["exc_info"]) for log in deaths] == ["a bug"]


async def test_it_comes_back_as_often_as_it_dies(world: World) -> None:
    for deaths in range(1, 6):
        await kill(world)
        assert world.value("warmup_supervisor_restarts_total") == deaths
        await world.advance(RESTART_SECONDS)
        assert world.value("warmup_supervisor_up") == 1


async def test_a_probe_under_way_outlives_the_supervisor_that_sent_it(world: World) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL)
    await world.start_probe()
    await kill(world)
    await world.advance(RESTART_SECONDS)
    assert world.probes == 2
    await world.passes()
    assert world.value("warmup_runs_total", outcome="success") == 2


async def test_a_load_under_way_outlives_the_supervisor_that_began_it(world: World) -> None:
    await kill(world)
    await world.advance(RESTART_SECONDS)
    assert len(world.target.loads) == 1
    await world.becomes_ready()


async def test_a_death_between_two_loads_does_not_hurry_the_next(world: World) -> None:
    for delay in (1, 2, 4):
        await world.load_fails(LoadError(Outcome.ERROR, "no"))
        if delay < 4:
            await world.advance(delay)
    await kill(world)
    await world.advance(3.9)
    assert len(world.target.loads) == 3
    await world.advance(0.1)
    assert len(world.target.loads) == 4


async def test_somebody_who_waits_is_answered_by_the_next_life(world: World) -> None:
    waiting = asyncio.create_task(world.supervisor.demand())
    await settle()
    await kill(world)
    await world.advance(RESTART_SECONDS)
    await world.becomes_ready()
    assert waiting.result().http_status == 200


async def test_stopping_while_it_is_down_does_not_bring_it_back() -> None:
    world = World()
    async with guarded(world.supervisor):
        await settle()
        await kill(world)
    await world.advance(10 * RESTART_SECONDS)
    assert world.value("warmup_supervisor_up") == 0


async def test_a_dead_guard_does_not_keep_the_supervisor_from_being_closed() -> None:
    world = World()
    async with guarded(world.supervisor):
        await settle()
        task("warmup guard").cancel()
        await settle()
        assert world.value("warmup_supervisor_up") == 0
    assert world.target.loads[0].future.cancelled()


async def test_an_error_of_the_guarded_code_passes_through() -> None:
    world = World()
    with pytest.raises(ZeroDivisionError):
        async with guarded(world.supervisor):
            raise ZeroDivisionError
    assert world.value("warmup_supervisor_up") == 0


async def test_two_lives_at_once_are_refused(world: World) -> None:
    with pytest.raises(RuntimeError, match="alive already"):
        await world.supervisor.run()
    assert world.supervisor.alive


async def test_somebody_who_asks_a_dead_supervisor_is_told_at_once(world: World) -> None:
    await world.becomes_ready()
    await kill(world)
    said = await asyncio.wait_for(world.supervisor.demand(), timeout=5)
    assert (said.http_status, said.outcome) == (503, Outcome.SKIPPED)
    assert "not running" in said.message


async def test_somebody_who_waits_is_told_when_no_next_life_will_come(world: World) -> None:
    waiting = asyncio.create_task(world.supervisor.demand())
    await settle()
    task("warmup guard").cancel()
    said = await asyncio.wait_for(waiting, timeout=5)
    assert said.http_status == 503
