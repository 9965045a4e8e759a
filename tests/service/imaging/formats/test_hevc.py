"""The size of HEVC frames, and what of a stream reaches the decoder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.imaging.formats.file_format import Malformed
from service.imaging.formats.heif_boxes import HeifFile
from service.imaging.formats.hevc import Configuration, Samples, read_frame
from tests.support import heic_files


def configuration(name: str) -> bytes:
    file = HeifFile(heic_files.sample(name))
    return next(body for kind, body in file.properties(file.primary) if kind == b"hvcC")


@pytest.mark.parametrize(
    ("name", "size", "samples"),
    [
        ("scene", (96, 64), Samples(3, 8, 8)),
        ("ten-bit", (96, 64), Samples(3, 10, 10)),
        ("grey", (96, 64), Samples(0, 8, 8)),
        ("left", (64, 64), Samples(3, 8, 8)),
    ],
)
def test_a_real_encoders_frames_are_read(name: str, size: tuple[int, int], samples: Samples) -> None:
    frame = Configuration(configuration(name)).frame
    assert frame.size == frame.coded == size
    assert frame.samples == samples


@pytest.mark.parametrize("at", [16, 17, 18])
def test_a_configuration_that_contradicts_its_parameter_set_is_refused(at: int) -> None:
    """libheif believes the one for its buffer, and the other for what it writes."""
    body = bytearray(configuration("grey"))
    body[at] ^= 2
    with pytest.raises(Malformed):
        Configuration(bytes(body))


def parameters(
    width: int, height: int, *, layers: int = 0, chroma: int = 1, crop: tuple[int, ...] = (), depth: int = 8
) -> bytes:
    """The beginning of a sequence parameter set."""
    bits = f"{0:04b}{layers:03b}1" + "0" * 96
    if layers:
        bits += "11" * layers + "00" * (8 - layers) + "0" * 96 * layers

    def golomb(value: int) -> str:
        code = f"{value + 1:b}"
        return "0" * (len(code) - 1) + code

    bits += golomb(0) + golomb(chroma) + ("0" if chroma == 3 else "") + golomb(width) + golomb(height)
    bits += ("1" + "".join(map(golomb, crop)) if crop else "0") + golomb(depth - 8) * 2
    bits += "0" * (-len(bits) % 8)
    unit = bytearray([33 << 1, 1])
    for byte in int(bits, 2).to_bytes(len(bits) // 8, "big"):
        if (
            unit.endswith(b"\0\0") and byte <= 3
        ):  # a byte of 3 keeps a decoder from seeing the start of a unit
            unit.append(3)
        unit.append(byte)
    return bytes(unit)


@given(
    st.integers(1, 1 << 30), st.integers(1, 1 << 30), st.integers(0, 6), st.integers(0, 3), st.integers(8, 16)
)
def test_any_frame_is_read(width: int, height: int, layers: int, chroma: int, depth: int) -> None:
    frame = read_frame(parameters(width, height, layers=layers, chroma=chroma, depth=depth))
    assert frame.size == frame.coded == (width, height)
    assert frame.samples == Samples(chroma, depth, depth)


def test_cropping_is_counted_in_pixels_of_the_chroma() -> None:
    assert read_frame(parameters(64, 64, chroma=1, crop=(1, 2, 0, 3))).size == (58, 58)
    assert read_frame(parameters(64, 64, chroma=2, crop=(1, 2, 0, 3))).size == (58, 61)
    assert read_frame(parameters(64, 64, chroma=3, crop=(1, 2, 0, 3))).size == (61, 61)
    with pytest.raises(Malformed):
        read_frame(parameters(64, 64, crop=(32, 0, 0, 0)))


@given(st.binary(max_size=60))
def test_random_parameters_give_a_size_or_are_refused(data: bytes) -> None:
    try:
        frame = read_frame(data)
    except Malformed:
        return
    assert min(frame.size) >= 1


def test_a_configuration_without_a_size_is_refused() -> None:
    body = configuration("scene")
    for end in (0, 22, 23, len(body) - 1):
        with pytest.raises((Malformed, IndexError)):
            Configuration(body[:end])
    with pytest.raises(Malformed):
        Configuration(body[:22] + b"\0")


def test_a_stream_whose_lengths_do_not_fit_is_refused() -> None:
    reader = Configuration(configuration("scene"))
    for stream in (b"\0\0\0\x09ab", b"\0\0\0\x01a", b"\0\0\0", b"\xff\xff\xff\xff" + bytes(9)):
        with pytest.raises(Malformed):
            reader.slices(stream)
