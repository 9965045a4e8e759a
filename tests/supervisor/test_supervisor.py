"""The supervisor from start to shutdown: it loads, probes, fails, recovers and drains; the clock is a fake."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from structlog.testing import capture_logs

from supervisor import Failure, LoadError, Outcome, ProbeError, Snapshot, State, Vitals, guarded
from supervisor.snapshot import ReferenceFacts, SizeFacts
from supervisor.supervisor import HEARTBEAT_SECONDS
from tests.supervisor.fakes import CANARY_SIZE, INTERVAL, PHASES, REQUEST_TIMEOUT, TIMEOUT, World
from tests.support.waiting import let_run


def error(outcome: Outcome = Outcome.BAD_OUTPUT, message: str = "the mask is constant") -> ProbeError:
    return ProbeError(outcome, message)


def failure_of(world: World) -> Failure:
    failure = world.snapshot.failure
    assert failure is not None
    return failure


# -- loading ---------------------------------------------------------------------------------------------------


async def test_the_snapshot_names_the_phase_while_the_engine_loads(world: World) -> None:
    world.target.loads[0].callback("weights", "120 of 367 MB")
    snapshot = world.snapshot
    assert (snapshot.state, snapshot.outcome) == (State.LOADING, None)
    assert (snapshot.phase, snapshot.phase_detail) == ("weights", "120 of 367 MB")
    assert not snapshot.ready


async def test_the_snapshot_names_no_phase_once_the_engine_is_loaded(world: World) -> None:
    world.target.loads[0].callback("weights", "120 of 367 MB")
    await world.load()
    assert (world.snapshot.phase, world.snapshot.phase_detail) == (None, "")


async def test_the_snapshot_counts_the_seconds_of_the_phase_and_of_the_whole_start(world: World) -> None:
    assert (world.snapshot.phase_seconds, world.snapshot.start_seconds) == (None, 0.0)
    await world.advance(1.0)
    world.target.loads[0].callback("weights", "120 of 367 MB")
    await world.advance(2.0)
    world.target.loads[0].callback("weights", "200 of 367 MB")
    await world.advance(0.5)
    assert (world.snapshot.phase_seconds, world.snapshot.start_seconds) == (2.5, 3.5)
    world.target.loads[0].callback("device", "")
    assert (world.snapshot.phase_seconds, world.snapshot.start_seconds) == (0.0, 3.5)
    await world.load(0.5)
    assert (world.snapshot.phase_seconds, world.snapshot.start_seconds) == (None, 4.0)
    await world.start_probe()
    await world.passes(0.25)
    assert (world.snapshot.phase_seconds, world.snapshot.start_seconds) == (None, None)


async def test_every_try_to_load_is_a_start_of_its_own(world: World) -> None:
    await world.advance(3.0)
    world.target.loads[0].callback("weights", "")
    await world.load_fails(LoadError(Outcome.WEIGHTS_UNAVAILABLE, "no checkpoint at the given path"))
    assert (world.snapshot.phase_seconds, world.snapshot.start_seconds) == (None, None)
    await world.advance(1.5)
    assert world.snapshot.start_seconds == 0.5


async def test_a_failed_load_is_reported_with_its_reason_and_tried_again_with_backoff(world: World) -> None:
    for attempt, delay in enumerate([1, 2, 4, 8, 16, 32, 60, 60], start=1):
        await world.load_fails(LoadError(Outcome.WEIGHTS_UNAVAILABLE, "no checkpoint at the given path"))
        snapshot = world.snapshot
        assert (snapshot.state, snapshot.outcome) == (State.LOAD_FAILED, Outcome.WEIGHTS_UNAVAILABLE)
        assert snapshot.consecutive_failures == attempt
        assert snapshot.seconds_to_next_attempt == delay
        assert snapshot.failure is not None
        assert snapshot.failure.message == "no checkpoint at the given path"
        await world.advance(delay - 0.01)
        assert len(world.target.loads) == attempt
        await world.advance(0.01)
        assert len(world.target.loads) == attempt + 1
    assert world.snapshot.seconds_to_next_attempt == 0
    await world.becomes_ready()
    assert world.snapshot.consecutive_failures == 0


async def test_a_failed_load_counts_as_a_failed_warmup(world: World) -> None:
    await world.load_fails(LoadError(Outcome.WEIGHTS_UNAVAILABLE, "gone"))
    assert world.value("warmup_runs_total", outcome="weights_unavailable") == 1
    assert world.value("warmup_consecutive_failures") == 1
    assert world.value("warmup_success") == 0
    await world.advance(1)
    await world.load()
    assert world.value("warmup_consecutive_failures") == 0


async def test_a_late_report_of_an_earlier_load_is_ignored(world: World) -> None:
    await world.load_fails(LoadError(Outcome.ERROR, "no"))
    await world.advance(1)
    world.target.loads[1].callback("device", "the second")
    world.target.loads[0].callback("import", "the first")
    assert world.snapshot.phase == "device"


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
async def test_a_load_that_raises_anything_is_tried_again(
    world: World, raised: BaseException, outcome: Outcome, error_type: str
) -> None:
    await world.load_fails(raised)
    assert failure_of(world).outcome is outcome
    assert failure_of(world).error_type == error_type
    await world.advance(1)
    await world.becomes_ready()
    assert world.value("warmup_supervisor_restarts_total") == 0


# -- probing ---------------------------------------------------------------------------------------------------


async def test_the_supervisor_becomes_ready_only_by_a_finished_probe(world: World) -> None:
    await world.load(3.5)
    assert (world.snapshot.state, world.snapshot.outcome) == (State.WARMING, None)
    await world.start_probe()
    assert not world.supervisor.ready
    assert world.value("ready") == 0
    await world.passes(0.25)
    assert world.supervisor.ready
    assert world.value("ready") == 1
    assert world.snapshot == Snapshot(
        state=State.READY,
        reason=None,
        alive=True,
        outcome=Outcome.SUCCESS,
        failure=None,
        consecutive_failures=0,
        proved=True,
        last_success_age=0.0,
        fresh=True,
        interval=INTERVAL,
        seconds_to_next_attempt=INTERVAL,
        vitals=Vitals(),
        phase=None,
        phase_detail="",
        load_seconds=3.5,
        probe_seconds=0.25,
        timestamp=world.clock.time(),
        sizes=SizeFacts(real=CANARY_SIZE),
        references=ReferenceFacts(),
        not_run=None,
    )


async def test_probes_are_one_interval_apart_counted_from_the_end_of_the_last_one(world: World) -> None:
    await world.becomes_ready(running=2.0)
    await world.advance(INTERVAL - 0.01)
    assert world.probes == 1
    await world.advance(0.01)
    assert world.probes == 2


async def test_a_slow_probe_stretches_the_interval_and_the_metric_shows_it(world: World) -> None:
    await world.becomes_ready(running=6.0)
    assert world.value("warmup_interval_seconds") == world.snapshot.interval == 120
    await world.advance(119.9)
    assert world.probes == 1
    await world.advance(0.1)
    assert world.probes == 2


async def test_failures_make_it_degraded_then_failing_and_one_success_makes_it_ready(world: World) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL)
    states = []
    for delay in (1, 2, 4):
        await world.fails(error())
        states.append((world.snapshot.state, world.supervisor.ready))
        await world.advance(delay)
    assert states == [(State.DEGRADED, True), (State.DEGRADED, True), (State.FAILING, False)]
    assert failure_of(world).message == "the mask is constant"
    assert world.snapshot.consecutive_failures == 3
    await world.passes()
    assert world.snapshot.state is State.READY
    assert world.value("warmup_consecutive_failures") == 0


async def test_an_engine_that_never_passed_stays_warming_however_often_it_fails(world: World) -> None:
    await world.load()
    for delay in (1, 2, 4, 8):
        await world.fails(error())
        assert (world.snapshot.state, world.snapshot.outcome) == (State.WARMING, Outcome.BAD_OUTPUT)
        await world.advance(delay)


@pytest.mark.parametrize(
    ("raised", "outcome", "error_type", "message"),
    [
        (error(Outcome.BAD_SIZE, "0x0"), Outcome.BAD_SIZE, "bad_size", "0x0"),
        (
            RuntimeError("height must be > 0\nmore"),
            Outcome.ERROR,
            "RuntimeError",
            "RuntimeError: height must be > 0",
        ),
        (MemoryError(), Outcome.OOM, "MemoryError", "MemoryError"),
        (asyncio.CancelledError(), Outcome.ERROR, "CancelledError", "CancelledError"),
        (SystemExit(3), Outcome.ERROR, "SystemExit", "SystemExit: 3"),
        (GeneratorExit(), Outcome.ERROR, "GeneratorExit", "GeneratorExit"),
        (
            BaseExceptionGroup("many", [KeyboardInterrupt()]),
            Outcome.ERROR,
            "BaseExceptionGroup",
            "BaseExceptionGroup: many (1 sub-exception)",
        ),
    ],
)
async def test_a_probe_that_raises_anything_has_failed(
    world: World, raised: BaseException, outcome: Outcome, error_type: str, message: str
) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL)
    await world.fails(raised)
    assert (world.snapshot.state, world.snapshot.outcome) == (State.DEGRADED, outcome)
    assert failure_of(world) == Failure(outcome, message, error_type)
    assert world.value("warmup_runs_total", outcome=outcome.value) == 1
    await world.advance(1)
    await world.passes()
    assert world.snapshot.state is State.READY
    assert world.value("warmup_supervisor_restarts_total") == 0


async def test_the_error_type_is_the_class_of_the_cause(world: World) -> None:
    await world.load()
    raised = error(Outcome.OOM, "no room")
    raised.__cause__ = ZeroDivisionError()
    await world.fails(raised)
    assert failure_of(world).error_type == "ZeroDivisionError"


async def test_a_failure_is_kept_without_the_frames_that_raised_it(world: World) -> None:
    class Tensor:
        pass

    def infer() -> None:
        tensor = Tensor()
        kept.append(weakref.ref(tensor))
        raise RuntimeError("out of memory")

    kept: list[weakref.ref[Tensor]] = []
    await world.load()
    with capture_logs() as logs:  # a log that prints the traceback may keep its frames
        try:
            infer()
        except RuntimeError as raised:
            await world.fails(raised)
        logs.clear()
    world.target.probes.clear()
    gc.collect()
    assert failure_of(world).error_type == "RuntimeError"
    assert kept[0]() is None


async def test_a_probe_task_cancelled_from_outside_is_a_failed_probe(world: World) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL)
    task = next(task for task in asyncio.all_tasks() if task.get_name() == "warmup probe")
    task.cancel()
    await let_run()
    assert world.snapshot.state is State.DEGRADED
    await world.advance(1)
    await world.passes()
    assert world.snapshot.state is State.READY


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.SKIPPED])
@pytest.mark.parametrize("kind", [ProbeError, LoadError])
def test_an_error_cannot_have_the_outcome_of_something_that_did_not_fail(
    kind: type[ProbeError | LoadError], outcome: Outcome
) -> None:
    with pytest.raises(ValueError, match=outcome):
        kind(outcome, "no failure")


# -- old successes and stuck jobs ---------------------------------------------------------------------------------


async def test_a_success_stops_counting_while_a_probe_waits_for_its_turn_which_is_no_failure(
    world: World,
) -> None:
    await world.becomes_ready()
    await world.advance(3 * INTERVAL + TIMEOUT)
    assert world.snapshot.state is State.READY
    await world.advance(0.1)
    snapshot = world.snapshot
    assert (snapshot.state, snapshot.fresh, snapshot.outcome) == (State.FAILING, False, Outcome.SUCCESS)
    assert not world.supervisor.ready
    assert (snapshot.consecutive_failures, world.probes) == (0, 2)
    await world.passes()
    assert world.snapshot.state is State.READY


async def test_a_job_that_outlives_the_request_timeout_makes_it_failing_until_it_ends(world: World) -> None:
    await world.becomes_ready()
    world.target.now = Vitals(job_seconds=REQUEST_TIMEOUT + 0.1)
    snapshot = world.snapshot
    assert (snapshot.state, snapshot.fresh, snapshot.failure) == (State.FAILING, True, None)
    assert snapshot.vitals.job_seconds == REQUEST_TIMEOUT + 0.1
    assert not snapshot.ready
    assert world.value("ready") == 0
    world.target.now = Vitals()
    assert world.supervisor.ready


async def test_a_probe_that_times_out_fails_at_once_and_no_other_starts_until_it_ends(
    world: World,
) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL + 30)  # the wait for a turn does not count as running
    await world.start_probe()
    await world.advance(TIMEOUT - 0.1)
    assert world.snapshot.state is State.READY
    await world.advance(0.1)
    assert (world.snapshot.state, world.snapshot.outcome) == (State.DEGRADED, Outcome.TIMEOUT)
    assert world.value("warmup_runs_total", outcome="timeout") == 1
    await world.advance(100)
    assert world.probes == 2
    assert not world.target.probes[-1].future.cancelled()
    world.target.probes[-1].future.set_exception(RuntimeError("too late to matter"))
    await let_run()
    assert world.value("warmup_runs_total", outcome="error") == 0
    assert world.probes == 3
    await world.passes()
    assert world.snapshot.state is State.READY


async def test_the_time_for_which_a_probe_waits_between_its_threads_does_not_count_as_running(
    world: World,
) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL)
    for _ in range(3):
        await world.start_probe()
        await world.advance(TIMEOUT / 4)
        await world.pause_probe()
        await world.advance(10)
    assert world.snapshot.outcome is Outcome.SUCCESS
    await world.start_probe()
    await world.advance(TIMEOUT / 4)
    assert world.snapshot.outcome is Outcome.TIMEOUT


async def test_a_success_after_the_timeout_does_not_count(world: World) -> None:
    await world.load()
    await world.start_probe()
    await world.advance(TIMEOUT)
    await world.passes(10)
    assert world.snapshot.state is State.WARMING
    assert world.value("warmup_runs_total", outcome="success") == 0


# -- demands ------------------------------------------------------------------------------------------------------


async def demanded(world: World) -> asyncio.Task[Snapshot]:
    task = asyncio.create_task(world.supervisor.demand())
    await let_run()
    return task


async def test_a_demand_while_loading_waits_for_the_first_probe(world: World) -> None:
    task = await demanded(world)
    await world.load(5)
    assert not task.done()
    await world.passes()
    assert task.result().outcome is Outcome.SUCCESS
    assert world.probes == 1


async def test_a_demand_while_loading_is_answered_when_the_load_fails_and_at_once_after_that(
    world: World,
) -> None:
    task = await demanded(world)
    await world.load_fails(LoadError(Outcome.WEIGHTS_UNAVAILABLE, "gone"))
    assert task.result().outcome is Outcome.WEIGHTS_UNAVAILABLE
    again = await demanded(world)
    assert again.result().outcome is Outcome.WEIGHTS_UNAVAILABLE
    assert len(world.target.loads) == 1
    await world.advance(1)
    assert (await demanded(world)).done()


async def test_a_demand_joins_the_probe_in_progress(world: World) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL)
    tasks = [await demanded(world) for _ in range(3)]
    await world.fails(error())
    assert {task.result().outcome for task in tasks} == {Outcome.BAD_OUTPUT}
    assert world.probes == 2


async def test_a_demand_starts_a_probe_and_waits_for_it(world: World) -> None:
    await world.becomes_ready(running=1.0)
    await world.advance(20)
    task = await demanded(world)
    assert world.probes == 2
    assert not task.done()
    await world.passes()
    assert task.result().outcome is Outcome.SUCCESS
    await world.advance(INTERVAL - 0.1)
    assert world.probes == 2


async def test_a_demand_right_after_a_success_is_answered_with_it(world: World) -> None:
    await world.becomes_ready(running=1.0)
    await world.advance(19.9)
    task = await demanded(world)
    assert task.result().outcome is Outcome.SUCCESS
    assert task.result().last_success_age == pytest.approx(19.9)
    assert world.probes == 1


async def test_demands_after_a_failure_start_one_probe_a_second_at_most(world: World) -> None:
    await world.load()
    for _ in range(6):
        await world.fails(error())
        await world.advance(1)
        if world.snapshot.consecutive_failures < 6:
            task = await demanded(world)
            assert not task.done()
    assert world.snapshot.consecutive_failures == 6
    sent = world.probes
    task = await demanded(world)
    assert world.probes == sent + 1
    await world.passes()
    assert task.result().outcome is Outcome.SUCCESS


async def test_a_demand_returns_at_once_while_a_probe_that_timed_out_still_runs(
    world: World,
) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL)
    waiting = await demanded(world)
    await world.start_probe()
    await world.advance(TIMEOUT)
    assert (waiting.result().outcome, waiting.result().not_run) == (Outcome.TIMEOUT, None)
    task = await demanded(world)
    assert task.result().not_run == "the probe that timed out still runs"
    assert world.value("warmup_runs_total", outcome="skipped") == 1
    assert world.snapshot.not_run is None


async def test_a_caller_that_leaves_cancels_nothing(world: World) -> None:
    await world.becomes_ready(running=1.0)
    await world.advance(30)
    leaving, staying = await demanded(world), await demanded(world)
    leaving.cancel()
    await let_run()
    assert world.probes == 2
    await world.passes()
    assert leaving.cancelled()
    assert staying.result().outcome is Outcome.SUCCESS


# -- shutdown -----------------------------------------------------------------------------------------------------


async def test_draining_is_not_ready_at_once_and_sends_no_more_probes(world: World) -> None:
    await world.becomes_ready()
    world.supervisor.drain()
    assert world.snapshot.state is State.DRAINING
    assert world.value("ready") == 0
    await world.advance(10 * INTERVAL)
    assert world.probes == 1
    assert world.value("warmup_runs_total", outcome="skipped") == 0


async def test_draining_answers_every_demand_and_cancels_a_probe_that_has_no_turn_yet(world: World) -> None:
    await world.becomes_ready()
    await world.advance(INTERVAL)
    task = await demanded(world)
    world.supervisor.drain()
    await let_run()
    assert task.result().state is State.DRAINING
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
    assert world.snapshot.state is State.DRAINING


async def test_a_demand_while_draining_returns_at_once_and_counts_as_skipped(world: World) -> None:
    world.supervisor.drain()
    task = await demanded(world)
    assert task.result().state is State.DRAINING
    assert world.value("warmup_runs_total", outcome="skipped") == 1


async def test_closing_answers_every_demand_and_leaves_no_task_behind() -> None:
    world = World()
    before = asyncio.all_tasks()
    async with guarded(world.supervisor):
        await let_run()
        task = asyncio.create_task(world.supervisor.demand())
        await let_run()
    await let_run()
    assert not task.result().ready
    assert asyncio.all_tasks() == before
    assert world.target.loads[0].future.cancelled()
    assert world.value("warmup_supervisor_up") == 0
    assert world.value("warmup_supervisor_restarts_total") == 0


# -- metrics and log ----------------------------------------------------------------------------------------------


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


async def test_the_heartbeat_goes_on_while_the_supervisor_only_waits(world: World) -> None:
    for stage in (world.load, world.passes, let_run):
        for _ in range(3):
            await world.advance(HEARTBEAT_SECONDS)
            heard = world.value("warmup_supervisor_heartbeat_timestamp_seconds")
            assert world.clock.time() - heard <= HEARTBEAT_SECONDS
        await stage()


async def test_the_set_of_series_stays_the_same_from_start_to_shutdown(world: World) -> None:
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
    assert world.snapshot.last_success_age == 0
    await world.advance(INTERVAL - 1)
    assert world.probes == 1


async def test_the_log_has_the_messages_that_searches_rely_on() -> None:
    with capture_logs() as logs:
        world = World()
        async with guarded(world.supervisor):
            await let_run()
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
    changes = [(log["state"], log["reason"]) for log in logs if log["event"] == "state changed"]
    assert changes == [
        ("loading", "the engine is loading"),
        ("warming", "no probe has passed since the load"),
        ("ready", None),
        ("degraded", "the mask is constant"),
        ("draining", None),
    ]


async def test_the_log_says_why_the_state_is_failing(world: World) -> None:
    await world.becomes_ready()
    with capture_logs() as logs:
        world.target.now = Vitals(job_seconds=REQUEST_TIMEOUT + 0.1)
        await world.advance(HEARTBEAT_SECONDS)
        world.target.now = Vitals()
        await world.advance(HEARTBEAT_SECONDS)
        await world.advance(3 * INTERVAL + TIMEOUT)
    changes = [(log["state"], log["reason"]) for log in logs if log["event"] == "state changed"]
    assert changes == [
        ("failing", "a job has been running for too long"),
        ("ready", None),
        ("failing", "the last success is too old"),
    ]


# -- suspensions -----------------------------------------------------------------------------------------------


async def test_a_suspension_is_no_running_time_of_a_probe(world: World) -> None:
    await world.load()
    await world.start_probe()
    world.clock.suspend(10 * TIMEOUT)
    world.supervisor.resume()
    await world.passes(0.1)
    assert (world.snapshot.state, world.snapshot.outcome) == (State.READY, Outcome.SUCCESS)
    assert world.value("warmup_runs_total", outcome="timeout") == 0


async def test_evidence_ages_during_a_suspension_and_a_probe_is_sent_as_soon_as_it_is_told(
    world: World,
) -> None:
    await world.load()
    await world.passes()
    probes = world.probes
    world.clock.suspend(20 * INTERVAL)
    assert world.snapshot.state is State.FAILING
    assert world.probes == probes
    world.supervisor.resume()
    await let_run()
    assert world.probes == probes + 1
    await world.passes()
    assert world.snapshot.state is State.READY
