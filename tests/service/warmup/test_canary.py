"""The canary and its judge."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.warmup.canary import DRIFT_TOLERANCE, Judge, picture
from supervisor.protocol import Outcome, ProbeError
from tests.support import photos

SIDE = 32


def cut_out(alpha: npt.NDArray[np.uint8]) -> bytes:
    """An RGBA PNG with that alpha."""
    rgba = np.zeros((*alpha.shape, 4), np.uint8)
    rgba[..., 3] = alpha
    return photos.save(rgba, "PNG")


def ramp(side: int = SIDE) -> npt.NDArray[np.uint8]:
    return np.broadcast_to(np.linspace(0, 200, side).astype(np.uint8), (side, side)).copy()


def verdict(judge: Judge, body: bytes) -> str | None:
    """The objection of the judge; None if the answer passes."""
    try:
        judge.check(body)
    except ProbeError as error:
        return f"{error.outcome}: {error.message}"
    return None


@pytest.mark.parametrize("side", [1, 32, 64, 1024])
def test_the_canary_is_a_png_of_its_side_and_always_the_same(side: int) -> None:
    with Image.open(io.BytesIO(picture(side, side))) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (side, side))
    assert picture(side, side) == picture(side, side)


def test_the_canary_has_texture_and_a_subject() -> None:
    with Image.open(io.BytesIO(picture(64, 64))) as image:
        pixels = np.asarray(image).astype(float)
    assert pixels.std() > 20
    centre, corner = pixels[30:40, 28:36].mean(axis=(0, 1)), pixels[:8, :8].mean(axis=(0, 1))
    assert np.abs(centre - corner).max() > 60


def test_a_cut_out_of_the_canary_passes_again_and_again() -> None:
    judge = Judge((SIDE, SIDE))
    assert [verdict(judge, cut_out(ramp())) for _ in range(3)] == [None] * 3


@pytest.mark.parametrize(
    ("body", "objection"),
    [
        (b"", "does not decode"),
        (b"not a picture", "does not decode"),
        (cut_out(ramp())[:-40], "does not decode"),
        (photos.save(ramp(), "BMP"), "does not decode"),
        (cut_out(ramp(SIDE - 1)), "31x31 pixels; the canary has 32x32"),
        (photos.encoded(SIDE, SIDE), "no alpha channel"),
        (cut_out(np.full((SIDE, SIDE), 0, np.uint8)), "constant"),
        (cut_out(np.full((SIDE, SIDE), 255, np.uint8)), "constant"),
    ],
    ids=[
        "empty",
        "no picture",
        "truncated",
        "not PNG",
        "size",
        "no alpha",
        "all background",
        "all foreground",
    ],
)
def test_an_answer_that_is_no_cut_out_of_the_canary_is_bad_output(body: bytes, objection: str) -> None:
    said = verdict(Judge((SIDE, SIDE)), body)
    assert said is not None
    assert said.startswith(Outcome.BAD_OUTPUT)
    assert objection in said


@given(shift=st.integers(0, 55))
def test_drift_is_the_mean_difference_from_the_first_that_passed(shift: int) -> None:
    judge = Judge((SIDE, SIDE))
    assert verdict(judge, cut_out(ramp())) is None
    said = verdict(judge, cut_out(ramp() + np.uint8(shift)))
    assert (said is None) == (shift / 255 <= DRIFT_TOLERANCE)
    if said is not None:
        assert f"drifted by {shift:.1f}/255" in said


def test_drift_in_small_steps_is_seen_too() -> None:
    judge = Judge((SIDE, SIDE))
    said = [verdict(judge, cut_out(ramp() + np.uint8(step))) for step in range(4)]
    assert said[:3] == [None] * 3
    assert said[3] is not None


def test_a_failure_is_never_the_reference() -> None:
    judge = Judge((SIDE, SIDE))
    assert verdict(judge, cut_out(np.zeros((SIDE, SIDE), np.uint8))) is not None
    assert verdict(judge, cut_out(ramp())) is None
    assert verdict(judge, cut_out(ramp())) is None


def test_a_new_judge_takes_a_new_reference() -> None:
    first, second = Judge((SIDE, SIDE)), Judge((SIDE, SIDE))
    assert verdict(first, cut_out(ramp())) is None
    assert verdict(second, cut_out(255 - ramp())) is None
    assert verdict(first, cut_out(255 - ramp())) is not None
