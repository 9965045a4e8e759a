"""What a picture's header says decides whether it is let in: its size, and the time that pictures of its size take."""

from __future__ import annotations

import asyncio
import json
import struct
import zlib
from collections import Counter

import pytest

from service.engines.protocol import RGB, Alpha
from service.errors import Unavailable
from service.http.slow_clients import SlowClients
from service.inference import service_time
from service.inference.service_time import Stage, Work
from tests.behaviour.test_overload import taking
from tests.support.photos import encoded
from tests.support.raw_http import head, read_answer
from tests.support.running_service import Service, Start
from tests.support.scripted_engine import Hold, ScriptedEngine

SMALL, LARGE = (20, 20), (200, 200)


@pytest.fixture(autouse=True)
def every_pixel_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sizes in these tests are small, and stand for large ones."""
    monkeypatch.setattr(service_time, "FLOOR_PIXELS", 1)


def slow_when_large(image: RGB) -> Alpha:
    return taking(0.4 if image.shape[0] == LARGE[1] else 0.004)(image)


async def statuses(service: Service, pictures: list[bytes]) -> Counter[int]:
    answers = await asyncio.gather(*(service.post(picture) for picture in pictures))
    return Counter(status for status, _, _ in answers)


@pytest.mark.timing
async def test_small_pictures_are_not_refused_because_large_ones_came_before(start: Start) -> None:
    engine = ScriptedEngine()
    service = await start(engine, request_timeout=2.0)
    engine.on_infer = slow_when_large
    for _ in range(5):
        assert (await service.post(encoded(*LARGE)))[0] == 200
    assert await statuses(service, [encoded(*SMALL)] * 16) == {200: 16}


@pytest.mark.timing
async def test_large_pictures_after_small_ones_are_refused_instead_of_timing_out(start: Start) -> None:
    engine = ScriptedEngine()
    service = await start(engine, request_timeout=2.0)
    engine.on_infer = slow_when_large
    for _ in range(5):
        assert (await service.post(encoded(*SMALL)))[0] == 200
    seen = await statuses(service, [encoded(*LARGE)] * 12)
    assert set(seen) == {200, 429}, seen
    assert (await service.post(encoded(*LARGE)))[0] == 200, "one at a time is always let in, and measured"


def claimed_png(width: int, height: int) -> bytes:
    """The first bytes of a PNG file that says it has this size."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 1_000_000)
        + b"IDAT"
    )


FORM = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'


@pytest.mark.parametrize(
    ("prefix", "content_type"),
    [(b"", "image/png"), (FORM, "multipart/form-data; boundary=b")],
    ids=["raw", "form"],
)
async def test_a_picture_of_too_many_pixels_is_refused_while_its_body_is_on_the_way(
    start: Start, prefix: bytes, content_type: str
) -> None:
    service = await start(max_pixels=5000)
    reader, writer = await asyncio.open_connection(service.client.host, service.client.port)
    writer.write(head(1_000_000, f"Content-Type: {content_type}") + prefix + claimed_png(200, 100))
    if prefix:
        writer.write(bytes(600_000))  # aiohttp hands over a piece of a part when the next piece is there
    async with asyncio.timeout(5):
        answer = await read_answer(reader)
    assert answer is not None
    assert answer.status == 422
    assert "200 x 100" in json.loads(answer.body)["error"]["message"]
    writer.close()
    await service.until(lambda: service.admission.taken == 0)


async def test_a_newcomer_that_is_refused_for_its_wait_costs_no_slow_upload_its_place(start: Start) -> None:
    """Pictures take 30 s each, and two of them are in the queue: a third one would not be served within 100 s."""
    engine, hold = ScriptedEngine(), Hold()
    service = await start(engine, queue_size=2, request_timeout=100.0, slow_clients=SlowClients(min_age=0.0))
    picture = encoded()
    for _ in range(3):
        service.admission.times.note(Work((40, 30), (40, 30)), Stage.INFER, 30.0)
    reader, writer = await asyncio.open_connection(service.client.host, service.client.port)
    writer.write(head(len(picture)) + picture[:10])
    await service.until(lambda: service.admission.taken == 1)
    engine.on_infer = hold
    first = asyncio.create_task(service.post(picture))
    await service.until(hold.reached.is_set)
    second = asyncio.create_task(service.post(picture))
    await service.until(lambda: service.admission.full and service.admission.owed == 2)
    assert (await service.post(picture))[0] == 429
    assert service.value("rejections_total", reason="timeout") == 0, "the upload was not evicted"
    hold.release.set()
    await asyncio.gather(first, second)
    writer.write(picture[10:])
    answer = await read_answer(reader)
    assert answer is not None
    assert answer.status == 200
    writer.close()


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def claimed_avif(width: int, height: int) -> bytes:
    """The first bytes of an AVIF file that says its primary picture has this size."""
    extent = box(b"ispe", struct.pack(">III", 0, width, height))
    first_item = struct.pack(">IIHBB", 0, 1, 1, 1, 1)  # one item, number 1, with one property: the first
    properties = box(b"iprp", box(b"ipco", extent), box(b"ipma", first_item))
    primary = box(b"pitm", struct.pack(">IH", 0, 1))
    return box(b"ftyp", b"avif", bytes(4), b"mif1") + box(b"meta", bytes(4), primary, properties)


async def test_a_picture_that_cannot_be_decoded_in_time_is_refused_in_words_while_its_body_is_on_the_way(
    start: Start,
) -> None:
    """Two AVIF of 12 megapixels took 30 s, so one of 48 takes two minutes."""
    service = await start(request_timeout=60.0)
    for _ in range(2):
        service.admission.times.note(Work(size=(4000, 3000), input_format="AVIF"), Stage.DECODE, 30.0)
    reader, writer = await asyncio.open_connection(service.client.host, service.client.port)
    writer.write(head(1_000_000) + claimed_avif(8000, 6000))
    async with asyncio.timeout(5):
        answer = await read_answer(reader)
    assert answer is not None
    assert answer.status == 422
    error = json.loads(answer.body)["error"]
    assert error["code"] == "bad_dimensions"
    assert error["message"].startswith(
        "The image is 8000 x 6000 pixels. At the speed that was measured here it takes 120 s, and a request may take "
        "60 s. Send it with at most "
    )
    assert "retry-after" not in answer.headers
    assert service.value("rejections_total", reason="dimensions") == 1
    writer.close()


async def test_a_size_that_is_refused_for_the_time_being_is_refused_by_the_header(start: Start) -> None:
    service = await start()
    service.admission.limit_sizes(
        lambda size: Unavailable("The device failed on it.") if size[0] > 100 else None
    )
    assert (await service.post(encoded(200, 50)))[0] == 503
    assert (await service.post(encoded(50, 200)))[0] == 200


async def test_requests_of_one_key_leave_half_of_the_places_to_another_that_waits(start: Start) -> None:
    engine, hold = ScriptedEngine(), Hold()
    service = await start(engine, queue_size=3, api_keys="one,two")
    engine.on_infer = hold
    picture = encoded()

    async def post(key: str) -> int:
        headers = {"Content-Type": "image/png", "X-Api-Key": key}
        return (await service.post(picture, headers=headers))[0]

    running = asyncio.create_task(post("one"))
    await service.until(hold.reached.is_set)
    held = [asyncio.create_task(post("one")) for _ in range(3)]
    await service.until(lambda: service.admission.full)
    assert await post("two") == 429
    held.pop().cancel()
    await service.until(lambda: not service.admission.full)
    assert await post("one") == 429
    other = asyncio.create_task(post("two"))
    await service.until(lambda: service.admission.full)
    hold.release.set()
    assert await asyncio.gather(running, *held, other) == [200] * 4
