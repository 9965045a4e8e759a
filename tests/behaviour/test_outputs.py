"""The outputs of ``/process`` over HTTP: backgrounds, crops, places, sizes, and what headers say of the subject."""

from __future__ import annotations

from io import BytesIO
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt
import pytest
from aiohttp import FormData
from PIL import Image

from service.engines.protocol import RGB, Alpha
from service.errors import NoSubject, RegionEmpty, RegionOutside
from service.imaging.options import Length, Options, Region
from service.inference.pipeline import EncodedPicture, Progress
from service.inference.service_time import Stage, Work
from tests.support import declared, photos
from tests.support.running_service import Service, Start
from tests.support.scripted_engine import ScriptedEngine

WIDTH, HEIGHT = 80, 60
PHOTO = photos.encoded(WIDTH, HEIGHT)
BLUE = photos.save(np.full((20, 20, 3), (0, 0, 255), np.uint8), "PNG")


def a_block(image: RGB) -> Alpha:
    """A subject of 30 x 20 pixels at (10, 5), a tenth of it uncertain."""
    alpha = np.zeros(image.shape[:2], np.float32)
    alpha[5:25, 10:40] = 1
    alpha[5:7, 10:40] = 0.5
    return alpha


async def started(start: Start) -> Service:
    engine = ScriptedEngine()
    service = await start(engine)
    await service.ready()
    engine.on_infer = a_block
    return service


def form(background: bytes | None = BLUE, image: bytes = PHOTO, **fields: str) -> FormData:
    data = FormData()
    data.add_field("image", image, filename="a.png")
    if background is not None:
        data.add_field("background", background, filename="b.png")
    for name, value in fields.items():
        data.add_field(name, value)
    return data


def pixels(answer: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(BytesIO(answer)) as image:
        return np.asarray(image)


async def test_the_headers_tell_the_subjects_box_and_the_uncertain_share(start: Start) -> None:
    service = await started(start)
    _, _, headers = await service.post(PHOTO, "/process?output=mask")
    found = [headers[f"X-Foreground-{side}"] for side in ("Top", "Left", "Width", "Height")]
    assert found == ["5", "10", "30", "20"]
    assert headers["X-Uncertainty"] == f"{60 / 4800:.4f}"


async def test_the_box_is_in_upright_pixels_of_the_input_whatever_the_answers_size(start: Start) -> None:
    service = await started(start)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = photos.save(photos.orient(photos.photograph(WIDTH, HEIGHT), 6), "JPEG", exif=exif)
    for query in ("", "?crop=true&margin=10px&size=7", "?scale=100%25"):
        status, body, headers = await service.post(turned, f"/process{query}")
        assert status == 200, body
        assert (headers["X-Foreground-Left"], headers["X-Foreground-Width"]) == ("10", "30")


async def test_without_a_subject_the_box_is_all_zeros(start: Start) -> None:
    service = await started(start)
    engine = service.engine
    assert isinstance(engine, ScriptedEngine)
    engine.on_infer = lambda image: np.zeros(image.shape[:2], np.float32)
    status, _, headers = await service.post(PHOTO)
    assert status == 200
    assert {headers[f"X-Foreground-{side}"] for side in ("Top", "Left", "Width", "Height")} == {"0"}
    for query in ("crop=true", "scale=50%25", "position=center"):
        status, body, _ = await service.post(PHOTO, f"/process?{query}")
        assert status == 422
        assert b"no_subject" in body
        assert b"No subject was found" in body


async def test_a_crop_with_a_margin_has_the_size_that_follows(start: Start) -> None:
    service = await started(start)
    _, body, _ = await service.post(PHOTO, "/process?output=white&crop=true&margin=10%25+20px")
    assert pixels(body).shape == (24, 70, 3)
    _, body, _ = await service.post(PHOTO, "/process?crop=true&size=15")
    assert pixels(body).shape == (10, 15, 4)


async def test_the_subject_stands_on_the_second_picture(start: Start) -> None:
    service = await started(start)
    status, body, headers = await service.post(form(output="background", position="100%"), headers={})
    assert status == 200, body
    shown = pixels(body)
    assert shown.shape == (HEIGHT, WIDTH, 3)
    assert (shown[0, 0] == (0, 0, 255)).all()
    assert (shown[45:, 50:] == photos.photograph(WIDTH, HEIGHT)[10:25, 10:40]).all()
    assert headers["X-Foreground-Left"] == "10"


async def test_the_time_of_decoding_a_background_counts_for_no_picture(start: Start) -> None:
    """A small picture on a large background would make every picture of its format look slow."""
    service = await start()
    small = photos.save(photos.photograph(), "WEBP")
    work = Work((64, 64), (64, 64), "WEBP")
    assert (await service.post(form(image=small, output="background"), headers={}))[0] == 200
    assert service.admission.times.expected(work, Stage.DECODE) == 0
    assert (await service.post(small))[0] == 200
    assert service.admission.times.expected(work, Stage.DECODE) > 0


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_a_background_is_turned_upright_and_shown_in_its_own_colours(
    start: Start, orientation: int
) -> None:
    service = await started(start)
    upright = np.zeros((60, 80, 3), np.uint8)
    upright[:, 40:] = (200, 100, 50)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = photos.orient(upright, orientation)
    behind = photos.save(stored, "PNG", exif=exif, icc_profile=declared.P3)
    _, body, _ = await service.post(form(behind, output="background"), headers={})
    shown = pixels(body)
    assert np.abs(shown[-1, 0].astype(int)).max() <= 1
    # Display P3's (200, 100, 50) in sRGB: more red, less green and blue.
    assert np.abs(shown[-1, -1].astype(int) - (214, 94, 27)).max() <= 4


async def test_a_deep_or_grey_or_animated_background_works(start: Start) -> None:
    service = await started(start)
    deep = Image.fromarray(np.full((20, 20), 40_000, np.uint16))
    for behind in (photos.save(deep, "PNG"), photos.encoded(9, 9, "GIF"), photos.encoded(1, 1, mode="L")):
        status, body, _ = await service.post(form(behind, output="background"), headers={})
        assert status == 200, body


@pytest.mark.parametrize(
    ("behind", "fields", "status", "words"),
    [
        (None, {"output": "background"}, 400, "needs a second picture"),
        (BLUE, {"output": "white"}, 400, "only output=background uses"),
        (b"no picture", {"output": "background"}, 415, "The background cannot be used."),
        (BLUE[:60], {"output": "background"}, 422, "The background cannot be used."),
        (
            photos.save(np.zeros((1001, 1000, 3), np.uint8), "PNG"),
            {"output": "background"},
            422,
            "The background cannot be used.",
        ),
        (None, {"margin": "10px"}, 400, "Ask for crop=true"),
        (None, {"crop": "true", "margin": "501px"}, 400, "at most 50% or 500px"),
        (None, {"crop": "true", "margin": "500px"}, 422, "Ask for a smaller margin"),
        (None, {"format": "zip", "output": "white"}, 400, "output=rgba alone"),
    ],
    ids=["missing", "unused", "no picture", "truncated", "large", "no crop", "wide", "canvas", "zip"],
)
async def test_what_cannot_be_made_is_refused_in_words(
    start: Start, behind: bytes | None, fields: dict[str, str], status: int, words: str
) -> None:
    engine = ScriptedEngine()
    service = await start(engine, max_pixels=1_000_000)
    await service.ready()
    engine.on_infer = a_block
    answered, body, _ = await service.post(form(behind, **fields), headers={})
    assert answered == status, body
    assert words in body.decode()


async def test_a_background_without_a_form_is_refused_before_the_body_is_read(start: Start) -> None:
    service = await started(start)
    status, body, _ = await service.post(PHOTO, "/process?output=background")
    assert status == 400
    assert b"send a form" in body


async def test_a_background_that_cannot_be_used_costs_no_turn_at_the_device(start: Start) -> None:
    service = await started(start)
    engine = service.engine
    assert isinstance(engine, ScriptedEngine)
    before = engine.seen.count((WIDTH, HEIGHT))
    await service.post(form(b"no picture", output="background"), headers={})
    assert engine.seen.count((WIDTH, HEIGHT)) == before


async def test_a_zip_is_served_as_one(start: Start) -> None:
    service = await started(start)
    status, body, headers = await service.post(PHOTO, "/process?format=zip&crop=true&quality=80")
    assert (status, headers["Content-Type"]) == (200, "application/zip")
    with ZipFile(BytesIO(body)) as archive:
        shapes = {name: pixels(archive.read(name)).shape for name in archive.namelist()}
    assert shapes == {"color.jpg": (20, 30, 3), "alpha.png": (20, 30)}


async def test_a_picture_of_one_pixel_takes_every_option(start: Start) -> None:
    engine = ScriptedEngine()
    service = await start(engine)
    await service.ready()
    engine.on_infer = lambda image: np.ones(image.shape[:2], np.float32)
    fields = {"crop": "true", "margin": "50%", "scale": "10%", "position": "100% 0%", "size": "1"}
    for behind, output in ((BLUE, "background"), (None, "rgba"), (None, "mask"), (None, "#ff0000")):
        status, body, _ = await service.post(
            form(behind, photos.encoded(1, 1), output=output, **fields), headers={}
        )
        assert status == 200, body
        assert pixels(body).shape[:2] == (1, 1)


async def test_a_page_of_another_origin_may_read_the_headers(start: Start) -> None:
    engine = ScriptedEngine()
    service = await start(engine, cors_origins=("*",))
    await service.ready()
    _, _, headers = await service.post(
        PHOTO, headers={"Origin": "https://shop.example", "Content-Type": "image/png"}
    )
    exposed = headers["Access-Control-Expose-Headers"].lower().split(", ")
    ours = {name.lower() for name in headers if name.startswith("X-")} - {"x-content-type-options"}
    assert len(ours) == 8
    assert ours <= set(exposed)


async def run(service: Service, options: Options) -> bytes:
    with service.admission.take_place() as place:
        done = await service.parts.pipeline.run(
            EncodedPicture(PHOTO), options, place=place, progress=Progress()
        )
    assert (done.size[1], done.size[0]) == pixels(done.body).shape[:2]
    return done.body


async def test_only_what_is_in_the_region_of_interest_can_be_foreground(start: Start) -> None:
    service = await started(start)
    region = Region(Length(20), Length(0), Length(0.5, is_share=True), Length(1, is_share=True))
    shown = pixels(await run(service, Options(roi=region, crop=None)))[..., 3]
    assert (shown[:, :20] == 0).all()
    assert (shown[10:25, 20:40] == 255).all()
    beyond = region._replace(x2=Length(81))
    with pytest.raises(RegionOutside):
        await run(service, Options(roi=beyond))
    with pytest.raises(RegionEmpty):
        await run(service, Options(roi=region._replace(x2=Length(20))))


async def test_a_picture_without_a_sure_subject_is_refused_where_one_is_needed(start: Start) -> None:
    service = await started(start)
    engine = service.engine
    assert isinstance(engine, ScriptedEngine)
    await run(service, Options(needs_subject=True))
    engine.confidence = 0.3
    await run(service, Options())
    with pytest.raises(NoSubject, match="nothing in it stands out"):
        await run(service, Options(needs_subject=True))
    engine.confidence = 1.0
    elsewhere = Region(Length(60), Length(0), Length(80), Length(60))
    with pytest.raises(NoSubject):
        await run(service, Options(needs_subject=True, roi=elsewhere))
