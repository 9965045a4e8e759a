"""Faults of the device: those that concern one picture, and those that end the process."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engines.protocol import RGB, Alpha, DeviceError, OutOfMemory
from tests.support.photos import encoded, png_chunk, save
from tests.support.running_service import Start
from tests.support.scripted_engine import Hold, ScriptedEngine, disc
from tests.support.service_process import live

PHOTO = encoded()


async def test_out_of_memory_leaves_nothing_of_its_picture_behind(start: Start) -> None:
    pictures: list[weakref.ref[Any]] = []

    def no_room(image: RGB) -> Alpha:
        pictures.append(weakref.ref(image))
        raise OutOfMemory("no room")

    engine = ScriptedEngine()
    service = await start(engine)
    engine.on_infer = no_room
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            assert (await service.post(PHOTO))[0] == 503
        await service.until(lambda: service.value("warmup_sizes", state="failed") == 1)  # a proof followed
        await service.until(lambda: all(picture() is None for picture in pictures))
        assert len(pictures) >= 4
    finally:
        gc.enable()
    engine.on_infer = disc
    await service.until(lambda: service.value("warmup_sizes", state="refused") == 0)
    assert (await service.post(PHOTO))[0] == 200
    assert service.value("device_errors_total", kind="oom") >= 4
    assert service.value("http_requests_total", method="POST", route="/process", code="503") == 3


NOISE = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)


@pytest.mark.parametrize(
    "bad",
    [
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IDAT", bytes(1_000_000)),
        save(NOISE, "PNG", compress_level=1)[:1_000_000],
    ],
    ids=["without a header", "cut short"],
)
async def test_a_picture_that_cannot_be_decoded_leaves_nothing_of_itself_behind(
    start: Start, bad: bytes
) -> None:
    service = await start()
    # So that the second look finds only what a request leaves behind.
    assert (await service.post(bad))[0] == 422
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(5):
            assert (await service.post(bad))[0] == 422
        await service.until(lambda: tracemalloc.get_traced_memory()[0] - before < len(bad))
    finally:
        tracemalloc.stop()
        gc.enable()


async def test_a_passing_error_of_the_device_is_503_for_that_picture_alone(start: Start) -> None:
    engine = ScriptedEngine()
    service = await start(engine)

    def fail(_: RGB) -> Alpha:
        raise DeviceError("a hiccup", sticky=False)

    engine.on_infer = fail
    status, body, headers = await service.post(PHOTO)
    assert status == 503
    assert b"hiccup" not in body
    assert headers["Retry-After"]
    engine.on_infer = disc
    assert (await service.post(PHOTO))[0] == 200
    assert service.value("device_errors_total", kind="other") == 1


@pytest.mark.parametrize(
    "error", [TimeoutError, MemoryError, StopIteration, SystemExit, asyncio.CancelledError]
)
async def test_an_exception_of_the_engine_is_an_error_for_that_client_and_the_next_one_is_served(
    start: Start, error: Callable[[], BaseException]
) -> None:
    engine = ScriptedEngine()
    service = await start(engine)

    def fail(_: RGB) -> Alpha:
        raise error()

    engine.on_infer = fail
    status, body, _ = await service.post(PHOTO)
    assert status == (503 if error is MemoryError else 500)
    assert b'"error"' in body
    engine.on_infer = disc
    assert (await service.post(PHOTO))[0] == 200
    assert service.admission.taken == 0


async def test_a_sticky_error_is_503_for_requests_that_had_no_turn(start: Start) -> None:
    engine, hold = ScriptedEngine(), Hold()
    service = await start(engine)

    def fail_when_released(image: RGB) -> Alpha:
        hold(image)
        raise DeviceError("gone", sticky=True)

    engine.on_infer = fail_when_released
    posted = [asyncio.create_task(service.post(PHOTO)) for _ in range(3)]
    await service.until(lambda: hold.reached.is_set() and service.admission.taken == 3)
    hold.release.set()
    assert [(await task)[0] for task in posted] == [503] * 3
    assert service.value("device_errors_total", kind="sticky") >= 1
    assert (await service.post(PHOTO))[0] == 503


async def test_requests_that_waited_for_the_load_run_after_both_passes_on_a_gpu(start: Start) -> None:
    engine, hold = ScriptedEngine(), Hold()
    engine.device = "cuda:0"

    def load() -> None:
        hold.reached.set()
        hold.release.wait(60)

    engine.on_load = load
    service = await start(engine, wait=False)
    posted = asyncio.create_task(service.post(PHOTO))
    await service.until(lambda: hold.reached.is_set() and service.admission.taken == 1)
    hold.release.set()
    assert (await posted)[0] == 200
    assert engine.seen == [(64, 64), (256, 256), (40, 30)]


@pytest.mark.process
@pytest.mark.parametrize("where", ["request", "probe"])
def test_a_sticky_error_makes_the_service_unready_at_once_and_ends_the_process(
    tmp_path: Path, where: str
) -> None:
    with live(tmp_path, drain_timeout=4, warmup_interval=0.3, env={"OMP_NUM_THREADS": "1"}) as service:
        service.set_faults(**{where: "sticky"})
        if where == "request":
            answer = service.post(PHOTO)
            assert (answer.status, answer.code) == (503, "unavailable")
        else:
            service.until(lambda: service.status("/readyz") != 200)
        began = time.monotonic()
        assert service.status("/readyz") in {503, 0}
        assert service.exit_code() == 1
        assert time.monotonic() - began < 5
        assert any("illegal memory access" in line for line in service.log_messages("INFO"))


@pytest.mark.process
def test_a_named_device_that_is_missing_ends_the_start_with_one_line_that_says_so(tmp_path: Path) -> None:
    with live(tmp_path, ready=False, faults={"load": "no device"}) as service:
        assert service.exit_code() == 2
        [line] = service.log_messages("CRITICAL")
        assert line.startswith("cannot start")
        assert "INSPYRENET_DEVICE=cuda:7" in line
        assert "Traceback" not in service.log.read_text()
