"""What the supervisor proves besides the canary, in which order, and when it lets requests be served."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from supervisor import (
    AtSize,
    Canary,
    LoadReport,
    MaskError,
    Outcome,
    ProbeError,
    Reason,
    Reference,
    Settle,
    Size,
    State,
    Vitals,
)
from supervisor.recorder import Recorder
from supervisor.sizes import SizeEvidence
from tests.supervisor.fakes import INTERVAL, LOADED, REAL, REQUEST_TIMEOUT, World

ON_CPU = replace(LOADED, real=REAL)
ON_CUDA = replace(ON_CPU, real_gates=True)
LARGE = Size(2048, 2048)
CALM = INTERVAL / 12


def oom() -> ProbeError:
    return ProbeError(Outcome.OOM, "the device has no room")


def disagrees(error: float = 0.3) -> ProbeError:
    return ProbeError(Outcome.DISAGREES, "two.jpg differs by 0.3", mask_error=MaskError(error, 0.01))


async def test_requests_are_served_as_soon_as_the_canary_has_passed_on_a_cpu(world: World) -> None:
    await world.load(report=ON_CPU)
    assert world.target.orders == []
    await world.passes()
    assert world.target.orders == ["serve"]
    assert world.supervisor.ready
    await world.advance(CALM)
    assert world.subject == AtSize(REAL)
    await world.passes()
    assert world.value("warmup_real_size_last_success_timestamp_seconds") == world.clock.time()
    assert world.target.orders == ["serve"]


async def test_requests_are_served_once_the_real_size_has_passed_on_a_gpu(world: World) -> None:
    await world.load(report=ON_CUDA)
    await world.passes()
    assert (world.subject, world.target.orders) == (AtSize(REAL), [])
    assert (world.snapshot.state, world.snapshot.proved) == (State.WARMING, True)
    await world.fails(oom())
    assert world.target.orders == ["refuse: the device has no room"]
    await world.advance(1)
    assert world.subject == AtSize(REAL)
    await world.passes()
    assert world.target.orders[1:] == ["serve"]
    assert world.snapshot.state is State.READY


async def test_a_failed_first_probe_refuses_requests_until_one_passes(world: World) -> None:
    await world.load()
    await world.fails(oom())
    assert world.target.orders == ["refuse: the device has no room"]
    await world.advance(1)
    await world.passes()
    assert world.target.orders[1:] == ["serve"]


async def test_what_is_settled_is_proved_before_requests_are_served(world: World) -> None:
    await world.load(report=replace(ON_CUDA, settled=False))
    for subject in (Canary(), Settle(), Canary(), AtSize(REAL)):
        assert (world.subject, world.target.orders) == (subject, [])
        await world.passes()
    assert world.target.orders == ["serve"]
    assert world.value("warmup_runs_total", outcome="success") == 3


async def test_a_failed_settling_counts_as_a_failed_probe_and_requests_wait_for_the_next_one(
    world: World,
) -> None:
    await world.load(report=replace(LOADED, settled=False))
    await world.passes()
    await world.fails(oom())
    assert (world.snapshot.reason, world.value("warmup_success")) == (Reason.PROBE_FAILED, 0)
    assert world.target.orders == []
    await world.advance(1)
    assert world.subject == Canary()
    await world.passes()
    assert (world.target.orders, world.snapshot.state) == (["serve"], State.READY)


async def test_a_drain_lets_requests_be_served_that_wait_only_for_further_proofs(world: World) -> None:
    await world.load(report=ON_CUDA)
    await world.passes()
    world.supervisor.drain()
    assert world.target.orders == ["serve"]


@pytest.mark.parametrize("proofs", [0, 1])
async def test_a_drain_lets_nothing_unproved_be_served(world: World, proofs: int) -> None:
    await world.load(report=replace(LOADED, settled=False))
    for _ in range(proofs):
        await world.passes()  # now it settles
    world.supervisor.drain()
    assert world.target.orders == []


# -- real sizes ----------------------------------------------------------------------------------------------------


async def test_a_request_that_failed_is_followed_at_once_by_a_proof_at_its_size(world: World) -> None:
    await world.becomes_ready(report=ON_CPU)
    world.supervisor.request_failed(LARGE)
    assert (world.snapshot.reason, world.snapshot.state) == (Reason.SIZE_UNPROVED, State.READY)
    assert world.value("warmup_sizes", state="owed") == 1
    await world.advance(0)
    assert world.subject == AtSize(LARGE)
    await world.passes()
    assert (world.snapshot.reason, world.snapshot.state) == (None, State.READY)
    assert world.value("warmup_sizes", state="owed") == 0


@pytest.mark.parametrize(
    ("report", "error"),
    [(ON_CUDA, oom()), (replace(LOADED, references=("a",), gate_references=("a",)), disagrees())],
)
async def test_a_drain_serves_nothing_after_a_proof_of_the_gate_has_failed(
    world: World, report: LoadReport, error: ProbeError
) -> None:
    await world.load(report=report)
    await world.passes()
    await world.fails(error)
    world.supervisor.drain()
    assert "serve" not in world.target.orders


async def test_an_exception_on_the_way_leaves_no_ready_service_with_a_shut_gate(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.load(report=ON_CPU)
    real, raised = Recorder.sizes, list[int]()

    def raises_once(self: Recorder, sizes: SizeEvidence) -> None:
        if not raised:
            raised.append(1)
            raise OSError("no space left")
        real(self, sizes)

    monkeypatch.setattr(Recorder, "sizes", raises_once)
    await world.passes()
    await world.advance(2)
    assert raised
    assert world.target.orders == ["serve"]
    assert world.supervisor.ready


async def test_the_target_hears_of_a_limit_although_it_raised_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.becomes_ready(report=ON_CPU)
    real, raised = world.target.limit_sizes, list[int]()

    def raises_once(refused: tuple[Size, ...], proved: tuple[Size, ...]) -> None:
        if not raised:
            raised.append(1)
            raise OSError("no space left")
        real(refused, proved)

    monkeypatch.setattr(world.target, "limit_sizes", raises_once)
    world.supervisor.request_failed(LARGE)
    for _ in range(5):
        await world.advance(2)
        while not world.target.probes[-1].future.done():
            await (world.fails(oom()) if world.subject == AtSize(LARGE) else world.passes())
    assert world.snapshot.state is State.DEGRADED
    assert "limit: 2048x2048" in world.target.orders


async def test_the_canary_counts_for_the_real_size_where_every_size_is_the_real_one(world: World) -> None:
    await world.becomes_ready()
    assert world.value("warmup_real_size_last_success_timestamp_seconds") == world.clock.time()


async def test_a_size_that_fails_alone_is_refused_until_it_passes(world: World) -> None:
    await world.becomes_ready(report=ON_CPU)
    world.supervisor.request_failed(LARGE)
    await world.advance(0)
    await world.fails(oom())
    assert world.target.orders == ["serve", "limit: 2048x2048"]
    assert (world.snapshot.reason, world.snapshot.state) == (Reason.SIZE_REFUSED, State.DEGRADED)
    assert world.snapshot.outcome is Outcome.OOM
    assert world.value("warmup_sizes", state="refused") == 1
    assert world.subject == AtSize(REAL)
    await world.passes()
    await world.advance(1)
    assert world.subject == AtSize(LARGE)
    await world.passes()
    assert world.target.orders[-1] == "limit: "
    assert world.snapshot.state is State.READY


async def test_a_failing_real_size_makes_the_service_not_ready_although_the_canary_passes(
    world: World,
) -> None:
    await world.becomes_ready(report=ON_CPU)
    await world.advance(CALM)
    await world.fails(oom())
    assert (world.snapshot.state, world.snapshot.reason) == (State.FAILING, Reason.SIZE_FAILED)
    assert (
        world.value("ready"),
        world.value("warmup_success"),
        world.value("warmup_sizes", state="failed"),
    ) == (0, 0, 1)
    assert world.value("warmup_consecutive_failures") == 1
    await world.advance(0.99)
    assert world.subject == AtSize(REAL)
    sent = world.probes
    await world.advance(0.01)
    assert world.probes == sent + 1
    await world.passes()
    assert (world.snapshot.state, world.value("warmup_success")) == (State.READY, 1)


async def test_the_canary_goes_on_while_the_real_size_fails_and_cannot_hide_it(world: World) -> None:
    await world.becomes_ready(report=ON_CPU)
    await world.advance(CALM)
    seen: set[object] = set()
    while world.clock.now < world.born + 10 * INTERVAL:
        seen.add(world.subject)
        await (world.passes() if world.subject == Canary() else world.fails(oom()))
        assert (world.snapshot.ready, world.value("warmup_success")) == (False, 0)
        sent = world.probes
        while world.probes == sent:
            await world.advance(1)
    assert seen == {Canary(), AtSize(REAL)}
    assert world.snapshot.fresh


async def test_a_proof_at_a_real_size_has_failed_when_a_request_would_have_got_its_504(world: World) -> None:
    await world.becomes_ready(report=ON_CPU)
    await world.advance(CALM)
    await world.start_probe()
    await world.advance(REQUEST_TIMEOUT)
    assert (world.snapshot.state, world.snapshot.outcome) == (State.FAILING, Outcome.TIMEOUT)


async def test_a_demand_is_answered_when_a_proof_at_a_real_size_hangs_because_no_canary_can_follow(
    world: World,
) -> None:
    await world.becomes_ready(report=ON_CPU)
    await world.advance(CALM)
    await world.start_probe()
    task = asyncio.create_task(world.supervisor.demand())
    await world.advance(REQUEST_TIMEOUT)
    assert task.result().not_run == "the probe that timed out still runs"


async def test_a_request_that_failed_before_a_load_is_of_no_consequence(world: World) -> None:
    world.supervisor.request_failed(LARGE)
    assert world.snapshot.state is State.LOADING


# -- threads that decode and encode ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("late", "state"), [(0, State.READY), (1, State.DEGRADED), (2, State.FAILING)])
async def test_one_late_codec_thread_degrades_and_all_of_them_fail(
    world: World, late: int, state: State
) -> None:
    await world.becomes_ready()
    world.target.now = Vitals(late_codec_jobs=late, codec_threads=2)
    assert world.snapshot.state is state
    assert (world.snapshot.reason is Reason.CODEC_HUNG) is (late > 0)


# -- references ------------------------------------------------------------------------------------------------------

NAMES = ("one.jpg", "two.jpg", "three.jpg")
WITH_REFERENCES = replace(LOADED, references=NAMES)
CLOSE = MaskError(0.004, 0.01)


async def judge(world: World, *, running: float = 1.0) -> Reference:
    """Wait for the next reference and let it pass; canaries pass on the way."""
    sent = world.probes
    while True:
        if isinstance(world.subject, Reference) and world.probes > sent:
            subject = world.subject
            await world.passes(running, CLOSE)
            return subject
        if not world.target.probes[-1].future.done():
            await world.passes()
        await world.advance(1)


async def test_requests_wait_for_the_references_of_the_gate(world: World) -> None:
    await world.load(report=replace(WITH_REFERENCES, gate_references=NAMES[:2]))
    assert world.value("warmup_references", state="pending") == 3
    await world.passes()
    for name in NAMES[:2]:
        assert (world.subject, world.target.orders) == (Reference(name), [])
        await world.passes(1.0, CLOSE)
    assert world.target.orders == ["serve"]
    facts = world.snapshot.references
    assert (facts.total, facts.passed, facts.failed, facts.pending) == (3, 2, 0, 1)
    assert [world.value("warmup_references", state=state) for state in ("pass", "fail", "pending")] == [
        2,
        0,
        1,
    ]
    assert world.value("warmup_reference_worst_error_ratio") == CLOSE.error


async def test_references_are_judged_after_the_precision_is_settled_and_after_the_real_size(
    world: World,
) -> None:
    report = replace(ON_CUDA, settled=False, references=NAMES, gate_references=NAMES[:1])
    await world.load(report=report)
    for subject in (Canary(), Settle(), Canary(), AtSize(REAL), Reference("one.jpg")):
        assert world.subject == subject
        await world.passes()
    assert world.target.orders == ["serve"]


async def test_the_others_are_judged_in_rotation_for_ever(world: World) -> None:
    await world.becomes_ready(report=WITH_REFERENCES)
    first = world.subject
    assert first == Reference("one.jpg")
    await world.passes(1.0, CLOSE)
    assert [(await judge(world)).name for _ in range(5)] == ["two.jpg", "three.jpg", *NAMES]
    assert world.snapshot.references.pending == 0


async def test_a_judgement_keeps_the_duty_rule(world: World) -> None:
    await world.becomes_ready(report=WITH_REFERENCES)
    began = world.clock.now
    await world.passes(10.0, CLOSE)
    await judge(world)
    assert world.clock.now - began >= 10 + 20 * 10


async def test_a_reference_that_disagrees_is_judged_again_next_and_warmup_fails_until_it_passes(
    world: World,
) -> None:
    await world.becomes_ready(report=WITH_REFERENCES)
    await world.passes(1.0, CLOSE)
    states = []
    for _ in range(3):
        while world.subject != Reference("two.jpg") or world.target.probes[-1].future.done():
            if not world.target.probes[-1].future.done():
                await world.passes()
            await world.advance(1)
            assert states == [] or world.snapshot.reason is Reason.REFERENCE_FAILED
        await world.fails(disagrees())
        states.append(world.snapshot.state)
    assert states == [State.DEGRADED, State.DEGRADED, State.FAILING]
    assert (world.snapshot.outcome, world.value("warmup_success")) == (Outcome.DISAGREES, 0)
    assert world.snapshot.references.worst == ("two.jpg", MaskError(0.3, 0.01))
    assert world.value("warmup_references", state="fail") == 1
    assert world.value("warmup_consecutive_failures") == 3
    assert await judge(world) == Reference("two.jpg")
    assert (world.snapshot.state, world.snapshot.reason) == (State.READY, None)


async def test_a_reference_of_the_gate_that_disagrees_refuses_requests_and_is_judged_again(
    world: World,
) -> None:
    await world.load(report=replace(WITH_REFERENCES, gate_references=NAMES[:1]))
    await world.passes()
    await world.fails(disagrees())
    assert world.target.orders == ["refuse: two.jpg differs by 0.3"]
    assert (world.snapshot.state, world.snapshot.reason) == (State.WARMING, Reason.REFERENCE_FAILED)
    await world.advance(1)
    assert world.subject == Reference("one.jpg")
    await world.passes(1.0, CLOSE)
    assert world.target.orders[1:] == ["serve"]


async def test_a_reference_that_cannot_be_judged_has_failed(world: World) -> None:
    await world.becomes_ready(report=WITH_REFERENCES)
    await world.fails(oom())
    assert (world.snapshot.reason, world.snapshot.outcome) == (Reason.REFERENCE_FAILED, Outcome.OOM)
    assert world.snapshot.references.worst is None
