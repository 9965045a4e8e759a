"""The wall clock is set an hour forward or back: schedules, deadlines and verdicts stay the same."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from service.inference.device_thread import DeviceThread, Kind
from tests.support.photos import encoded
from tests.support.running_service import Start
from tests.support.scripted_engine import Hold, ScriptedEngine
from tests.support.waiting import until

PHOTO = encoded()


HOUR_EITHER_WAY = pytest.mark.parametrize("hours", [1, -1], ids=["forward", "back"])


@HOUR_EITHER_WAY
async def test_a_service_stays_ready_probes_and_serves(
    start: Start, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    service = await start(warmup_interval=0.05)
    real = time.time
    before = service.value("warmup_runs_total", outcome="success")
    monkeypatch.setattr(time, "time", lambda: real() + hours * 3600)
    for path in ("/readyz", "/warmup", "/livez"):
        async with service.client.get(path) as response:
            assert response.status == 200
    async with service.client.get("/warmup") as response:
        answer = await response.json()
    assert 0 <= answer["last_success_age_seconds"] < 30
    assert answer["timestamp"] == pytest.approx(real() + hours * 3600, abs=30), (
        "the timestamp that is shown follows the wall clock"
    )
    await service.until(lambda: service.value("warmup_runs_total", outcome="success") >= before + 3)
    assert (await service.post(PHOTO))[0] == 200
    assert service.value("warmup_consecutive_failures") == 0


@pytest.mark.timing
@HOUR_EITHER_WAY
async def test_a_deadline_under_way_keeps_its_length(
    start: Start, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    engine, hold = ScriptedEngine(), Hold()
    service = await start(engine, request_timeout=1, hang_timeout=300)
    engine.on_infer = hold
    began = time.monotonic()
    posted = asyncio.create_task(service.post(PHOTO))
    await service.until(hold.reached.is_set)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + hours * 3600)
    assert service.device_thread.job_seconds < 1
    assert service.parts.stuck() is None
    assert (await posted)[0] == 504
    assert 0.9 < time.monotonic() - began < 15
    hold.release.set()
    await service.until(lambda: service.admission.taken == 0)


async def test_the_wall_clock_decides_only_the_times_that_are_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thread = DeviceThread(hang_timeout=300, load_timeout=600)
    thread.start()
    thread.open_gate()
    monkeypatch.setattr(time, "time", lambda: 12345.0)
    hold = Hold()
    running = asyncio.create_task(thread.run(lambda: hold(np.zeros((1, 1, 3), np.uint8)), kind=Kind.REQUEST))
    await until(lambda: thread.busy)
    assert thread.started_at == 12345.0
    assert 0 <= thread.job_seconds < 20
    hold.release.set()
    await running
    thread.stop()
