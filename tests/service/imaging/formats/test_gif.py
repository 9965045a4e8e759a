"""GIF files: the size of the canvas and of the first frame."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from service.errors import Undecodable
from service.imaging.decode import decode
from service.imaging.formats.gif import GIF
from tests.support import photos


def gif_with_frame(left: int, top: int, width: int, height: int) -> bytes:
    """A canvas of 8 x 8 whose first frame claims that place and size."""
    data = photos.save(photos.photograph(8, 8), "GIF")
    frame = data.index(b",\0\0\0\0\x08\0\x08\0") + 1
    return data[:frame] + struct.pack("<HHHH", left, top, width, height) + data[frame + 8 :]


@pytest.mark.parametrize("name", ["GIF", "GIF, one clear", "GIF animated", "GIF interlaced"])
def test_the_size_is_that_of_the_canvas(name: str) -> None:
    assert GIF.strip_metadata(photos.mode(name)).size == (96, 64)


def test_a_frame_that_leaves_the_canvas_enlarges_it() -> None:
    assert GIF.strip_metadata(gif_with_frame(5, 0, 65_535, 3)).size == (65_540, 8)
    assert GIF.strip_metadata(gif_with_frame(1, 2, 3, 4)).size == (8, 8)


def test_a_frame_without_pixels_gives_a_size_of_zero() -> None:
    assert GIF.strip_metadata(gif_with_frame(0, 0, 8, 0)).size == (0, 0)


@pytest.mark.parametrize("name", ["GIF", "GIF interlaced"])
def test_a_missing_trailer_does_no_harm(name: str) -> None:
    data = photos.mode(name)
    expected = decode(data, max_pixels=10_000).rgb
    for missing in (1, 2):  # the trailer, and the empty block before it
        assert np.array_equal(decode(data[:-missing], max_pixels=10_000).rgb, expected)


def test_a_comment_before_the_frame_is_skipped() -> None:
    assert GIF.strip_metadata(photos.with_secrets("GIF")).size == (96, 64)


def test_a_file_without_a_frame_is_undecodable() -> None:
    data = photos.mode("GIF")
    for broken in (data[:8], data[: data.index(b",")], data[:13] + b";"):
        with pytest.raises(Undecodable, match="GIF file is damaged"):
            GIF.strip_metadata(broken)
