"""Files with false headers, files cut short and files built to be expensive: each is refused, at little cost."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from service.errors import BadDimensions, Undecodable
from service.imaging.decode import decode
from service.imaging.formats.recognise import recognise
from tests.support import declared, heic_files, photos
from tests.support.damaged import CORPUS, MAX_PIXELS, damaged, decode_or_refuse, sound
from tests.support.examples import examples
from tests.support.tiff_files import DEFLATE, tiff_file


def read(data: bytes) -> object:
    return decode(data, max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("name", photos.FORMATS)
def test_a_bare_signature_is_undecodable(name: str) -> None:
    data = photos.mode(name)
    kept = {"AVIF": 32, "BMP": 18, "WEBP": 16}.get(name, 8)
    assert recognise(data[:kept])
    with pytest.raises((Undecodable, BadDimensions)):
        read(data[:kept])


@pytest.mark.parametrize("name", photos.FORMATS)
def test_too_many_pixels_are_refused_by_the_header(name: str) -> None:
    data = photos.save(photos.photograph(40, 30), name)
    assert decode(data, max_pixels=1200)
    with pytest.raises(BadDimensions, match="40 x 30 = 1200 pixels; at most 1199"):
        decode(data, max_pixels=1199)


def claiming(width: int, height: int) -> dict[str, bytes]:
    """Small files whose headers claim any size."""
    jpeg = photos.save(photos.photograph(8, 8), "JPEG")
    sof = jpeg.index(b"\xff\xc0")
    webp = photos.save(
        Image.fromarray(photos.photograph(8, 8)).convert("RGBA"), "WEBP", icc_profile=photos.srgb_profile()
    )
    avif = photos.save(photos.photograph(8, 8), "AVIF")
    bmp = photos.save(photos.photograph(8, 8), "BMP")
    gif = photos.save(photos.photograph(8, 8), "GIF")
    size_in_avif = avif.index(b"ispe") + 8
    side = min(width, 65535), min(height, 65535)
    webp_side = [min(n - 1, 0xFFFFFF).to_bytes(3, "little") for n in (width, height) if n]
    return {
        "JPEG": jpeg[: sof + 5] + struct.pack(">HH", side[1], side[0]) + jpeg[sof + 9 :],
        "PNG": photos.png_claiming(width, height),
        "GIF": gif[:6] + struct.pack("<HH", *side) + gif[10:],
        "BMP": bmp[:18] + struct.pack("<II", width, height) + bmp[26:],
        "TIFF": photos.tiff({256: (4, [width]), 257: (4, [height])}),
        "AVIF": avif[:size_in_avif] + struct.pack(">II", width, height) + avif[size_in_avif + 8 :],
        **({"WEBP": webp[:24] + b"".join(webp_side) + webp[30:]} if len(webp_side) == 2 else {}),
    }


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "AVIF", "WEBP"])
def test_a_claim_of_gigapixels_costs_nothing(name: str) -> None:
    data = claiming(65_500, 65_500)[name]
    tracemalloc.start()
    try:
        with pytest.raises((BadDimensions, Undecodable)) as caught:
            decode(data, max_pixels=50_000_000)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    if name != "AVIF":  # libavif itself refuses it when it reads the header
        assert isinstance(caught.value, BadDimensions)


@pytest.mark.parametrize(("width", "height"), [(0, 8), (8, 0), (0, 0)])
def test_zero_sized_images_are_refused(width: int, height: int) -> None:
    for name, data in claiming(width, height).items():
        if name == "GIF":
            continue  # its first frame gives the canvas its size
        with pytest.raises((BadDimensions, Undecodable)) as caught:
            read(data)
        assert caught.value.status == 422
        if name != "AVIF":
            assert isinstance(caught.value, BadDimensions), name


@pytest.mark.parametrize("name", CORPUS)
def test_a_file_cut_short_anywhere_is_refused_or_the_same_picture(name: str) -> None:
    data = sound(name)
    whole = decode(data, max_pixels=MAX_PIXELS)
    near_the_end = range(max(0, len(data) - 40), len(data))
    for end in sorted(
        {*range(0, 64, 7), *np.linspace(0, len(data) - 1, 25).astype(int).tolist(), *near_the_end}
    ):
        if decode_or_refuse(data[:end]):
            picture = decode(data[:end], max_pixels=MAX_PIXELS)
            assert np.array_equal(picture.rgb, whole.rgb), end


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "TIFF LZW"])
def test_half_a_file_is_undecodable(name: str) -> None:
    data = photos.mode(name)
    with pytest.raises(Undecodable, match="damaged"):
        read(data[: len(data) // 2])


@given(damaged())
@settings(max_examples=examples(400), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_file_ends_in_a_picture_or_a_refusal(data: bytes) -> None:
    """The long version of this test is ``python -m tests.soak.fuzz``."""
    decode_or_refuse(data)


@pytest.mark.parametrize("name", CORPUS)
def test_every_file_that_is_damaged_here_decodes_when_it_is_sound(name: str) -> None:
    assert decode_or_refuse(sound(name))


@given(st.sampled_from(sorted(photos.FORMATS)), st.integers(2, 40), st.binary(max_size=200))
@settings(max_examples=examples(200), deadline=None)
def test_a_real_header_with_random_bytes_behind_ends_in_a_refusal(name: str, kept: int, tail: bytes) -> None:
    decode_or_refuse(photos.mode(name)[:kept] + tail)


@given(st.binary(max_size=300))
def test_random_bytes_end_in_a_refusal(data: bytes) -> None:
    decode_or_refuse(data)


def test_libraries_print_nothing_even_from_c(capfd: pytest.CaptureFixture[str]) -> None:
    for name in photos.MODES:
        data = bytearray(photos.mode(name))
        decode_or_refuse(bytes(data))
        if name.startswith("TIFF"):
            continue  # libtiff prints a line for a damaged strip, and has no switch that Python can reach
        data[len(data) // 3 : len(data) // 3 + 40] = bytes(40)
        decode_or_refuse(bytes(data))
        decode_or_refuse(bytes(data[: len(data) * 2 // 3]))
    assert capfd.readouterr() == ("", "")


def large(name: str, width: int, height: int) -> bytes:
    """A file that needs much memory for its pixels."""
    pixels = photos.photograph(width, height)
    scene = Image.fromarray(pixels)
    if "RGBA" in name:
        scene.putalpha(scene.getchannel("R"))
    match name:
        case "JPEG CMYK":
            return photos.save(scene.convert("CMYK"), "JPEG", progressive=True)
        case "JPEG without its end":
            return photos.save(scene, "JPEG", progressive=True)[:-2]
        case "HEIC":  # no encoder here, so a picture of many tiles; tests/e2e/test_heic.py has large frames
            rows, columns = -(-height // 64), -(-width // 64)
            tiles = ("left",) * (rows * columns)
            return heic_files.grid(size=(width, height), rows=rows, columns=columns, tiles=tiles)
        case "TIFF LZW":
            return photos.save(scene, "TIFF", compression="tiff_lzw")
        case "TIFF float, one strip":
            return tiff_file(
                pixels / 255,
                photometric=2,
                bits=32,
                sample_format=3,
                compression=DEFLATE,
                rows_per_strip=height,
            )
        case "TIFF 16 bits, planes":
            return tiff_file(pixels.astype(np.uint16) * 257, photometric=2, bits=16, planar=True)
        case "TIFF 12 bits":
            return tiff_file(pixels.astype(np.uint32) * 16, photometric=2, bits=12, rows_per_strip=height)
        case "PNG 16 bits, gAMA and key":
            key = photos.png_chunk(b"tRNS", bytes(6))
            return declared.png_of(pixels.astype(np.uint16) * 257, declared.GAMMA_1, key)
        case "PNG HLG":
            return declared.png_of(pixels, declared.code_points(9, 18))
        case "AVIF RGBA, PQ":
            data = photos.save(scene, "AVIF")
            at = data.index(b"colrnclx") + 8
            return data[:at] + bytes([0, 9, 0, 16]) + data[at + 4 :]
    return photos.save(scene, name.split(maxsplit=1)[0])


def decoding_memory(data: bytes, folder: Path) -> int:
    """The bytes that decoding a file takes, by the high-water mark of a process: decoders allocate outside Python."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    path = folder / "picture"
    path.write_bytes(data)
    code = (
        "import sys, re, pathlib, cv2\n"  # the service has imported it before the first picture
        "from service.imaging.decode import configure_pillow, decode\n"
        "configure_pillow()\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) * 1024\n"
        "data = pathlib.Path(sys.argv[1]).read_bytes()\n"
        "before = peak(); decode(data, max_pixels=10**8); print(peak() - before)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    return int(out.stdout)


@pytest.mark.memory
@pytest.mark.parametrize(
    "name",
    [
        "JPEG",
        "JPEG CMYK",
        "JPEG without its end",
        "WEBP RGBA",
        "AVIF RGBA",
        "AVIF RGBA, PQ",
        "HEIC",
        "PNG 16 bits, gAMA and key",
        "PNG HLG",
        "TIFF LZW",
        "TIFF float, one strip",
        "TIFF 16 bits, planes",
        "TIFF 12 bits",
    ],
)
@pytest.mark.parametrize(("width", "height"), [(2400, 1600), (500, 500)])
def test_decoding_memory_is_within_the_bound_that_decode_states(
    name: str, width: int, height: int, tmp_path: Path
) -> None:
    data = large(name, width, height)
    assert decoding_memory(data, tmp_path) < 24 * width * height + 3 * len(data) + (16 << 20)


@pytest.mark.memory
def test_an_upright_jpeg_takes_little_more_memory_than_its_pixels(tmp_path: Path) -> None:
    data = large("JPEG", 2400, 1600)
    assert decoding_memory(data, tmp_path) < 4 * 2400 * 1600 + len(data)


def test_threads_decode_side_by_side() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for name in ("JPEG", "PNG palette, soft", "TIFF CMYK", "AVIF RGBA", "WEBP RGBA", "GIF"):
                read(photos.mode(name))
        except BaseException as error:  # noqa: BLE001  # carried to the main thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
