"""Declared encodings, compared with lcms for the same space as a profile, and with the figures of the standards."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.imaging.colour.encoding import SRGB_PRIMARIES, Curve, Encoding, from_code_points, from_power
from tests.support import declared
from tests.support.examples import examples

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
ADOBE = (*declared.ADOBE_CHROMATICITIES, (0.3127, 0.3290))


@pytest.mark.parametrize(
    ("encoding", "icc"),
    [
        (from_code_points(12, 13), declared.P3),
        (from_code_points(9, 13), declared.BT2020),
        (from_code_points(9, 14), declared.BT2020),
        (from_code_points(1, 8), declared.LINEAR),
        (from_power(1.0, None), declared.LINEAR),
        (from_power(2.2, ADOBE), declared.ADOBE),
    ],
    ids=["P3", "BT.2020", "BT.2020, camera curve", "linear", "power 1", "Adobe RGB"],
)
@pytest.mark.parametrize("deep", [False, True])
def test_an_encoding_converts_as_lcms_converts_a_profile_of_it(
    encoding: Encoding | None, icc: bytes, deep: bool
) -> None:
    assert encoding is not None
    ours = encoding.to_srgb(PIXELS.astype(np.uint16) * 257 if deep else PIXELS)
    assert np.abs(ours.astype(int) - declared.shown_in_srgb(icc, PIXELS)).max() <= 1


@pytest.mark.parametrize("points", [(1, 13), (1, 1), (1, 6), (2, 2), (2, 13), (1, 2), (0, 0), (255, 255)])
def test_code_points_that_mean_srgb_or_nothing_need_no_conversion(points: tuple[int, int]) -> None:
    assert from_code_points(*points) is None


def test_an_unknown_half_counts_as_that_of_srgb() -> None:
    assert from_code_points(12, 2) == from_code_points(12, 13)
    assert from_code_points(2, 8) == Encoding(SRGB_PRIMARIES, 1.0)


@pytest.mark.parametrize(
    ("curve", "signal", "nits"),
    [
        (Curve.PQ, 0.5081, 100.0),  # BT.2100: 100 cd/m2 is 50.81 % of the signal
        (Curve.PQ, 0.5807, 203.0),
        (Curve.HLG, 0.75, 203.0),  # BT.2408
        (Curve.HLG, 0.5, 50.0),
    ],
)
def test_the_curves_of_high_dynamic_range_are_those_of_the_standards(
    curve: Curve, signal: float, nits: float
) -> None:
    """Read back from the answer, below the knee where light is unchanged, or at the reference white."""
    level = np.full((1, 1, 3), round(signal * 65535), np.uint16)
    shown = int(Encoding(SRGB_PRIMARIES, curve).to_srgb(level)[0, 0, 0])
    light = nits / 203
    if light > 0.75:
        light = 0.75 + 0.25 * (1 - np.exp((0.75 - light) / 0.25))
    assert abs(shown - 255 * (1.055 * light ** (1 / 2.4) - 0.055)) <= 2


def test_a_highlight_keeps_its_hue() -> None:
    bright = np.array([[[60_000, 45_000, 45_000]]], np.uint16)
    red, green, blue = map(int, Encoding(SRGB_PRIMARIES, Curve.PQ).to_srgb(bright)[0, 0])
    assert red > 250 > green + 20
    assert green == blue


points = st.tuples(st.floats(0, 22_000), st.floats(0, 22_000)) | st.tuples(st.floats(0, 1), st.floats(0, 1))


@given(st.none() | st.floats(2e-5, 1e5), st.none() | st.tuples(points, points, points, points))
@settings(max_examples=examples(200), deadline=None)
def test_any_numbers_in_a_file_end_in_a_conversion_or_none(
    power: float | None, primaries: tuple[tuple[float, float], ...] | None
) -> None:
    encoding = from_power(power, primaries)  # type: ignore[arg-type]
    if encoding is not None:
        assert encoding.to_srgb(PIXELS).shape == PIXELS.shape


@given(st.integers(0, 30), st.integers(0, 30), st.booleans())
@settings(max_examples=examples(200), deadline=None)
def test_white_stays_white_and_black_black_for_every_code_point(
    primaries: int, transfer: int, full_range: bool
) -> None:
    encoding = from_code_points(primaries, transfer, full_range=full_range)
    if encoding is None:
        return
    white, black = (
        encoding.to_srgb(np.full((1, 1, 3), level, np.uint8))
        for level in ((255, 0) if full_range else (235, 16))
    )
    assert white.min() >= 253
    assert black.max() == 0
