"""A load may leave the precision open. It is settled right after the first proof, before any client's picture, and
then proved again.
"""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from service.engines.protocol import RGB, Alpha, DeviceError, OutOfMemory
from tests.support.photos import encoded
from tests.support.running_service import Service, Start
from tests.support.scripted_engine import Hold, ScriptedEngine, disc

PHOTO = encoded()
BLANK = np.zeros((1, 1, 3), np.uint8)


async def warmth(service: Service) -> tuple[int, str, str]:
    async with service.client.get("/warmup") as response:
        answer = await response.json()
        return response.status, answer["precision"], answer["precision_reason"]


def engine_that_settles(hold: Hold) -> ScriptedEngine:
    engine = ScriptedEngine()
    engine.on_settle = lambda: (hold(BLANK), None)[1]
    return engine


async def test_the_first_proof_is_reported_while_the_precision_is_settled_and_clients_wait(
    start: Start,
) -> None:
    hold = Hold()
    engine = engine_that_settles(hold)
    service = await start(engine, wait=False)
    posted = asyncio.create_task(service.post(PHOTO))
    await service.until(hold.reached.is_set)
    assert await warmth(service) == (200, "fp32", "asked for")
    await service.until(lambda: service.admission.taken == 1)
    hold.release.set()
    assert (await posted)[0] == 200
    assert engine.seen == [(64, 64), (0, 0), (64, 64), (40, 30)], "proof, settling, proof, client"
    assert engine.threads == {"gpu"}
    assert await warmth(service) == (200, "bf16", "it was checked")
    await service.until(lambda: service.value("warmup_runs_total", outcome="success") == 2)
    exported = service.registry.restricted_registry(["inspyrenet_engine_info"]).collect()
    (labels,) = (sample.labels for metric in exported for sample in metric.samples)
    assert (labels["precision"], labels["precision_reason"]) == ("bf16", "it was checked")


async def test_the_precision_is_settled_once(start: Start) -> None:
    hold = Hold()
    hold.release.set()
    engine = engine_that_settles(hold)
    service = await start(engine, warmup_interval=0.05)
    await service.until(lambda: service.value("warmup_runs_total", outcome="success") >= 4)
    assert engine.seen.count((0, 0)) == 1


async def test_a_failed_settling_is_reported_and_the_proved_precision_serves(start: Start) -> None:
    def exhausted() -> None:
        raise OutOfMemory("no room for two")

    engine = ScriptedEngine()
    engine.on_settle = exhausted
    service = await start(engine, wait=False, warmup_interval=0.05)
    posted = asyncio.create_task(service.post(PHOTO))
    await service.until(lambda: service.value("warmup_runs_total", outcome="oom") == 1)
    assert (await posted)[0] == 200
    await service.until(lambda: service.value("warmup_success") == 1)
    assert await warmth(service) == (
        200,
        "fp32",
        "the self-check could not be finished: no room for two",
    )
    assert service.value("device_errors_total", kind="oom") == 1
    assert engine.seen.count((0, 0)) == 1


async def test_an_unexpected_error_while_settling_is_reported_once_and_not_repeated(start: Start) -> None:
    def broken() -> None:
        raise RuntimeError("could not create a primitive")

    engine = ScriptedEngine()
    engine.on_settle = broken
    service = await start(engine, wait=False, warmup_interval=0.05)
    await service.until(lambda: service.value("warmup_runs_total", outcome="success") >= 3)
    assert await warmth(service) == (200, "fp32", "the self-check could not be finished: RuntimeError")
    assert service.value("warmup_runs_total", outcome="error") == 1


async def test_requests_that_wait_while_the_precision_is_settled_are_sent_elsewhere_when_a_drain_begins(
    start: Start,
) -> None:
    """What is settled is not proved any more, and no proof will follow."""
    hold = Hold()
    engine = engine_that_settles(hold)
    service = await start(engine, wait=False)
    await service.until(hold.reached.is_set)
    posted = asyncio.create_task(service.post(PHOTO))
    await service.until(lambda: service.admission.queue_depth == 1)
    service.parts.lifecycle.begin_drain("the test")
    assert (await posted)[0] == 503
    hold.release.set()
    assert (40, 30) not in engine.seen


async def test_a_device_lost_while_settling_stays_lost(start: Start) -> None:
    def lost() -> None:
        raise DeviceError("gone", sticky=True)

    engine = ScriptedEngine()
    engine.on_settle = lost
    service = await start(engine, wait=False, drain_timeout=30)
    await service.until(lambda: service.value("device_errors_total", kind="sticky") == 1)
    seen = len(engine.seen)
    status, body, _ = await service.post(PHOTO)
    assert status == 503
    assert b"restarting" in body or b"shutting down" in body
    assert len(engine.seen) == seen


@pytest.mark.parametrize(("precision", "outcome"), [("bf16", "success"), ("fp32", "bad_output")])
async def test_another_precision_has_another_reference_and_the_same_one_keeps_it(
    start: Start, precision: str, outcome: str
) -> None:
    engine = ScriptedEngine()
    engine.settled_precision = precision

    def other_masks() -> None:
        def inverted(image: RGB) -> Alpha:
            return 1 - disc(image)

        engine.on_infer = inverted

    engine.on_settle = other_masks
    service = await start(engine, wait=False)
    await service.until(lambda: service.value("warmup_runs_total", outcome="success") >= 1)
    before = {"success": 1, "bad_output": 0}[outcome]
    await service.until(lambda: service.value("warmup_runs_total", outcome=outcome) == before + 1)
    assert service.parts.supervisor.ready is (outcome == "success")


async def test_requests_wait_for_the_settled_precision_to_be_proved_at_a_real_size_on_a_gpu(
    start: Start,
) -> None:
    hold = Hold()
    hold.release.set()
    engine = engine_that_settles(hold)
    engine.device = "cuda:0"
    service = await start(engine, wait=False)
    assert (await service.post(PHOTO))[0] == 200
    assert engine.seen == [(64, 64), (0, 0), (64, 64), (256, 256), (40, 30)]


async def test_the_gate_opens_after_the_proof_of_what_was_settled_and_not_before(start: Start) -> None:
    """Today's fault: a request was served in bf16 whose canary failed."""
    engine = engine_that_settles(Hold())
    masks = [disc, lambda image: np.zeros(image.shape[:2], np.float32)]
    engine.on_settle = lambda: setattr(engine, "on_infer", masks[1])
    service = await start(engine, wait=False)
    posted = await service.post(PHOTO)
    assert posted[0] == 503
    assert b"GET /warmup says why" in posted[1]
    assert (40, 30) not in engine.seen
    engine.on_infer = disc
    await service.ready()
    assert (await service.post(PHOTO))[0] == 200
