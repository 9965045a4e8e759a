"""The real network with dummy weights in the real service: cold, warm, and with weights that appear later."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from skimage import data

from service.engines.build import build_engine
from service.engines.protocol import Engine
from tests.support import photos
from tests.support.running_service import Service, Start
from tests.support.waiting import until

pytestmark = [pytest.mark.network, pytest.mark.timeout(300)]


def engine(weights: Path) -> Engine:
    """``fast`` and ``static``: the real network at its smallest."""
    return build_engine(
        engine="inspyrenet",
        mode="fast",
        resize="static",
        weights=str(weights),
        device="cpu",
        precision="fp32",
        max_model_pixels=4_194_304,
    )


async def ask(service: Service, path: str) -> tuple[int, dict[str, Any]]:
    async with service.client.get(path) as response:
        return response.status, await response.json()


async def until_message(service: Service, words: str) -> dict[str, Any]:
    answer: dict[str, Any] = {}

    async def has_message() -> bool:
        nonlocal answer
        answer = (await ask(service, "/warmup"))[1]
        return words in answer["message"]

    await until(has_message, seconds=120)
    return answer


async def until_ready(service: Service) -> None:
    await until(lambda: service.parts.supervisor.ready, seconds=200)


async def test_a_service_is_alive_at_once_ready_after_its_first_probe_and_keeps_the_size_of_a_photograph(
    start: Start, dummy_checkpoint: Callable[[str], Path]
) -> None:
    checkpoint = await asyncio.to_thread(dummy_checkpoint, "fast")
    service = await start(await asyncio.to_thread(engine, checkpoint), wait=False, request_timeout=200)
    photo = await asyncio.to_thread(
        lambda: photos.save(Image.fromarray(data.astronaut()).resize((3000, 2000)), "JPEG", quality=90)
    )
    cold = asyncio.create_task(service.post(photo))
    assert (await ask(service, "/livez"))[0] == 200
    assert (await ask(service, "/readyz"))[0] == 503
    status, answer = await ask(service, "/warmup")
    assert (status, answer["state"], answer["model_ready"]) == (503, "loading", False)
    await until_ready(service)
    status, answer = await ask(service, "/warmup")
    assert status == 200
    assert answer["model_input_size"] == [384, 384]
    status, body, headers = await cold
    assert status == 200, "a request posted to a cold service waits and gets its picture"
    assert headers["X-Engine"] == "inspyrenet"
    image = await asyncio.to_thread(lambda: Image.open(io.BytesIO(body)))
    assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (3000, 2000))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path, good: None, "does not exist|missing|no such|not there|there is no"),
        (lambda path, good: path.write_bytes(good.read_bytes()[: 1 << 20]), "truncated|damaged|incomplete"),
    ],
    ids=["missing", "truncated"],
)
async def test_weights_that_cannot_be_used_are_explained_and_good_ones_are_found_when_they_appear(
    start: Start,
    dummy_checkpoint: Callable[[str], Path],
    tmp_path: Path,
    make: Callable[[Path, Path], object],
    words: str,
) -> None:
    good = await asyncio.to_thread(dummy_checkpoint, "fast")
    path = tmp_path / "weights.pth"
    await asyncio.to_thread(make, path, good)
    service = await start(await asyncio.to_thread(engine, path), wait=False, warmup_interval=1)
    answer = await until_message(service, "could not be loaded")
    assert any(word.lower() in answer["message"].lower() for word in words.split("|")), answer["message"]
    assert (await ask(service, "/warmup"))[0] == 503
    assert (await ask(service, "/livez"))[0] == 200
    assert (await ask(service, "/readyz"))[0] == 503
    assert (await service.post(b"x" * 10))[0] == 503
    assert service.value("warmup_runs_total", outcome="weights_unavailable") >= 1

    def appear() -> None:
        shutil.copy(good, part := path.with_suffix(".part"))
        os.replace(part, path)

    await asyncio.to_thread(appear)
    await until_ready(service)
    assert (await ask(service, "/warmup"))[0] == 200
