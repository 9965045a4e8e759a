"""A container whose memory is below what the settings allow: larger pictures are refused in words, and nothing dies."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support.photos import encoded
from tests.support.running_service import Start
from tests.support.scripted_engine import Hold, ScriptedEngine

SMALL, LARGE, WAITING = encoded(300, 200), encoded(1500, 1000), encoded(900, 600)


@pytest.fixture(autouse=True)
def container(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine says it is InSPyReNet in fp32: 1.4 GB before any picture."""
    monkeypatch.setattr("service.app.memory_limit", lambda: 1_450_000_000)


async def test_a_picture_that_does_not_fit_is_a_422_in_words_and_a_metric_says_what_does(
    start: Start,
) -> None:
    engine = ScriptedEngine()
    engine.on_size = lambda width, height: (min(width, 64), min(height, 64))
    service = await start(engine)
    assert (await service.post(SMALL))[0] == 200
    largest = service.value("largest_photograph_pixels")
    assert 1_000_000 < largest < 2_100_000
    status, body, _ = await service.post(encoded(2000, 1200))
    assert status == 422
    assert "takes more memory than this service has" in json.loads(body)["error"]["message"]


async def test_pictures_that_fit_alone_wait_their_turn_outside(start: Start) -> None:
    engine, hold = ScriptedEngine(), Hold()
    engine.on_size = lambda width, height: (min(width, 64), min(height, 64))
    service = await start(engine)
    engine.on_infer = hold
    held = asyncio.create_task(service.post(LARGE))
    await service.until(hold.reached.is_set)
    beside = [asyncio.create_task(service.post(WAITING)) for _ in range(4)]
    await service.until(lambda: any(task.done() for task in beside))
    refused = next(task.result() for task in beside if task.done())
    assert refused[0] == 429
    assert refused[2]["Retry-After"]
    assert "no memory for this one" in refused[1].decode()
    hold.release.set()
    assert (await held)[0] == 200
    await asyncio.gather(*beside)


async def test_a_picture_that_waited_for_the_engine_is_judged_when_it_is_loaded(start: Start) -> None:
    engine, hold = ScriptedEngine(), Hold()
    engine.on_size = lambda width, height: (min(width, 64), min(height, 64))
    engine.on_load = lambda: hold.release.wait(20) and None
    service = await start(engine, wait=False)
    waiting = asyncio.create_task(service.post(encoded(2000, 1200)))
    await service.until(lambda: service.admission.owed == 1)
    hold.release.set()
    assert (await waiting)[0] == 422


async def test_an_engine_that_could_serve_no_picture_ends_the_start_in_words(
    start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("service.app.memory_limit", lambda: 1 << 30)
    service = await start(wait=False)
    await service.until(lambda: service.parts.lifecycle.draining)
    assert service.parts.lifecycle.exit_code == 2
    assert (
        "the memory limit of this container is 1.1 GB, and this engine needs 1.4 GB"
        in capsys.readouterr().out
    )
