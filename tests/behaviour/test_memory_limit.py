"""A container whose memory is below what the settings allow: larger pictures are refused in words, and nothing dies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from io import BytesIO

import pytest
from aiohttp import FormData
from PIL import Image

from service.engines.memory_needs import INSPYRENET, INSPYRENET_ON_GPU
from service.imaging.header import HEADER_BYTES, read_header
from tests.support.photos import photograph, save
from tests.support.running_service import Start
from tests.support.scripted_engine import Hold, ScriptedEngine

IDLE = INSPYRENET["fp32"].idle


def limit_memory(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr("service.app.memory_limit", lambda: limit)


def plain(width: int, height: int) -> bytes:
    """A PNG of one colour, which takes as much memory as any other."""
    return save(Image.new("RGB", (width, height), (60, 120, 180)), "PNG")


def size_at_its_end(width: int, height: int) -> bytes:
    """A compressed TIFF: its directory is behind the pixels."""
    file = save(photograph(width, height), "TIFF", compression="tiff_lzw")
    size_unknown = read_header(file[:HEADER_BYTES])
    assert size_unknown is not None
    assert size_unknown.size is None
    return file


SMALL, WAITING, LARGE, LARGER = plain(300, 200), plain(900, 600), plain(1500, 1000), plain(1800, 1250)
TOO_LARGE, LARGEST = plain(2000, 1200), plain(2500, 2000)


@pytest.fixture(autouse=True)
def container(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine says it is InSPyReNet in fp32; beside it there is room for two megapixels at work."""
    limit_memory(monkeypatch, IDLE + 100_000_000)


async def test_a_picture_that_does_not_fit_is_a_422_in_words_and_a_metric_says_what_does(
    start: Start,
) -> None:
    engine = ScriptedEngine()
    engine.on_size = lambda width, height: (min(width, 64), min(height, 64))
    service = await start(engine)
    assert (await service.post(SMALL))[0] == 200
    largest = service.value("largest_photograph_pixels")
    assert 1_000_000 < largest < 2_100_000
    status, body, _ = await service.post(TOO_LARGE)
    assert status == 422
    assert "takes more memory than this service has" in json.loads(body)["error"]["message"]
    # The size of such a file does not stand in its first bytes.
    small, large = [await asyncio.to_thread(size_at_its_end, *size) for size in ((900, 600), (2000, 1200))]
    assert (await service.post(BytesIO(small)))[0] == 200
    assert (await service.post(BytesIO(large)))[0] == 422
    assert service.value("stage_duration_seconds_count", stage="decode") == 2, (
        "the large ones are not decoded"
    )
    assert (await service.post(LARGE))[0] == 200
    assert (await service.post(LARGER))[0] == 422
    assert (await service.post(LARGER, path="/process?output=mask"))[0] == 200, "a mask takes less"
    status, _, _ = await service.post(LARGE, path="/process?format=avif")
    assert status == 422, "its encoder takes more"
    two = FormData()
    for name, picture in (("image", SMALL), ("background", LARGEST)):
        two.add_field(name, picture, filename="a.png")
    status, body, _ = await service.post(two, path="/process?output=background", headers={})
    assert status == 422
    assert "300 x 200 pixels and its background of 2500 x 2000" in json.loads(body)["error"]["message"]


async def test_the_length_of_a_body_is_no_reason_to_refuse_its_picture_for_good(start: Start) -> None:
    """Nobody says how long a chunked body is. The bytes of a file that is there count."""
    engine = ScriptedEngine()
    engine.on_size = lambda width, height: (min(width, 64), min(height, 64))
    service = await start(engine)

    async def chunks() -> AsyncIterator[bytes]:
        yield SMALL[:100]
        yield SMALL[100:]

    assert (await service.post(chunks()))[0] == 200
    status, body, _ = await service.post(BytesIO(SMALL + bytes(24_000_000)))
    assert status == 422
    assert "A file of 24.0 MB with a picture of 300 x 200 pixels" in json.loads(body)["error"]["message"]


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
    waiting = asyncio.create_task(service.post(TOO_LARGE))
    await service.until(lambda: service.admission.owed == 1)
    hold.release.set()
    assert (await waiting)[0] == 422


async def test_of_the_pictures_that_waited_for_the_engine_the_first_that_fit_stay(start: Start) -> None:
    """Before the load it may still become one that needs less."""
    engine, hold = ScriptedEngine(), Hold()
    engine.on_size = lambda width, height: (min(width, 64), min(height, 64))
    engine.on_load = lambda: hold.release.wait(20) and None
    service = await start(engine, wait=False, device="auto", precision="auto")
    waiting = []
    for _ in range(4):
        waiting.append(asyncio.create_task(service.post(LARGE)))
        await service.until(lambda: service.admission.owed == len(waiting))
    hold.release.set()
    answers = await asyncio.gather(*waiting)
    assert [status for status, _, _ in answers] == [200, 429, 429, 429]
    assert answers[1][2]["Retry-After"]


@pytest.mark.parametrize(("setting", "says"), [({"device": "cpu", "precision": "fp32"}, False), ({}, True)])
async def test_an_engine_that_could_serve_no_picture_ends_the_start_in_words(
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    setting: dict[str, str],
    says: bool,
) -> None:
    """Before the load if the settings leave nothing open, else behind it: the load may be what kills the process."""
    loads: list[bool] = []
    engine = ScriptedEngine()
    engine.on_load = lambda: loads.append(True)
    limit_memory(monkeypatch, INSPYRENET_ON_GPU.idle + 50_000_000)
    service = await start(engine, wait=False, **setting)
    await service.until(lambda: service.parts.lifecycle.draining)
    assert service.parts.lifecycle.exit_code == 2
    assert bool(loads) is says
    said = capsys.readouterr().out
    assert "the memory limit of this container is 1.1 GB, and this engine needs 1.2 GB" in said


async def test_a_precision_that_is_settled_and_leaves_no_room_ends_the_start_too(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ScriptedEngine()
    engine.on_settle, engine.settled_precision = lambda: None, "fp32"
    limit_memory(monkeypatch, INSPYRENET_ON_GPU.idle + 50_000_000)
    service = await start(engine, wait=False)
    await service.until(lambda: service.parts.lifecycle.draining)
    assert service.parts.lifecycle.exit_code == 2
