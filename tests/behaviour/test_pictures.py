"""Pictures as real ones come: what a client gets for files that say unusual things about themselves."""

from __future__ import annotations

import json
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from service.engines.protocol import RGB, Alpha
from tests.support import declared, photos
from tests.support.declared import DECLARED
from tests.support.running_service import Start
from tests.support.scripted_engine import ScriptedEngine
from tests.support.tiff_files import chained, tiff_file


def everything(image: RGB) -> Alpha:
    return np.ones(image.shape[:2], np.float32)


def nothing(image: RGB) -> Alpha:
    return np.zeros(image.shape[:2], np.float32)


def as_shown(answer: bytes) -> npt.NDArray[np.uint8]:
    """An answer as a viewer shows it: its colours in sRGB."""
    with Image.open(BytesIO(answer)) as image:
        image.load()
    icc = image.info.get("icc_profile")
    if icc is None or image.mode != "RGB":
        return np.asarray(image)
    shown = ImageCms.profileToProfile(
        image,
        ImageCms.ImageCmsProfile(BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    assert shown is not None
    return np.asarray(shown)


async def test_every_declared_colour_reaches_the_answer(start: Start) -> None:
    engine = ScriptedEngine()
    service = await start(engine)
    engine.on_infer = everything
    for (container, declaration), case in DECLARED.items():
        status, body, _ = await service.post(case.make(), "/process?output=white")
        assert status == 200, (container, declaration, body)
        with Image.open(BytesIO(body)) as image:
            assert ("icc_profile" in image.info) is case.icc, (container, declaration)
            pixels = np.asarray(image.convert("RGB")).astype(float)
        assert np.abs(pixels[declared.IN_SUBJECT] - case.subject).max() <= case.tolerance, (
            container,
            declaration,
        )


@pytest.mark.parametrize("answer", ["png", "webp", "jpeg", "avif"])
@pytest.mark.parametrize(
    ("output", "colour"),
    [("%23336699", (51, 102, 153)), ("green", (120, 255, 155)), ("white", (255, 255, 255))],
)
async def test_a_colour_that_a_client_asks_for_is_shown_as_that_colour(
    start: Start, output: str, colour: tuple[int, int, int], answer: str
) -> None:
    engine = ScriptedEngine()
    service = await start(engine)
    engine.on_infer = nothing
    data = photos.save(declared.scene(), "JPEG", icc_profile=declared.P3)
    status, body, _ = await service.post(data, f"/process?output={output}&format={answer}")
    assert status == 200
    assert np.abs(as_shown(body)[declared.IN_SUBJECT].astype(int) - colour).max() <= 3


async def test_a_white_subject_on_clear_ground_can_be_seen_by_the_network(start: Start) -> None:
    engine = ScriptedEngine()
    service = await start(engine)
    rgba = np.full((60, 80, 4), 255, np.uint8)
    rgba[..., 3] = 0
    rgba[20:40, 20:60, 3] = 255
    status, body, _ = await service.post(photos.save(rgba, "PNG"))
    assert status == 200
    with Image.open(BytesIO(body)) as image:
        cut_out = np.asarray(image)
    assert (cut_out[20:40, 20:60] == 255).all(), "the subject is kept, and white"
    assert (cut_out[..., 3] <= rgba[..., 3]).all()


async def test_a_picture_in_which_everything_is_clear_gives_an_answer_that_is(start: Start) -> None:
    service = await start()
    status, body, _ = await service.post(photos.save(np.zeros((20, 30, 4), np.uint8), "PNG"))
    assert status == 200
    with Image.open(BytesIO(body)) as image:
        assert image.getchannel("A").getextrema() == (0, 0)


async def test_a_raw_file_is_a_415_that_says_what_to_send(start: Start) -> None:
    service = await start()
    thumbnail = tiff_file(np.zeros((12, 16, 3), np.uint8), photometric=2, fields={254: (4, [1])})
    sensor = tiff_file(np.zeros((60, 80, 1), np.uint16), photometric=32803, bits=16)
    for data in (chained(thumbnail, sensor), b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(99)):
        status, body, _ = await service.post(data)
        assert status == 415
        error = json.loads(body)["error"]
        assert error["code"] == "unsupported_type"
        assert "raw file" in error["message"]
        assert "JPEG" in error["message"]


async def test_a_jpeg_without_its_end_is_served_and_one_cut_short_is_a_422(start: Start) -> None:
    service = await start()
    data = photos.save(photos.photograph(), "JPEG")
    assert (await service.post(data[:-2]))[0] == 200
    assert (await service.post(data[: len(data) * 3 // 4]))[0] == 422
