"""HEIC files from a real encoder, compared with a real decoder: Debian's heif-enc and heif-convert."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from service.imaging.decode import decode, peak_bytes
from tests.support import photos
from tests.support.programs import program

pytestmark = pytest.mark.e2e

ENCODINGS = {
    "4:2:0": ["-q", "90"],
    "4:2:2": ["-q", "90", "-p", "chroma=422"],
    "4:4:4": ["-q", "90", "-p", "chroma=444"],
    "ten bits": ["-q", "90", "-b", "10"],
    "twelve bits": ["-q", "90", "-b", "12", "-p", "chroma=444"],
    "lossless": ["-L", "-p", "chroma=444", "--matrix_coefficients=0"],
    "limited range": ["-q", "90", "--full_range_flag=0"],
    "BT.709": ["-q", "90", "--matrix_coefficients=1"],
    "with a thumbnail": ["-q", "90", "-t", "16"],
}


def encoded(source: Path, *arguments: str) -> bytes:
    target = source.with_suffix(".heic")
    subprocess.run(
        [program("heif-enc"), *arguments, "-o", str(target), str(source)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return target.read_bytes()


def converted(heic: Path) -> Image.Image:
    """The picture as heif-convert decodes it."""
    target = heic.with_suffix(".out.png")
    subprocess.run(
        [program("heif-convert"), str(heic), str(target)], check=True, capture_output=True, timeout=60
    )
    with Image.open(target) as image:
        image.load()
        return image


@pytest.mark.parametrize("size", [(96, 64), (133, 71), (640, 426), (34, 18)])
@pytest.mark.parametrize("name", ENCODINGS)
def test_a_picture_decodes_as_another_decoder_decodes_it(
    name: str, size: tuple[int, int], tmp_path: Path
) -> None:
    source = tmp_path / "picture.png"
    pixels = photos.photograph(*size)
    if "bits" in name:
        cv2.imwrite(str(source), pixels[..., ::-1].astype(np.uint16) * 257)
    else:
        Image.fromarray(pixels).save(source)
    found = decode(encoded(source, *ENCODINGS[name]), max_pixels=10**6)
    # heif-convert writes sixteen bits for more than eight; OpenCV reads them as eight.
    expected = (
        np.asarray(converted(source.with_suffix(".heic")).convert("RGB"))
        if "bits" not in name
        else _read_with_opencv(source.with_suffix(".heic"))
    )
    assert found.rgb.shape == pixels.shape
    assert photos.error(found.rgb, expected) < 1.5
    assert photos.error(found.rgb, pixels) < 6


def _read_with_opencv(heic: Path) -> photos.Pixels:
    converted(heic)
    read = cv2.imread(str(heic.with_suffix(".out.png")))
    assert read is not None
    return np.asarray(read[..., ::-1])


def test_transparency_decodes_as_another_decoder_decodes_it(tmp_path: Path) -> None:
    source = tmp_path / "picture.png"
    image = Image.fromarray(photos.photograph())
    image.putalpha(image.getchannel("R"))
    image.save(source)
    found = decode(encoded(source, "-q", "90"), max_pixels=10**6)
    expected = np.asarray(converted(source.with_suffix(".heic")).getchannel("A"))
    assert found.alpha is not None
    assert photos.error(found.alpha, expected) < 1


MEMORY = """
import pathlib, re, sys
from service.imaging.decode import configure_pillow, decode

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10

configure_pillow()
data = pathlib.Path(sys.argv[1]).read_bytes()
before = peak()
decode(data, max_pixels=10**8)
print(peak() - before)
"""


@pytest.mark.parametrize("name", ["4:2:0", "twelve bits"])
def test_a_large_frame_with_transparency_takes_no_more_memory_than_decode_states(
    name: str, tmp_path: Path
) -> None:
    width, height = 1600, 1200
    source = tmp_path / "picture.png"
    pixels = photos.photograph(width, height)
    shown = np.dstack([pixels[..., ::-1], pixels[..., 0]])
    cv2.imwrite(str(source), shown.astype(np.uint16) * 257 if "bits" in name else shown)
    data = encoded(source, "-p", "preset=ultrafast", *ENCODINGS[name])
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(source.with_suffix(".heic"))],
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert int(done.stdout) < peak_bytes(width * height, len(data))
