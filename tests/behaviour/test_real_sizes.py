"""Warm means warm for real pictures: an engine that fails at real sizes is never called warm for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from service.engines.protocol import RGB, Alpha, EngineError, OutOfMemory
from tests.support.photos import encoded, save
from tests.support.running_service import Start
from tests.support.scripted_engine import ScriptedEngine, disc

SMALL, PHOTO = encoded(40, 30), encoded(256, 200)


def limited(side: int) -> Callable[[RGB], Alpha]:
    """An engine that has no room for pictures with a longer side."""

    def infer(image: RGB) -> Alpha:
        if max(image.shape) > side:
            raise OutOfMemory("no room")
        return disc(image)

    return infer


def zeros_above(side: int) -> Callable[[RGB], Alpha]:
    """An engine that returns an empty mask for pictures with a longer side."""

    def infer(image: RGB) -> Alpha:
        return np.zeros(image.shape[:2], np.float32) if max(image.shape) > side else disc(image)

    return infer


@pytest.mark.parametrize("fault", [limited(64), zeros_above(64)], ids=["out of memory", "zeros"])
async def test_an_engine_that_works_only_for_small_pictures_is_failing(
    start: Start, fault: Callable[[RGB], Alpha]
) -> None:
    engine = ScriptedEngine()
    engine.on_infer = fault
    service = await start(engine, warmup_interval=0.5)
    await service.until(lambda: not service.parts.supervisor.ready)
    said = await service.warmth()
    assert (said["code"], said["state"], said["reason_code"], said["model_ready"]) == (
        500,
        "failing",
        "size_failed",
        True,
    )
    assert (await service.readyz(), service.value("warmup_success")) == (503, 0)
    engine.on_infer = disc
    await service.ready()
    assert (await service.warmth())["code"] == 200


@pytest.mark.parametrize("fault", [limited(64), zeros_above(64)], ids=["out of memory", "zeros"])
async def test_on_a_gpu_such_an_engine_never_becomes_ready(
    start: Start, fault: Callable[[RGB], Alpha]
) -> None:
    engine = ScriptedEngine()
    engine.device = "cuda:0"
    engine.on_infer = fault
    service = await start(engine, wait=False)
    assert (await service.post(SMALL))[0] == 503
    assert (await service.readyz(), (await service.warmth())["code"]) == (503, 500)
    engine.on_infer = disc
    await service.ready()


async def test_the_first_request_that_fails_shows_it_before_any_proof_is_due(start: Start) -> None:
    engine = ScriptedEngine()
    service = await start(engine)
    engine.on_infer = limited(64)
    assert (await service.post(PHOTO))[0] == 503
    await service.until(lambda: not service.parts.supervisor.ready)
    assert (await service.warmth())["reason_code"] == "size_failed"


async def test_one_bad_picture_sent_again_and_again_stops_nothing(start: Start) -> None:
    bad = 200

    def infer(image: RGB) -> Alpha:
        if image.shape[:2] == (bad, bad) and int(image[0, 0, 0]) == 7:
            return np.full(image.shape[:2], np.nan, np.float32)
        return disc(image)

    engine = ScriptedEngine()
    engine.on_infer = infer
    service = await start(engine)
    pixels = np.random.default_rng(0).integers(0, 255, (bad, bad, 3), np.uint8)
    pixels[0, 0] = 7
    poison = save(pixels, "PNG")
    for _ in range(20):
        assert (await service.post(poison))[0] == 503
        assert service.parts.supervisor.ready
        assert (await service.post(PHOTO))[0] == 200
    await service.until(lambda: service.value("warmup_sizes", state="owed") == 0)
    assert (await service.readyz(), service.value("warmup_sizes", state="failed")) == (200, 0)


async def test_a_size_too_large_for_the_device_is_refused_in_words_and_the_rest_is_served(
    start: Start,
) -> None:
    engine = ScriptedEngine()
    engine.on_size = lambda width, height: (min(width, 512), min(height, 512))
    engine.on_infer = limited(600)
    service = await start(engine, max_pixels=40_000, max_model_pixels=600 * 600, warmup_interval=0.5)
    await service.until(lambda: service.value("warmup_real_size_last_success_timestamp_seconds") > 0)
    engine.on_infer = limited(380)
    wide = encoded(390, 64)
    assert (await service.post(wide))[0] == 503
    await service.until(lambda: service.value("warmup_sizes", state="refused") == 1)
    said = await service.warmth()
    assert (said["code"], said["state"], said["reason_code"]) == (500, "degraded", "size_refused")
    assert said["refused_sizes"] == [[390, 64]]
    status, body, headers = await service.post(wide)
    assert (status, headers["Retry-After"]) == (503, "60")
    assert b"fails on pictures of this size" in body
    assert (await service.readyz(), (await service.post(SMALL))[0]) == (200, 200)
    engine.on_infer = disc
    await service.until(lambda: service.value("warmup_sizes", state="refused") == 0)
    assert (await service.post(wide))[0] == 200


async def test_no_request_is_served_before_the_first_probe_has_passed(start: Start) -> None:
    engine = ScriptedEngine()
    engine.on_infer = limited(1)
    service = await start(engine, wait=False)
    answers = await asyncio.gather(*(service.post(SMALL) for _ in range(5)))
    assert {status for status, _, _ in answers} == {503}
    assert (40, 30) not in engine.seen
    engine.on_infer = disc
    await service.ready()
    assert (await service.post(SMALL))[0] == 200


@pytest.mark.parametrize(
    "error", [RuntimeError("boom"), EngineError("the network cannot do this"), IndexError("x")], ids=repr
)
async def test_whatever_the_engine_raises_on_pictures_of_one_size_is_told(
    start: Start, error: Exception
) -> None:
    """Portraits fail, and the real size is a landscape."""
    engine = ScriptedEngine()
    engine.on_size = lambda width, height: (
        (min(width, 256), min(height, 256)) if width >= height else (150, 300)
    )

    def infer(image: RGB) -> Alpha:
        if image.shape[0] > image.shape[1]:
            raise error
        return disc(image)

    engine.on_infer = infer
    service = await start(engine, warmup_interval=0.2)
    assert (await service.post(encoded(150, 300)))[0] >= 500
    await service.until(lambda: service.value("warmup_sizes", state="refused") == 1)
    assert (await service.warmth())["reason_code"] in {"size_refused", "size_unproved"}
    assert (await service.post(encoded(150, 300)))[0] == 503
    assert (await service.post(SMALL))[0] == 200
