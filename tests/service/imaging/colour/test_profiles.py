"""Which profile is kept, and colours in the space of one."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from service.imaging.colour.profiles import (
    in_space_of,
    keeps_profile,
    parse_profile,
    srgb_transform,
    transform_between,
)
from service.imaging.decode import decode
from tests.support import declared, photos


def in_srgb(icc: bytes, colour: tuple[int, int, int]) -> tuple[int, ...]:
    """What a viewer shows for a colour of a profile."""
    shown = ImageCms.profileToProfile(
        Image.new("RGB", (1, 1), colour),
        ImageCms.ImageCmsProfile(BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        outputMode="RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    assert shown is not None
    return tuple(shown.tobytes())


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_a_colour_in_the_space_of_a_wider_profile_shows_as_the_colour_itself(
    colour: tuple[int, int, int],
) -> None:
    shown = in_srgb(declared.P3, in_space_of(declared.P3, colour))
    assert (
        max(abs(a - b) for a, b in zip(shown, colour, strict=True)) <= 6
    )  # rounding, in the darkest colours
    assert in_space_of(declared.P3, (51, 102, 153)) == (64, 101, 149)


@pytest.mark.parametrize("icc", [None, b"", b"garbage" * 40, photos.grey_profile(), photos.scanner_profile()])
def test_without_a_usable_profile_a_colour_stays_as_it_is(icc: bytes | None) -> None:
    assert in_space_of(icc, (51, 102, 153)) == (51, 102, 153)


def test_a_profile_that_leads_only_away_from_its_space_is_applied() -> None:
    profile = parse_profile(photos.scanner_profile())
    assert not keeps_profile("RGB", profile)
    assert srgb_transform("RGB", profile) is not None
    picture = decode(
        photos.save(declared.scene(), "PNG", icc_profile=photos.scanner_profile()), max_pixels=10**6
    )
    assert picture.icc is None
    shown = in_srgb(photos.scanner_profile(), declared.SUBJECT)
    assert np.abs(picture.rgb[declared.IN_SUBJECT].astype(int) - shown).max() <= 2


def test_a_kept_profile_needs_no_transform() -> None:
    profile = parse_profile(declared.P3)
    assert keeps_profile("RGB", profile)
    assert srgb_transform("RGB", profile) is None
    assert srgb_transform("LAB", profile) is None


def test_pixels_go_from_any_profile_to_any_other() -> None:
    pixels = np.full((2, 3, 3), (51, 102, 153), np.uint8)
    for source in (None, declared.P3, declared.ADOBE):
        for target in (None, declared.P3, declared.ADOBE):
            moved = transform_between(source, target)(pixels)
            before = tuple(pixels[0, 0]) if source is None else in_srgb(source, (51, 102, 153))
            colour = tuple(map(int, moved[1, 2]))
            after = colour if target is None else in_srgb(target, colour)  # type: ignore[arg-type]
            assert max(abs(int(a) - int(b)) for a, b in zip(before, after, strict=True)) <= 2
            assert moved.shape == pixels.shape


@pytest.mark.parametrize("broken", [b"", b"x" * 1000, declared.P3[:200]])
def test_a_broken_profile_counts_as_srgb(broken: bytes) -> None:
    pixels = np.full((2, 3, 3), (51, 102, 153), np.uint8)
    assert np.array_equal(transform_between(broken, None)(pixels), pixels)
    assert np.array_equal(transform_between(None, broken)(pixels), pixels)
