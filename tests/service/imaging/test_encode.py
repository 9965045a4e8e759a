"""Answers as files: which formats are exact, which sizes fit into them, and that the bytes never vary."""

from __future__ import annotations

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from service.errors import BadDimensions
from service.host.allocator import MEMORY_VARIABLES
from service.imaging.encode import check_output_size, encode, peak_bytes
from service.imaging.options import IMAGE_FORMATS, Format
from tests.support import photos

SCENE = photos.photograph(300, 200)
MASK = np.ascontiguousarray(SCENE[..., 0])
CUT_OUT = np.dstack([SCENE, MASK])


def read(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("pixels", [MASK, SCENE, CUT_OUT], ids=["mask", "rgb", "rgba"])
@pytest.mark.parametrize("answer", IMAGE_FORMATS)
def test_the_bytes_are_of_that_format_and_size(answer: Format, pixels: photos.Pixels) -> None:
    if answer is Format.JPEG and pixels is CUT_OUT:
        return
    image = read(encode(pixels, answer))
    assert image.format == answer.name
    assert image.size == (300, 200)
    assert image.get_format_mimetype() == answer.content_type


def test_every_shape_of_every_tiny_size_can_be_written() -> None:
    for width, height in ((1, 1), (1, 2), (3, 1), (17, 5), (1, 3000)):
        scene = photos.photograph(width, height)
        for pixels in (scene, np.ascontiguousarray(scene[..., 0]), np.dstack([scene, scene[..., 0]])):
            for answer in IMAGE_FORMATS:
                if pixels.shape[2:] != (4,) or answer is not Format.JPEG:
                    assert read(encode(pixels, answer)).size == (width, height)


@pytest.mark.parametrize("pixels", [MASK, SCENE, CUT_OUT], ids=["mask", "rgb", "rgba"])
def test_png_is_exact(pixels: photos.Pixels) -> None:
    assert np.array_equal(np.asarray(read(encode(pixels, Format.PNG))), pixels)


def test_a_mask_is_exact_in_webp() -> None:
    assert np.array_equal(np.asarray(read(encode(MASK, Format.WEBP)).convert("L")), MASK)


def test_a_mask_carries_no_profile() -> None:
    for answer in IMAGE_FORMATS:
        assert "icc_profile" not in read(encode(MASK, answer, photos.srgb_profile())).info


@pytest.mark.parametrize("answer", [Format.WEBP, Format.AVIF])
def test_lossy_cut_outs_keep_their_colours_and_their_edges(answer: Format) -> None:
    result = np.asarray(read(encode(CUT_OUT, answer))).astype(int)
    opaque = MASK > 0  # a format may change colours where nothing is seen
    assert np.abs(result[..., 3] - MASK).mean() < 2
    assert np.abs(result[opaque][:, :3] - CUT_OUT[opaque][:, :3]).mean() < 4


@pytest.mark.parametrize("answer", [Format.WEBP, Format.JPEG, Format.AVIF])
def test_lossy_colours_stay_close(answer: Format) -> None:
    assert np.abs(np.asarray(read(encode(SCENE, answer)).convert("RGB")).astype(int) - SCENE).mean() < 4


@pytest.mark.parametrize("answer", IMAGE_FORMATS)
def test_the_same_pixels_give_the_same_bytes(answer: Format) -> None:
    pixels = SCENE if answer is Format.JPEG else CUT_OUT
    profile = photos.srgb_profile()
    assert encode(pixels, answer, profile) == encode(pixels.copy(), answer, profile)


@pytest.mark.parametrize(
    ("answer", "side"), [(Format.WEBP, 16383), (Format.JPEG, 65500), (Format.AVIF, 32768)]
)
@pytest.mark.parametrize("upright", [True, False])
def test_the_largest_side_fits_and_one_more_does_not(answer: Format, side: int, upright: bool) -> None:
    width, height = (1, side) if upright else (side, 1)
    check_output_size(width, height, answer)
    assert read(encode(np.zeros((height, width, 3), np.uint8), answer)).size == (width, height)
    with pytest.raises(BadDimensions, match=str(side)):
        check_output_size(width + (not upright), height + upright, answer)


def test_png_takes_any_side() -> None:
    check_output_size(1_000_000, 1, Format.PNG)
    assert read(encode(np.zeros((1, 70_000), np.uint8), Format.PNG)).size == (70_000, 1)


def unzipped(data: bytes) -> dict[str, Image.Image]:
    with ZipFile(BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {ZIP_STORED}
        return {name: read(archive.read(name)) for name in archive.namelist()}


def test_a_zip_holds_the_colours_and_the_exact_mask() -> None:
    files = unzipped(encode(CUT_OUT, Format.ZIP, photos.srgb_profile()))
    assert list(files) == ["color.jpg", "alpha.png"]
    colours, mask = files.values()
    assert (colours.format, colours.mode, mask.format, mask.mode) == ("JPEG", "RGB", "PNG", "L")
    assert np.abs(np.asarray(colours).astype(int) - SCENE).mean() < 2
    assert np.array_equal(np.asarray(mask), MASK)
    assert colours.info["icc_profile"] == photos.srgb_profile()
    assert "icc_profile" not in mask.info


def test_a_zip_has_the_same_bytes_at_any_time() -> None:
    assert encode(CUT_OUT, Format.ZIP) == encode(CUT_OUT, Format.ZIP)
    with ZipFile(BytesIO(encode(CUT_OUT, Format.ZIP))) as archive:
        assert {info.date_time[0] for info in archive.infolist()} == {1980}


@pytest.mark.parametrize("answer", Format)
def test_views_are_written_as_their_copies_are(answer: Format) -> None:
    pixels = SCENE if answer is Format.JPEG else CUT_OUT
    for view in (pixels[::-1, ::-1], pixels[3:60, 7:50], pixels[5:6, 7:50], pixels[:, 3:4]):
        assert encode(view, answer) == encode(view.copy(), answer)


@pytest.mark.parametrize("answer", [Format.JPEG, Format.WEBP, Format.AVIF])
def test_more_quality_is_more_bytes(answer: Format) -> None:
    sizes = [len(encode(SCENE, answer, quality=quality)) for quality in (1, 50, 100)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[1] * 0.7
    zipped = [len(encode(CUT_OUT, Format.ZIP, quality=quality)) for quality in (1, 50, 100)]
    assert zipped == sorted(zipped)


@pytest.mark.parametrize(("answer", "default"), [(Format.JPEG, 92), (Format.WEBP, 90), (Format.AVIF, 85)])
def test_each_format_has_a_quality_of_its_own(answer: Format, default: int) -> None:
    for pixels in (SCENE,) if answer is Format.JPEG else (SCENE, CUT_OUT):
        assert encode(pixels, answer) == encode(pixels, answer, quality=default)
        assert encode(pixels, answer) != encode(pixels, answer, quality=default - 5)
        assert encode(pixels, answer) != encode(pixels, answer, quality=default + 5)


def test_a_jpeg_has_its_colours_in_full_resolution() -> None:
    image = read(encode(SCENE, Format.JPEG))
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    assert JpegImagePlugin.get_sampling(image) == 0  # 4:4:4


@pytest.mark.parametrize(("pixels", "channels"), [(MASK, 1), (SCENE, 3), (CUT_OUT, 3)])
def test_an_avif_has_no_colours_for_a_mask_and_others_in_full_resolution(
    pixels: photos.Pixels, channels: int
) -> None:
    """The bytes ``av1C`` (AV1 Codec ISO Media File Format Binding) say so."""
    file = encode(pixels, Format.AVIF)
    flags = file[file.index(b"av1C") + 6]
    monochrome, subsampled = flags >> 4 & 1, flags >> 2 & 3
    assert monochrome == (channels == 1)
    assert subsampled == (3 if channels == 1 else 0)


def test_a_mask_in_webp_loses_something_only_if_a_quality_is_asked_for() -> None:
    lossy = np.asarray(read(encode(MASK, Format.WEBP, quality=10)).convert("L"))
    assert not np.array_equal(lossy, MASK)


MEMORY = """
import re, sys
from pathlib import Path
import numpy as np
from service.host.memory import resident_bytes, trim_heap
from service.imaging.encode import encode
from service.imaging.options import Format

answer, quality = Format(sys.argv[2]), int(sys.argv[3]) or None
pixels = np.load(sys.argv[1])
encode(np.zeros((64, 64, *pixels.shape[2:]), np.uint8), answer, quality=quality)
gap, behind = (np.empty(pixels.size * 9 // 10, np.uint8) for _ in range(2))  # in which a file cannot grow to its end
del gap
trim_heap()
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = resident_bytes()
encode(pixels, answer, quality=quality)
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10
print(peak - before)
"""


def encoding_memory(pixels: photos.Pixels, answer: Format, quality: int, folder: Path) -> int:
    """The bytes that encoding takes beside the pixels, by the peak of a process that is set up as the service is."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs /proc")
    path = folder / "pixels.npy"
    np.save(path, pixels)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path), answer.value, str(quality)],
        env=os.environ | MEMORY_VARIABLES,
        check=True,
        capture_output=True,
        timeout=60,
    )
    return int(done.stdout)


def noise(height: int, width: int, *channels: int) -> photos.Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, *channels), np.uint8)


def soft(width: int, height: int) -> photos.Pixels:
    """A photograph with a little noise, and a mask of 40 levels, which takes most in libwebp."""
    grain = noise(height, width, 4)
    return np.dstack([photos.photograph(width, height) ^ grain[..., :3] % 8, grain[..., 3] % 40])


@pytest.mark.memory
@pytest.mark.parametrize("kind", ["noise", "photograph", "wide", "high", "strip"])
@pytest.mark.parametrize("answer", Format)
def test_encoding_takes_no_more_memory_than_it_states(answer: Format, kind: str, tmp_path: Path) -> None:
    side = {Format.WEBP: 16383, Format.AVIF: 32768}.get(answer, 65500)
    pixels, quality = {
        "noise": lambda: (noise(1500, 2000, 4), 100),
        "photograph": lambda: (soft(1200, 1000), 0),
        "wide": lambda: (noise(1, side, 4), 0),
        "high": lambda: (noise(side, 1, 4), 0),
        "strip": lambda: (noise(20, side, 4), 100),
    }[kind]()
    if answer is Format.JPEG:
        pixels = np.ascontiguousarray(pixels[..., :3])
    height, width = pixels.shape[:2]
    taken = encoding_memory(pixels, answer, quality, tmp_path)
    assert taken < peak_bytes(answer, width * height, width + height) + pixels.nbytes


@pytest.mark.memory
@pytest.mark.parametrize("answer", IMAGE_FORMATS)
def test_encoding_a_mask_takes_no_more_memory_than_it_states(answer: Format, tmp_path: Path) -> None:
    pixels = soft(1000, 1000)[..., 3]
    taken = encoding_memory(pixels, answer, 0, tmp_path)
    assert taken < peak_bytes(answer, 1_000_000, 2000) + pixels.nbytes
