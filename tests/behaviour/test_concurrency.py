"""Sixteen clients at once get, byte for byte, the same answers as one client that waits for each answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import cycle, islice

import pytest
import skimage.data
from PIL import Image

from service.engines.build import build_engine
from service.engines.protocol import Engine
from tests.support import photos
from tests.support.running_service import Service, Start
from tests.support.scripted_engine import ScriptedEngine

CLIENTS = 16
WISHES = ["", "?output=mask", "?output=blur&format=jpeg", "?format=webp", "?output=overlay", "?threshold=0.4"]


def photographs(count: int, side: int) -> list[bytes]:
    """Different photographs in different formats, none wider than ``side``."""
    found = []
    scenes = [getattr(skimage.data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")]
    for i, (scene, name) in enumerate(islice(zip(cycle(scenes), cycle(["JPEG", "PNG", "WEBP"])), count)):
        image = Image.fromarray(scene).crop((i, 2 * i, i + 300, 2 * i + 200))
        found.append(photos.save(image.resize((side, side * 2 // 3 - i % 5)), name))
    assert len(set(found)) == count
    return found


async def in_turn(service: Service, pictures: list[bytes]) -> list[bytes]:
    return [await answer(service, i, picture) for i, picture in enumerate(pictures)]


async def at_once(service: Service, pictures: list[bytes]) -> list[bytes]:
    waiting, answers = list(enumerate(pictures)), {}

    async def client() -> None:
        while waiting:
            i, picture = waiting.pop()
            answers[i] = await answer(service, i, picture)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return [answers[i] for i in range(len(pictures))]


async def answer(service: Service, i: int, picture: bytes) -> bytes:
    status, body, _ = await service.post(picture, f"/process{WISHES[i % len(WISHES)]}")
    assert status == 200
    return body


def u2netp() -> Engine:
    return build_engine(
        engine="u2netp", mode="base", resize="dynamic", weights="official", device="cpu", precision="fp32",
        max_model_pixels=1 << 20,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "count"),
    [
        pytest.param(ScriptedEngine, 50, id="scripted"),
        pytest.param(u2netp, 8, id="u2netp", marks=pytest.mark.photographs),
    ],
)
async def test_photographs_sent_together_get_the_same_bytes_as_one_by_one(
    start: Start, make: Callable[[], Engine], count: int
) -> None:
    service = await start(make(), warmup_interval=0.5)  # with probes in between
    pictures = await asyncio.to_thread(photographs, count, 90)
    alone = await in_turn(service, pictures)
    assert len(set(alone)) == count
    assert await at_once(service, pictures) == alone
