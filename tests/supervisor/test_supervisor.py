"""The supervisor over its life: loading, probing, failing, recovering, ending; time is faked."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref

import pytest
from structlog.testing import capture_logs

from supervisor import LoadError, Outcome, ProbeError, Snapshot, State, guarded
from supervisor.supervisor import HEARTBEAT_SECONDS
from tests.supervisor.fakes import INTERVAL, PHASES, REQUEST_TIMEOUT, TIMEOUT, World, settle


def error(outcome: Outcome = Outcome.BAD_OUTPUT, message: str = "the mask is constant") -> ProbeError:
    return ProbeError(outcome, message)


# -- loading ---------------------------------------------------------------------------------------------------


async def test_before_the_load_ends_it_says_what_is_being_done(world: World) -> None:
    world.target.loads[0].callback("weights", "120 of 367 MB")
    said = world.said
    assert (said.state, said.status, said.http_status) == (State.LOADING, "pending", 503)
    assert said.retry_after == 2
    assert said.phase == "weights"
    assert "weights: 120 of 367 MB" in said.message
    assert not said.model_ready


async def test_a_failed_load_is_told_with_its_reason_and_tried_again_with_backoff(world: World) -> None:
    for attempt, delay in enumerate([1, 2, 4, 8, 16, 32, 60, 60], start=1):
        await world.load_fails(LoadError(Outcome.WEIGHTS_UNAVAILABLE, "no checkpoint at the given path"))
        said = world.said
        assert (said.state, said.status, said.http_status) == (State.LOADING, "error", 503)
        assert (said.outcome, said.consecutive_failures) == (Outcome.WEIGHTS_UNAVAILABLE, attempt)
        assert said.retry_after == delay
        assert "no checkpoint at the given path" in said.message
        assert f"tried again in {delay} s" in said.message
        await world.advance(delay - 0.01)
        assert len(world.target.loads) == attempt
        await world.advance(0.01)
        assert len(world.target.loads) == attempt + 1
    assert "it is being tried again" in world.said.message
    await world.becomes_ready()
    assert world.said.consecutive_failures == 0


async def test_failed_loads_are_counted_as_failed_warmups(world: World) -> None:
    await world.load_fails(LoadError(Outcome.WEIGHTS_UNAVAILABLE, "gone"))
    assert world.value("warmup_runs_total", outcome="weights_unavailable") == 1
    assert world.value("warmup_consecutive_failures") == 1
    assert world.value("warmup_success") == 0
    await world.advance(1)
    await world.load()
    assert world.value("warmup_consecutive_failures") == 0


async def test_a_late_word_of_an_earlier_load_is_not_believed(world: World) -> None:
    await world.load_fails(LoadError(Outcome.ERROR, "no"))
    await world.advance(1)
    world.target.loads[1].callback("device", "the second")
    world.target.loads[0].callback("import", "the first")
    assert world.said.phase == "device"


@pytest.mark.parametrize(
    ("raised", "outcome", "error_type"),
    [
        (LoadError(Outcome.OOM, "no room"), Outcome.OOM, "oom"),
        (ValueError("odd"), Outcome.ERROR, "ValueError"),
        (MemoryError(), Outcome.OOM, "MemoryError"),
        (asyncio.CancelledError(), Outcome.ERROR, "CancelledError"),
        (SystemExit(1), Outcome.ERROR, "SystemExit"),
        (GeneratorExit(), Outcome.ERROR, "GeneratorExit"),
    ],
)
async def test_whatever_a_load_raises_is_mended_by_another(
    world: World, raised: BaseException, outcome: Outcome, error_type: str
) -> None:
    await world.load_fails(raised)
    assert (world.said.outcome, world.said.error_type) == (outcome, error_type)
    await world.advance(1)
    await world.becomes_ready()
    assert world.value("warmup_supervisor_restarts_total") == 0


# -- probing ---------------------------------------------------------------------------------------------------


async def test_only_a_finished_probe_makes_it_ready(world: World) -> None:
    await world.load(3.5)
    assert (world.said.state, world.said.http_status) == (State.WARMING, 503)
    await world.start_probe()
    assert not world.supervisor.ready
    assert world.value("ready") == 0
    await world.passes(0.25)
    assert world.supervisor.ready
    assert world.value("ready") == 1
    assert world.said == Snapshot(
        http_status=200,
        retry_after=None,
        status="success",
        message="Warmup completed successfully",
        model_ready=True,
        state=State.READY,
        outcome=Outcome.SUCCESS,
        error_type=None,
        phase=None,
        reason=None,
        load_time=3.5,
        process_time=0.25,
        total_time=3.75,
        image_size=(64, 48),
        model_input_size=(64, 32),
        consecutive_failures=0,
        last_success_age_seconds=0.0,
        interval_seconds=INTERVAL,
        timestamp=world.clock.time(),
    )


async def test_the_body_is_plain_json_without_the_status(world: World) -> None:
    await world.becomes_ready()
    body = json.loads(json.dumps(world.said.as_dict()))
    assert body["status"] == "success"
    assert body["state"] == "ready"
    assert body["image_size"] == [64, 48]
    assert "http_status" not in body
    assert "retry_after" not in body


async def test_it_probes_every_interval_counted_from_the_end_of_the_last(world: World) -> None:
    await world.becomes_ready(running=2.0)
    await world.advance(INTERVAL - 0.01)
    assert world.probes == 1
    await world.advance(0.01)
    assert world.probes == 2


async def test_a_slow_probe_stretches_the_interval_and_says_so(world: World) -> None:
    await world.becomes_ready(running=6.0)
    assert world.value("warmup_interval_seconds") == world.said.interval_seconds == 120
    await world.advance(119.9)
    assert world.probes == 1
    await world.advance(0.1)
    assert world.probes == 2


async def test_failures_degrade_then_fail_and_one_success_mends(world: World) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL)
    states = []
    for delay in (1, 2, 4):
        await world.fails(error())
        states.append((world.said.state, world.supervisor.ready, world.said.http_status))
        await world.advance(delay)
    assert states == [(State.DEGRADED, True, 500), (State.DEGRADED, True, 500), (State.FAILING, False, 500)]
    assert "the last 3 probes failed: the mask is constant" in (world.said.reason or "")
    await world.passes()
    assert world.said.state is State.READY
    assert world.value("warmup_consecutive_failures") == 0


async def test_an_engine_that_never_passed_stays_warming_however_often_it_fails(world: World) -> None:
    await world.load()
    for delay in (1, 2, 4, 8):
        await world.fails(error())
        assert (world.said.state, world.said.http_status) == (State.WARMING, 500)
        await world.advance(delay)


@pytest.mark.parametrize(
    ("raised", "outcome", "error_type", "message"),
    [
        (error(Outcome.BAD_SIZE, "0x0"), Outcome.BAD_SIZE, "bad_size", "0x0"),
        (RuntimeError("height must be > 0\nmore"), Outcome.ERROR, "RuntimeError", "height must be > 0"),
        (MemoryError(), Outcome.OOM, "MemoryError", "MemoryError"),
        (asyncio.CancelledError(), Outcome.ERROR, "CancelledError", "CancelledError"),
        (SystemExit(3), Outcome.ERROR, "SystemExit", "SystemExit"),
        (GeneratorExit(), Outcome.ERROR, "GeneratorExit", "GeneratorExit"),
        (BaseExceptionGroup("many", [KeyboardInterrupt()]), Outcome.ERROR, "BaseExceptionGroup", "many"),
    ],
)
async def test_whatever_a_probe_raises_is_a_failed_probe(
    world: World, raised: BaseException, outcome: Outcome, error_type: str, message: str
) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL)
    await world.fails(raised)
    said = world.said
    assert (said.state, said.outcome, said.error_type) == (State.DEGRADED, outcome, error_type)
    assert message in said.message
    assert "more" not in said.message
    assert world.value("warmup_runs_total", outcome=outcome.value) == 1
    await world.advance(1)
    await world.passes()
    assert world.said.state is State.READY
    assert world.value("warmup_supervisor_restarts_total") == 0


async def test_the_error_type_is_that_of_the_cause(world: World) -> None:
    await world.load()
    raised = error(Outcome.OOM, "no room")
    raised.__cause__ = ZeroDivisionError()
    await world.fails(raised)
    assert world.said.error_type == "ZeroDivisionError"


async def test_a_failure_is_remembered_without_the_frames_it_came_from(world: World) -> None:
    class Tensor:
        pass

    def infer() -> None:
        tensor = Tensor()
        kept.append(weakref.ref(tensor))
        raise RuntimeError("out of memory")

    kept: list[weakref.ref[Tensor]] = []
    await world.load()
    with capture_logs() as logs:  # what prints a traceback may keep it
        try:
            infer()
        except RuntimeError as raised:
            await world.fails(raised)
        logs.clear()
    world.target.probes.clear()
    gc.collect()
    assert world.said.error_type == "RuntimeError"
    assert kept[0]() is None


async def test_a_probe_task_cancelled_from_outside_is_a_failed_probe(world: World) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL)
    task = next(task for task in asyncio.all_tasks() if task.get_name() == "warmup probe")
    task.cancel()
    await settle()
    assert world.said.state is State.DEGRADED
    await world.advance(1)
    await world.passes()
    assert world.said.state is State.READY


async def test_a_probe_that_says_it_could_not_run_is_skipped_and_not_a_failure(world: World) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL)
    await world.fails(error(Outcome.SKIPPED, "no turn"))
    assert world.said.state is State.READY
    assert world.value("warmup_runs_total", outcome="skipped") == 1
    assert world.value("warmup_success") == 1
    await world.advance(1)
    assert world.probes == 3


# -- what goes stale, and what hangs -----------------------------------------------------------------------------


async def test_evidence_goes_stale_while_a_probe_waits_for_its_turn_which_is_no_failure(world: World) -> None:
    await world.becomes_ready()
    await world.advance(3 * INTERVAL + TIMEOUT)
    assert world.said.state is State.READY
    await world.advance(0.1)
    said = world.said
    assert (said.state, said.http_status, said.status, said.error_type) == (
        State.FAILING,
        503,
        "error",
        "stale",
    )
    assert not world.supervisor.ready
    assert (said.consecutive_failures, world.probes) == (0, 2)
    await world.passes()
    assert world.said.state is State.READY


async def test_a_job_that_outlives_the_request_timeout_makes_it_failing_until_it_ends(world: World) -> None:
    await world.becomes_ready()
    world.target.seconds = REQUEST_TIMEOUT + 0.1
    assert (world.said.state, world.said.http_status) == (State.FAILING, 200)
    assert not world.said.model_ready
    assert "a job has been running for 60 s" in world.said.message
    assert world.value("ready") == 0
    world.target.seconds = 0.0
    assert world.supervisor.ready


async def test_a_probe_that_runs_too_long_has_failed_at_once_and_keeps_others_away_until_it_ends(
    world: World,
) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL + 30)  # waiting for a turn is not running
    await world.start_probe()
    await world.advance(TIMEOUT - 0.1)
    assert world.said.state is State.READY
    await world.advance(0.1)
    assert (world.said.state, world.said.outcome) == (State.DEGRADED, Outcome.TIMEOUT)
    assert world.value("warmup_runs_total", outcome="timeout") == 1
    await world.advance(100)
    assert world.probes == 2
    assert not world.target.probes[-1].future.cancelled()
    world.target.probes[-1].future.set_exception(RuntimeError("too late to matter"))
    await settle()
    assert world.value("warmup_runs_total", outcome="error") == 0
    assert world.probes == 3
    await world.passes()
    assert world.said.state is State.READY


async def test_a_success_that_comes_after_its_timeout_proves_nothing(world: World) -> None:
    await world.load()
    await world.start_probe()
    await world.advance(TIMEOUT)
    await world.passes(10)
    assert world.said.state is State.WARMING
    assert world.value("warmup_runs_total", outcome="success") == 0


async def test_a_dead_device_is_not_ready_at_once_and_probed_at_once(world: World) -> None:
    await world.becomes_ready()
    world.supervisor.invalidate(Outcome.DEVICE_ERROR, "the device fell off the bus")
    assert (world.said.state, world.said.http_status) == (State.FAILING, 503)
    assert world.said.error_type == "device_error"
    assert "fell off the bus" in world.said.message
    assert world.value("ready") == 0
    await settle()
    assert world.probes == 2
    await world.passes()
    assert world.said.state is State.READY


# -- demanded ----------------------------------------------------------------------------------------------------


async def demanded(world: World) -> asyncio.Task[Snapshot]:
    task = asyncio.create_task(world.supervisor.demand())
    await settle()
    return task


async def test_a_demand_while_loading_waits_for_the_first_probe(world: World) -> None:
    task = await demanded(world)
    await world.load(5)
    assert not task.done()
    await world.passes()
    assert task.result().http_status == 200
    assert world.probes == 1


async def test_a_demand_while_loading_is_answered_when_the_load_fails_and_at_once_after_that(
    world: World,
) -> None:
    task = await demanded(world)
    await world.load_fails(LoadError(Outcome.WEIGHTS_UNAVAILABLE, "gone"))
    assert (task.result().http_status, task.result().outcome) == (503, Outcome.WEIGHTS_UNAVAILABLE)
    again = await demanded(world)
    assert again.result().http_status == 503
    assert len(world.target.loads) == 1
    await world.advance(1)
    assert (await demanded(world)).done()


async def test_a_demand_joins_the_probe_under_way(world: World) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL)
    tasks = [await demanded(world) for _ in range(3)]
    await world.fails(error())
    assert {task.result().http_status for task in tasks} == {500}
    assert world.probes == 2


async def test_a_demand_starts_a_probe_and_waits_for_it(world: World) -> None:
    await world.becomes_ready(running=1.0)
    await world.advance(20)
    task = await demanded(world)
    assert world.probes == 2
    assert not task.done()
    await world.passes()
    assert task.result().http_status == 200
    await world.advance(INTERVAL - 0.1)
    assert world.probes == 2


async def test_a_demand_right_after_a_success_is_answered_with_it(world: World) -> None:
    await world.becomes_ready(running=1.0)
    await world.advance(19.9)
    task = await demanded(world)
    assert task.result().http_status == 200
    assert task.result().last_success_age_seconds == pytest.approx(19.9)
    assert world.probes == 1


async def test_demands_after_a_failure_start_one_probe_a_second_at_most(world: World) -> None:
    await world.load()
    for _ in range(6):
        await world.fails(error())
        await world.advance(1)
        if world.said.consecutive_failures < 6:
            task = await demanded(world)
            assert not task.done()
    assert world.said.consecutive_failures == 6
    sent = world.probes
    task = await demanded(world)
    assert world.probes == sent + 1
    await world.passes()
    assert task.result().http_status == 200


async def test_a_demand_is_told_at_once_when_a_probe_that_timed_out_still_holds_the_worker(
    world: World,
) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL)
    waiting = await demanded(world)
    await world.start_probe()
    await world.advance(TIMEOUT)
    assert (waiting.result().http_status, waiting.result().outcome) == (500, Outcome.TIMEOUT)
    task = await demanded(world)
    assert (task.result().http_status, task.result().outcome) == (503, Outcome.SKIPPED)
    assert task.result().retry_after is not None
    assert world.said.http_status == 500


async def test_a_demand_whose_probe_could_not_run_says_503(world: World) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL)
    task = await demanded(world)
    await world.fails(error(Outcome.SKIPPED, "no turn"))
    assert (task.result().http_status, task.result().outcome) == (503, Outcome.SKIPPED)
    assert world.said.http_status == 200


async def test_a_caller_that_leaves_cancels_nothing(world: World) -> None:
    await world.becomes_ready(running=1.0)
    await world.advance(30)
    leaving, staying = await demanded(world), await demanded(world)
    leaving.cancel()
    await settle()
    assert world.probes == 2
    await world.passes()
    assert leaving.cancelled()
    assert staying.result().http_status == 200


# -- the end -----------------------------------------------------------------------------------------------------


async def test_draining_is_not_ready_at_once_and_sends_no_more_probes(world: World) -> None:
    await world.becomes_ready()
    world.supervisor.drain()
    said = world.said
    assert (said.state, said.http_status, said.outcome) == (State.DRAINING, 503, Outcome.SKIPPED)
    assert world.value("ready") == 0
    await world.advance(10 * INTERVAL)
    assert world.probes == 1
    assert world.value("warmup_runs_total", outcome="skipped") == 0


async def test_draining_answers_who_waits_and_withdraws_a_probe_that_has_no_turn_yet(world: World) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL)
    task = await demanded(world)
    world.supervisor.drain()
    await settle()
    assert (task.result().http_status, task.result().outcome) == (503, Outcome.SKIPPED)
    assert world.target.probes[-1].future.cancelled()
    assert world.value("warmup_runs_total", outcome="skipped") == 1
    assert world.value("warmup_consecutive_failures") == 0


async def test_a_probe_that_runs_when_draining_begins_is_still_recorded(world: World) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL)
    await world.start_probe()
    world.supervisor.drain()
    await world.fails(error())
    assert world.value("warmup_runs_total", outcome="bad_output") == 1
    assert world.said.state is State.DRAINING


async def test_a_demand_while_draining_is_skipped(world: World) -> None:
    world.supervisor.drain()
    task = await demanded(world)
    assert (task.result().http_status, task.result().outcome) == (503, Outcome.SKIPPED)
    assert world.value("warmup_runs_total", outcome="skipped") == 1


async def test_closing_leaves_no_task_behind_and_answers_who_waits() -> None:
    world = World()
    before = asyncio.all_tasks()
    async with guarded(world.supervisor):
        await settle()
        task = asyncio.create_task(world.supervisor.demand())
        await settle()
    await settle()
    assert task.result().http_status == 503
    assert asyncio.all_tasks() == before
    assert world.target.loads[0].future.cancelled()
    assert world.value("warmup_supervisor_up") == 0
    assert world.value("warmup_supervisor_restarts_total") == 0


# -- what is recorded --------------------------------------------------------------------------------------------


async def test_the_metrics_of_a_success(world: World) -> None:
    await world.load(4.0)
    began = world.clock.time()
    await world.advance(1.0)
    await world.passes(0.5)
    assert world.value("warmup_success") == 1
    assert world.value("warmup_runs_total", outcome="success") == 1
    assert world.value("warmup_last_duration_seconds") == 1.5
    assert world.value("warmup_duration_seconds_count") == 1
    assert world.value("warmup_last_attempt_timestamp_seconds") == began
    assert world.value("warmup_last_success_timestamp_seconds") == began + 1.5
    phases = {
        phase: world.value("startup_duration_seconds", phase=phase)
        for phase in ("import", "weights", "device", "first_probe", "total")
    }
    assert phases == PHASES | {"first_probe": 1.5, "total": 3.0 + 4.0 + 1.5}


async def test_the_start_up_is_measured_once(world: World) -> None:
    await world.becomes_ready()
    total = world.value("startup_duration_seconds", phase="total")
    await world.advance(INTERVAL)
    await world.passes(2)
    assert world.value("startup_duration_seconds", phase="total") == total


async def test_the_metrics_of_a_failure(world: World) -> None:
    await world.becomes_ready()
    succeeded = world.value("warmup_last_success_timestamp_seconds")
    await world.advance(INTERVAL)
    began = world.clock.time()
    await world.start_probe()
    await world.advance(2)
    await world.fails(error())
    assert world.value("warmup_success") == 0
    assert world.value("warmup_consecutive_failures") == 1
    assert world.value("warmup_runs_total", outcome="bad_output") == 1
    assert world.value("warmup_last_duration_seconds") == 2
    assert world.value("warmup_last_attempt_timestamp_seconds") == began
    assert world.value("warmup_last_success_timestamp_seconds") == succeeded


async def test_the_heart_beats_while_it_only_waits(world: World) -> None:
    for stage in (world.load, world.passes, settle):
        for _ in range(3):
            await world.advance(HEARTBEAT_SECONDS)
            heard = world.value("warmup_supervisor_heartbeat_timestamp_seconds")
            assert world.clock.time() - heard <= HEARTBEAT_SECONDS
        await stage()


async def test_no_series_appears_or_vanishes_over_a_life(world: World) -> None:
    def series() -> set[str]:
        return {line.rsplit(" ", 1)[0] for line in world.exposition().splitlines()}

    before = series()
    await world.load_fails(LoadError(Outcome.ERROR, "no"))
    await world.advance(1)
    await world.becomes_ready()
    await world.advance(INTERVAL)
    await world.fails(error())
    world.supervisor.drain()
    assert series() == before


async def test_a_jump_of_the_wall_clock_changes_no_decision(world: World) -> None:
    await world.becomes_ready()
    world.clock.wall_offset += 1e8
    assert world.supervisor.ready
    assert world.said.last_success_age_seconds == 0
    await world.advance(INTERVAL - 1)
    assert world.probes == 1


async def test_the_log_has_the_messages_that_searches_rely_on() -> None:
    with capture_logs() as logs:
        world = World()
        async with guarded(world.supervisor):
            await settle()
            await world.becomes_ready(0.5)
            await world.advance(INTERVAL)
            await world.fails(error())
            await world.advance(1)
            await world.fails(ValueError("odd"))
    success = next(log for log in logs if log["event"] == "Warmup completed successfully")
    assert success["log_level"] == "info"
    assert success["duration"] == 0.5
    known, unknown = (log for log in logs if log["event"] == "Warmup failed")
    assert known["log_level"] == "error"
    assert (known["outcome"], known["error"]) == ("bad_output", "the mask is constant")
    assert (known["consecutive_failures"], known["exc_info"]) == (1, None)
    assert isinstance(unknown["exc_info"], ValueError)
    changes = [log["state"] for log in logs if log["event"] == "state changed"]
    assert changes == ["loading", "warming", "ready", "degraded", "draining"]
