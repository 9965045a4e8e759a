"""The stream in a PNG file: every decoder gets the same bytes, it is small, and what compresses is said."""

from __future__ import annotations

import subprocess
import sys
import zlib
from io import BytesIO

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from service.imaging import deflate
from service.imaging.picture import Pixels
from service.imaging.png_writer import _filter, write_png
from tests.support.examples import examples

RUNS = st.lists(st.tuples(st.integers(0, 255), st.integers(1, 600)), min_size=1, max_size=40)
"""A byte, and how many times it stands there."""


def compressed(*parts: bytes, channels: int = 4) -> bytes:
    stream = deflate.stream(channels)
    return b"".join(stream.compress(memoryview(part)) for part in parts) + stream.flush()


def read_strictly(stream: bytes) -> bytes:
    """What zlib reads; it checks that codes are complete, and the checksum, and that nothing follows."""
    reader = zlib.decompressobj()
    read = reader.decompress(stream)
    assert reader.eof
    assert not reader.unused_data
    return read


def cut_out() -> Pixels:
    """A photograph that is clear on the left, with a soft edge."""
    rgb = data.astronaut()
    alpha = np.clip(np.linspace(-400, 600, rgb.shape[1]), 0, 255).astype(np.uint8)
    rgba = np.dstack([rgb, np.broadcast_to(alpha, rgb.shape[:2])])
    rgba[rgba[..., 3] == 0] = 0
    return rgba


@pytest.mark.parametrize("channels", [1, 3, 4])
@given(parts=st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=5))
def test_any_bytes_come_back(channels: int, parts: list[bytes]) -> None:
    assert read_strictly(compressed(*parts, channels=channels)) == b"".join(parts)


@pytest.mark.parametrize("channels", [1, 3, 4])
@given(runs=RUNS, few=st.integers(1, 256))
def test_runs_of_any_length_come_back(channels: int, runs: list[tuple[int, int]], few: int) -> None:
    given_bytes = b"".join(bytes([value % few]) * length for value, length in runs)
    assert read_strictly(compressed(given_bytes, channels=channels)) == given_bytes


@pytest.mark.parametrize("channels", [1, 4])
def test_matches_of_every_length_come_back(channels: int) -> None:
    for length in range(1, 800):
        given_bytes = b"\1" + bytes(length) + b"\1\2\3"
        assert read_strictly(compressed(given_bytes, channels=channels)) == given_bytes, length


@settings(max_examples=examples(30))
@given(
    growth=st.floats(1.0, 3.0),
    symbols=st.integers(1, 256),
    seed=st.integers(0, 2**32 - 1),
)
def test_bytes_of_which_some_are_very_rare_come_back(growth: float, symbols: int, seed: int) -> None:
    counts = np.minimum(growth ** np.minimum(np.arange(symbols), 40), 1 << 15).astype(int)
    rng = np.random.default_rng(seed)
    given_bytes = (
        rng.permutation(np.repeat(rng.permutation(256)[:symbols], counts)).astype(np.uint8).tobytes()
    )
    assert read_strictly(compressed(given_bytes)) == given_bytes


def test_codes_that_would_be_too_long_are_shortened() -> None:
    fibonacci = [1, 1]
    while len(fibonacci) < 25:
        fibonacci.append(sum(fibonacci[-2:]))
    given_bytes = np.random.default_rng(0).permutation(np.repeat(np.arange(25), fibonacci)).astype(np.uint8)
    stream = compressed(given_bytes.tobytes())
    assert read_strictly(stream) == given_bytes.tobytes()
    plain = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_HUFFMAN_ONLY)
    assert len(stream) < 1.01 * len(plain.compress(given_bytes) + plain.flush())


def test_noise_grows_by_less_than_a_percent() -> None:
    noise = np.random.default_rng(0).integers(0, 256, 1 << 17, np.uint8).tobytes()
    assert len(compressed(noise)) < 1.01 * len(noise)


def test_the_largest_blocks_come_back() -> None:
    given_bytes = bytes(1 << 24)
    assert read_strictly(compressed(given_bytes)) == given_bytes


def test_a_stream_of_nothing_is_complete() -> None:
    assert read_strictly(compressed()) == b""


@pytest.mark.parametrize("kind", ["mask", "photograph", "cut-out"])
def test_several_decoders_read_the_same_pixels(kind: str) -> None:
    pixels = {"mask": data.camera(), "photograph": data.astronaut(), "cut-out": cut_out()}[kind]
    file = write_png(pixels)
    assert np.array_equal(np.asarray(Image.open(BytesIO(file))), pixels)
    read = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    order = {1: ..., 3: (2, 1, 0), 4: (2, 1, 0, 3)}[1 if pixels.ndim == 2 else pixels.shape[2]]
    assert np.array_equal(read if order is ... else read[..., order], pixels)


def graphics(name: str, *, opaque: bool) -> Pixels:
    """RGBA of 600 x 600 that is no photograph, in a soft circle or everywhere."""
    y, x = np.mgrid[:600, :600]
    rgb = {
        "gradient": np.dstack([x * 255 // 600, y * 255 // 600, (x + y) * 255 // 1200]),
        "squares": np.dstack([((x // 3 + y // 3) & 1) * 200] * 3),
        "drawing": np.dstack([((x - 300) ** 2 + (y - 300) ** 2) // 9000 * 9 % 256] * 2 + [x // 200 * 90]),
    }[name]
    alpha = np.full((600, 600), 255) if opaque else np.clip((270 - np.hypot(x - 300, y - 300)) * 8, 0, 255)
    rgba = np.dstack([rgb, alpha]).astype(np.uint8)
    rgba[rgba[..., 3] == 0] = 0
    return rgba


def round_cut_out() -> Pixels:
    """A photograph in a soft circle."""
    rgba = np.dstack([data.astronaut(), graphics("squares", opaque=False)[44:556, 44:556, 3]])
    rgba[rgba[..., 3] == 0] = 0
    return rgba


def masks() -> Pixels:
    return np.ascontiguousarray(graphics("drawing", opaque=False)[..., 3])


@pytest.mark.parametrize(
    ("pixels", "most"),
    [
        pytest.param(masks(), 1.0, id="mask"),
        pytest.param(data.camera(), 1.005, id="grey photograph"),
        pytest.param(data.astronaut(), 1.005, id="photograph"),
        pytest.param(cut_out(), 1.005, id="cut-out with a wide soft edge"),
        pytest.param(round_cut_out(), 1.0, id="cut-out"),
        pytest.param(graphics("gradient", opaque=False), 1.0, id="gradient, cut out"),
        pytest.param(graphics("gradient", opaque=True), 1.02, id="gradient"),
        pytest.param(graphics("squares", opaque=False), 1.0, id="squares, cut out"),
        pytest.param(graphics("squares", opaque=True), 1.02, id="squares"),
        pytest.param(graphics("drawing", opaque=False), 1.0, id="drawing, cut out"),
        pytest.param(graphics("drawing", opaque=True), 1.02, id="drawing"),
    ],
)
def test_files_are_as_small_as_with_zlib_by_runs(pixels: Pixels, most: float) -> None:
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    rows = [strip.tobytes() for strip in _filter(pixels, pixels.shape[1], channels)]
    plain = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    theirs = b"".join(map(plain.compress, rows)) + plain.flush()
    assert len(compressed(*rows, channels=channels)) <= most * len(theirs)


def test_the_same_rows_give_the_same_bytes() -> None:
    assert write_png(cut_out()) == write_png(cut_out())


def test_what_compresses_here_is_said() -> None:
    assert deflate.in_use() == "C"


def test_without_the_library_zlib_compresses_and_that_is_said() -> None:
    program = """
from importlib import util
found = util.find_spec
util.find_spec = lambda name, *more: None if name == "inspyrenet_native" else found(name, *more)
from io import BytesIO
import numpy as np
from PIL import Image
from service.imaging import deflate
from service.imaging.png_writer import write_png
for shape in ((90, 80), (90, 80, 3), (90, 80, 4)):
    pixels = np.random.default_rng(0).integers(0, 9, shape, np.uint8)
    assert np.array_equal(np.asarray(Image.open(BytesIO(write_png(pixels)))), pixels)
print(deflate.in_use())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == f"zlib {zlib.ZLIB_RUNTIME_VERSION}"
