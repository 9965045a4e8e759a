"""`/warmup`, `/readyz`, `/livez` and the metrics agree with each other, in health and during every failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from service.engines.protocol import DeviceError, OutOfMemory, WeightsUnavailable
from tests.support.running_service import Service, Start
from tests.support.scripted_engine import Hold, ScriptedEngine, disc

EARLIER_SERVICES_KEYS = {
    "status", "message", "model_ready", "container_ready", "total_time", "load_time", "process_time", "endpoint",
    "timestamp",
}  # fmt: skip
OUR_KEYS = {
    "state", "outcome", "engine", "device", "precision", "resize", "image_size", "model_input_size",
    "consecutive_failures", "last_success_age_seconds", "interval_seconds",
}  # fmt: skip


async def ask(
    service: Service, path: str = "/warmup", method: str = "GET"
) -> tuple[int, dict[str, Any], Any]:
    async with service.client.request(method, path) as response:
        return response.status, await response.json(), response.headers


async def statuses(service: Service) -> tuple[int, int, int]:
    """/warmup, /readyz, /livez."""
    return (await ask(service))[0], (await ask(service, "/readyz"))[0], (await ask(service, "/livez"))[0]


async def test_a_ready_service_says_so_everywhere(start: Start) -> None:
    service = await start()
    assert await statuses(service) == (200, 200, 200)
    _, answer, _ = await ask(service)
    assert answer.keys() >= EARLIER_SERVICES_KEYS | OUR_KEYS
    assert (answer["status"], answer["state"], answer["outcome"]) == ("success", "ready", "success")
    assert answer["message"] == "Warmup completed successfully"
    assert answer["model_ready"] is True
    assert answer["engine"] == "inspyrenet"
    assert answer["image_size"] == answer["model_input_size"] == [64, 64]
    assert answer["last_success_age_seconds"] >= 0
    assert service.value("ready") == service.value("warmup_success") == 1
    assert service.value("warmup_runs_total", outcome="success") == 1
    assert service.value("http_requests_total", method="POST", route="/process", code="200") == 0


async def test_the_status_is_200_with_the_body_of_warmup_in_every_state(start: Start) -> None:
    engine, hold = ScriptedEngine(), Hold()
    engine.on_load = lambda: (hold(np.zeros((1, 1, 3), np.uint8)), None)[1]
    service = await start(engine, wait=False)
    await service.until(hold.reached.is_set)
    assert (await statuses(service))[0] == 503
    status, answer, headers = await ask(service, "/status")
    assert (status, answer["state"], "Retry-After" in headers) == (200, "loading", False)
    assert answer["start_seconds"] >= answer["phase_seconds"] >= 0
    assert answer["expected_seconds"] > 0
    hold.release.set()
    await service.ready()
    status, answer, _ = await ask(service, "/status")
    assert (status, answer["state"], answer["start_seconds"]) == (200, "ready", None)
    assert answer.keys() == (await ask(service))[1].keys()


async def test_a_loading_service_is_alive_and_names_the_phase_of_the_load(start: Start) -> None:
    engine, hold = ScriptedEngine(), Hold()
    engine.on_load = lambda: (hold(np.zeros((1, 1, 3), np.uint8)), None)[1]
    service = await start(engine, wait=False)
    await service.until(hold.reached.is_set)
    await asyncio.sleep(0)
    assert await statuses(service) == (503, 503, 200)
    _, answer, headers = await ask(service)
    assert (answer["status"], answer["state"]) == ("pending", "loading")
    assert "device" in answer["message"]
    assert headers["Retry-After"]
    hold.release.set()
    await service.ready()
    assert await statuses(service) == (200, 200, 200)


async def test_a_request_posted_to_a_cold_service_waits_and_gets_its_picture(
    start: Start, photo: bytes
) -> None:
    engine, hold = ScriptedEngine(), Hold()
    engine.on_load = lambda: (hold(np.zeros((1, 1, 3), np.uint8)), None)[1]
    service = await start(engine, wait=False)
    waiting = asyncio.create_task(service.post(photo))
    await service.until(hold.reached.is_set)
    await service.until(lambda: service.admission.taken == 1)
    assert not waiting.done()
    hold.release.set()
    assert (await waiting)[0] == 200
    assert engine.seen == [(64, 64), (40, 30)], "the probe comes first and the request next"


async def test_a_request_to_a_cold_service_gets_a_504_at_its_deadline(start: Start, photo: bytes) -> None:
    engine, hold = ScriptedEngine(), Hold()
    engine.on_load = lambda: (hold(np.zeros((1, 1, 3), np.uint8)), None)[1]
    service = await start(engine, wait=False, request_timeout=0.2)
    assert (await service.post(photo))[0] == 504
    hold.release.set()


async def test_a_service_without_weights_says_why_and_becomes_ready_once_they_appear(
    start: Start,
) -> None:
    engine = ScriptedEngine()
    missing = True

    def prepare() -> None:
        if missing:
            raise WeightsUnavailable("there is no checkpoint at /models/ckpt_base.pth; put it there")

    engine.on_prepare = prepare
    service = await start(engine, wait=False)
    async with asyncio.timeout(20):
        while "ckpt_base.pth" not in (answer := (await ask(service))[1])["message"]:
            pass
    assert await statuses(service) == (503, 503, 200)
    assert (answer["state"], answer["reason_code"], answer["model_ready"]) == (
        "load_failed",
        "load_failed",
        False,
    )
    assert service.value("warmup_success") == 0
    missing = False
    await service.ready()
    assert await statuses(service) == (200, 200, 200)


FAULTS: list[tuple[str, Callable[[Any], Any], str]] = [
    ("constant", lambda image: np.full(image.shape[:2], 0.5, np.float32), "bad_output"),
    ("nan", lambda image: np.full(image.shape[:2], np.nan, np.float32), "bad_output"),
    ("one nan", lambda image: np.where(disc(image) == 1, np.float32("nan"), disc(image)), "bad_output"),
    ("out of range", lambda image: disc(image) * 2, "bad_output"),
    ("wrong size", lambda image: disc(image)[:-1], "bad_output"),
    ("another picture's", lambda image: 1 - disc(image), "bad_output"),
]


def raising(make_error: Callable[[], Exception]) -> Callable[[Any], Any]:
    def fail(_: Any) -> Any:
        raise make_error()

    return fail


FAULTS += [
    ("out of memory", raising(lambda: OutOfMemory("no room")), "oom"),
    ("device", raising(lambda: DeviceError("lost", sticky=False)), "device_error"),
    ("anything", raising(lambda: RuntimeError("boom")), "error"),
    ("a timeout of its own", raising(lambda: TimeoutError()), "error"),
]


@pytest.mark.parametrize(("name", "fault", "outcome"), FAULTS, ids=[fault[0] for fault in FAULTS])
async def test_a_failed_probe_makes_warmup_500_and_is_counted_until_one_passes(
    start: Start, name: str, fault: Callable[[Any], Any], outcome: str
) -> None:
    engine = ScriptedEngine()
    service = await start(engine, warmup_interval=0.01)
    engine.on_infer = fault
    await service.until(lambda: service.value("warmup_runs_total", outcome=outcome) >= 1)
    warmup, _, livez = await statuses(service)
    assert (warmup, livez) == (500, 200)
    _, answer, _ = await ask(service)
    assert (answer["status"], answer["outcome"]) == ("error", outcome)
    assert answer["error_type"]
    assert service.value("warmup_success") == 0
    assert service.value("warmup_consecutive_failures") >= 1
    engine.on_infer = disc
    await service.until(lambda: service.value("warmup_success") == 1)
    assert await statuses(service) == (200, 200, 200)
    assert service.value("warmup_consecutive_failures") == 0


async def test_three_failures_in_a_row_make_the_service_unready(start: Start) -> None:
    engine = ScriptedEngine()
    service = await start(engine, warmup_interval=0.01)
    engine.on_infer = raising(lambda: RuntimeError("boom"))
    await service.until(lambda: service.value("warmup_consecutive_failures") >= 3)
    assert await statuses(service) == (500, 503, 200)
    assert (await ask(service))[1]["state"] == "failing"
    assert service.value("ready") == 0


async def test_a_first_failure_is_reported_but_leaves_the_service_ready(start: Start) -> None:
    engine, hold = ScriptedEngine(), Hold()
    service = await start(engine, warmup_interval=0.01)

    def fail_once(image: Any) -> Any:
        if image.shape[:2] != (64, 64):  # a proof at a real size
            return disc(image)
        engine.on_infer = hold  # the next probe is held, so that the failure stays the last result
        raise RuntimeError("boom")

    engine.on_infer = fail_once
    await service.until(lambda: service.value("warmup_consecutive_failures") == 1)
    assert await statuses(service) == (500, 200, 200)
    assert (await ask(service))[1]["state"] == "degraded"
    assert (service.value("warmup_success"), service.value("ready")) == (0, 1)
    hold.release.set()


async def test_an_unsafe_canary_size_as_in_the_incident_is_raised_and_reported(start: Start) -> None:
    service = await start(warmup_size=16)
    _, answer, _ = await ask(service)
    assert answer["image_size"] == [32, 32]
    assert answer["configured_warmup_size"] == 16
    assert await statuses(service) == (200, 200, 200)


async def test_a_canary_that_crashes_as_in_the_incident_never_makes_warmup_200(start: Start) -> None:
    def as_the_package_rounded_the_incidents_canary(width: int, height: int) -> tuple[int, int]:
        return round(16 / 32) * 32, round(16 / 32) * 32

    engine = ScriptedEngine()
    engine.on_size = as_the_package_rounded_the_incidents_canary
    service = await start(engine, wait=False)
    await service.until(lambda: service.value("warmup_runs_total", outcome="bad_size") >= 1)
    assert await statuses(service) == (500, 503, 200)
    _, answer, _ = await ask(service)
    assert (answer["status"], answer["outcome"]) == ("error", "bad_size")
    assert "height and width must be > 0" in answer["message"]
    assert service.value("warmup_success") == service.value("ready") == 0


async def test_a_post_to_warmup_waits_for_the_first_probe(start: Start) -> None:
    engine, hold = ScriptedEngine(), Hold()
    engine.on_infer = hold
    service = await start(engine, wait=False)
    asked = [asyncio.create_task(ask(service, method="POST")) for _ in range(3)]
    await service.until(hold.reached.is_set)
    hold.release.set()
    assert [(await task)[0] for task in asked] == [200, 200, 200]
    assert len(engine.seen) == 1, "all three requests joined one probe"


async def test_a_client_that_leaves_a_post_to_warmup_cancels_nothing(start: Start) -> None:
    engine, hold = ScriptedEngine(), Hold()
    engine.on_infer = hold
    service = await start(engine, wait=False)
    asked = asyncio.create_task(ask(service, method="POST"))
    await service.until(hold.reached.is_set)
    asked.cancel()
    hold.release.set()
    await service.ready()


async def test_probes_get_through_a_full_queue(start: Start, photo: bytes) -> None:
    engine = ScriptedEngine()
    service = await start(engine, queue_size=2, warmup_interval=0.01)
    before = service.value("warmup_runs_total", outcome="success")
    stop = asyncio.Event()

    async def press() -> None:
        while not stop.is_set():
            await service.post(photo)

    tasks = [asyncio.create_task(press()) for _ in range(6)]
    await service.until(lambda: service.value("warmup_runs_total", outcome="success") >= before + 3)
    stop.set()
    await asyncio.gather(*tasks)


async def test_a_pass_at_the_size_of_a_photograph_precedes_ready_on_a_gpu(start: Start) -> None:
    engine = ScriptedEngine()
    engine.device = "cuda:0"
    service = await start(engine)
    assert engine.seen == [(64, 64), (256, 256)]
    assert service.value("ready") == 1


async def test_the_engine_runs_only_in_the_gpu_thread(start: Start, photo: bytes) -> None:
    service = await start()
    await service.post(photo)
    assert isinstance(service.engine, ScriptedEngine)
    assert service.engine.threads == {"gpu"}


async def test_requests_wait_again_once_a_load_has_succeeded_after_a_failed_one(
    start: Start, photo: bytes
) -> None:
    engine, hold = ScriptedEngine(), Hold()
    failures = [RuntimeError("no network")]

    def load() -> None:
        if failures:
            raise failures.pop()

    engine.on_load, engine.on_infer = load, hold
    service = await start(engine, wait=False)
    await service.until(lambda: service.value("warmup_runs_total", outcome="error") == 1)
    assert (await service.post(photo))[0] == 503
    await service.until(hold.reached.is_set)
    waiting = asyncio.create_task(service.post(photo))
    await service.until(lambda: service.admission.taken == 1)
    assert not waiting.done()
    hold.release.set()
    assert (await waiting)[0] == 200
