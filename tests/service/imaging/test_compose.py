"""The pixels of answers, compared with those of ``transparent_background`` and of the same formulas in float64."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from skimage import data as photographs

from service.engines.protocol import RGB, Alpha
from service.imaging.colour.transparency import composite
from service.imaging.compose import compose
from service.imaging.compose import peak_bytes as stated_peak
from service.imaging.mask import BadMask
from service.imaging.options import CENTRE, WHITE, Format, Length, Margin, Options, Output, Position
from service.imaging.picture import Picture
from service.imaging.placement import place
from service.imaging.subject import measure
from tests.support import declared, photos

SCENE = photos.photograph(200, 150)
COLOUR = (10, 200, 99)
OUTPUTS = [each for each in Output if each is not Output.BACKGROUND]
"""Those that transparent-background has too; the second picture has tests of its own below."""


def untouched(image: RGB, alpha: Alpha) -> RGB:
    return image


def disc(height: int, width: int, softness: float = 12.0) -> Alpha:
    y, x = np.mgrid[0:height, 0:width]
    distance = np.hypot(y - height * 0.45, x - width * 0.35)
    return np.clip((min(height, width) * 0.3 - distance) / softness + 0.5, 0, 1).astype(np.float32)


def options(output: Output, threshold: float | None = None, reverse: bool = False) -> Options:
    colour = COLOUR if output is Output.COLOUR else None
    return Options(output, colour, Format.PNG, threshold, reverse)


def restated(image: RGB, alpha: Alpha, wanted: Options) -> npt.NDArray[np.uint8]:
    """``Remover.process`` after the network, with the estimated foreground equal to the image."""
    prediction = alpha.astype(np.float64)
    if wanted.threshold is not None:
        prediction = (alpha > wanted.threshold).astype(np.float64)
    if wanted.reverse:
        prediction = 1 - prediction
    weight = prediction[..., np.newaxis]
    scene = image.astype(np.float64)
    match wanted.output:
        case Output.MASK:
            result = prediction * 255
        case Output.RGBA:
            result = np.dstack([scene, np.floor(prediction * 255)])
        case Output.GREEN:
            result = scene * weight + np.array([120, 255, 155]) * (1 - weight)
        case Output.WHITE:
            result = scene * weight + 255.0 * (1 - weight)
        case Output.COLOUR:
            result = scene * weight + np.array(COLOUR) * (1 - weight)
        case Output.BLUR:
            result = scene * weight + cv2.GaussianBlur(image, (0, 0), 15).astype(np.float64) * (1 - weight)
        case Output.OVERLAY:
            tinted = (np.array([120.0, 255.0, 155.0]) + scene) // 2
            result = tinted * weight + scene * (1 - weight)
            border = cv2.Canny(((prediction > 0.5) * 255).astype(np.uint8), 50, 100)
            result[border != 0] = [120, 255, 155]
    return result.astype(np.uint8)


STOCK_TYPES = {
    Output.MASK: "map",
    Output.RGBA: "rgba",
    Output.GREEN: "green",
    Output.WHITE: "white",
    Output.COLOUR: "[10, 200, 30]",
    Output.BLUR: "blur",
    Output.OVERLAY: "overlay",
}


@pytest.mark.stock
@pytest.mark.timeout(600)
@pytest.mark.parametrize("variant", ["", "/threshold", "/reverse"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_every_output_is_what_the_real_package_made(
    stock: Mapping[str, npt.NDArray[Any]], output: Output, variant: str
) -> None:
    theirs = stock[f"type/{STOCK_TYPES[output]}{variant}"]
    wanted = Options(
        output,
        (10, 200, 30) if output is Output.COLOUR else None,
        threshold=0.5 if variant == "/threshold" else None,
        reverse=variant == "/reverse",
    )
    scene, alpha = stock["image/chelsea"], stock["alpha/fast/static/chelsea"]
    # The estimate itself is the engine's business, and tested there: here it is stock's own.
    ours = compose(Picture(scene), alpha, wanted, lambda image, mask: theirs[..., :3])
    assert_within_one_level(ours, theirs[..., 0] if output is Output.MASK else theirs)


def assert_within_one_level(ours: npt.NDArray[np.uint8], theirs: npt.NDArray[np.uint8]) -> None:
    assert ours.dtype == np.uint8
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("threshold", [None, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("output", OUTPUTS)
def test_every_output_is_what_stock_makes(output: Output, threshold: float | None, reverse: bool) -> None:
    alpha = disc(150, 200)
    wanted = options(output, threshold, reverse)
    assert_within_one_level(compose(Picture(SCENE), alpha, wanted, untouched), restated(SCENE, alpha, wanted))


@pytest.mark.parametrize("output", OUTPUTS)
def test_pictures_larger_than_a_strip_are_what_stock_makes(output: Output) -> None:
    scene = np.ascontiguousarray(photographs.chelsea().repeat(3, axis=0).repeat(3, axis=1))
    alpha = disc(*scene.shape[:2], softness=200.0)
    wanted = options(output)
    assert_within_one_level(compose(Picture(scene), alpha, wanted, untouched), restated(scene, alpha, wanted))


@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3))),
    st.randoms(use_true_random=False),
    st.sampled_from(OUTPUTS),
    st.none() | st.floats(0, 1, width=32),
    st.booleans(),
)
def test_any_picture_and_mask_give_what_stock_makes(
    scene: RGB, random: object, output: Output, threshold: float | None, reverse: bool
) -> None:
    seed = random.getrandbits(32)  # type: ignore[attr-defined]
    alpha = np.random.default_rng(seed).random(scene.shape[:2], dtype=np.float32)
    wanted = options(output, threshold, reverse)
    assert_within_one_level(compose(Picture(scene), alpha, wanted, untouched), restated(scene, alpha, wanted))


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 2)])
@pytest.mark.parametrize("output", OUTPUTS)
def test_one_pixel_sides_work(output: Output, shape: tuple[int, int]) -> None:
    scene, alpha = photos.photograph(shape[1], shape[0]), np.full(shape, 0.7, np.float32)
    wanted = options(output)
    assert_within_one_level(compose(Picture(scene), alpha, wanted, untouched), restated(scene, alpha, wanted))


@pytest.mark.parametrize(
    ("output", "channels"), [(Output.MASK, ()), (Output.RGBA, (4,)), (Output.BLUR, (3,))]
)
def test_each_output_has_its_channels(output: Output, channels: tuple[int, ...]) -> None:
    assert compose(Picture(SCENE), disc(150, 200), options(output), untouched).shape == (150, 200, *channels)


@pytest.mark.parametrize("output", [Output.WHITE, Output.COLOUR, Output.BLUR, Output.BACKGROUND])
def test_clear_blocks_show_the_background_alone_and_solid_ones_the_picture(output: Output) -> None:
    alpha = np.full((150, 200), 0.001, np.float32)
    alpha[:, :100] = 0.999
    behind = Picture(np.full_like(SCENE, 99))
    result = compose(Picture(SCENE), alpha, options(output), untouched, background=behind)
    if output is not Output.BLUR:
        shown = {Output.WHITE: WHITE, Output.COLOUR: COLOUR, Output.BACKGROUND: (99, 99, 99)}[output]
        assert (result[:, 128:] == shown).all()
    assert np.array_equal(result[:, :96], SCENE[:, :96])


class Estimate:
    """A foreground estimate that paints everything, and remembers the mask it was given."""

    def __init__(self) -> None:
        self.mask: Alpha | None = None

    def __call__(self, image: RGB, alpha: Alpha) -> RGB:
        self.mask = alpha
        return np.full_like(image, 77)


def test_a_soft_cut_out_has_the_estimated_colours_of_the_foreground() -> None:
    estimate, alpha = Estimate(), disc(150, 200)
    result = compose(Picture(SCENE), alpha, options(Output.RGBA), estimate)
    assert (result[..., :3] == 77).all()
    assert estimate.mask is not None
    assert np.array_equal(estimate.mask, alpha)


def test_the_estimate_gets_the_mask_after_reversal_and_the_inputs_own_transparency() -> None:
    estimate, alpha = Estimate(), disc(150, 200)
    own = np.full((150, 200), 51, np.uint8)
    compose(Picture(SCENE, own), alpha, options(Output.RGBA, reverse=True), estimate)
    assert estimate.mask is not None
    assert np.allclose(estimate.mask, (1 - alpha) * 0.2, atol=1e-6)


@pytest.mark.parametrize(
    "wanted", [options(Output.RGBA, threshold=0.5), options(Output.MASK), options(Output.GREEN)]
)
def test_foreground_colours_are_estimated_only_where_stock_does(wanted: Options) -> None:
    estimate = Estimate()
    compose(Picture(SCENE), disc(150, 200), wanted, estimate)
    assert estimate.mask is None


@pytest.mark.parametrize("reverse", [False, True])
def test_transparent_parts_of_the_input_stay_transparent(reverse: bool) -> None:
    own = np.zeros((150, 200), np.uint8)
    own[:, 100:] = 128
    shown = SCENE.copy()
    composite(shown, own, WHITE)
    picture, alpha = Picture(shown, own), np.full((150, 200), 0.0 if reverse else 1.0, np.float32)
    cut_out = compose(picture, alpha, options(Output.RGBA, reverse=reverse), untouched)
    mask = compose(picture, alpha, options(Output.MASK, reverse=reverse), untouched)
    assert np.array_equal(cut_out[..., 3], mask)
    assert (mask[:, :100] == 0).all()
    assert (abs(mask[:, 100:].astype(int) - 128) <= 1).all()
    flat = compose(picture, alpha, options(Output.COLOUR, reverse=reverse), untouched)
    assert (flat[:, :100] == COLOUR).all()


def test_the_inputs_are_not_changed() -> None:
    scene, alpha, own = SCENE.copy(), disc(150, 200), np.full((150, 200), 99, np.uint8)
    before = scene.copy(), alpha.copy(), own.copy()
    for output in OUTPUTS:
        compose(Picture(scene, own), alpha, options(output, 0.5, reverse=True), untouched)
        compose(Picture(scene, own), alpha, options(output), untouched)
    for array, copy in zip((scene, alpha, own), before, strict=True):
        assert np.array_equal(array, copy)


def spoil(value: float) -> Alpha:
    alpha = disc(150, 200)
    alpha[70, 70] = value
    return alpha


@pytest.mark.parametrize(
    "alpha",
    [
        disc(150, 199),
        disc(200, 150),
        disc(150, 200)[np.newaxis],
        disc(150, 200).astype(np.float64),
        spoil(float("nan")),
        spoil(float("inf")),
        spoil(float("-inf")),
        spoil(1.01),
        spoil(-0.01),
    ],
    ids=["narrow", "turned", "batched", "float64", "nan", "inf", "-inf", "above", "below"],
)
def test_a_mask_that_is_not_valid_is_refused(alpha: Alpha) -> None:
    for output in OUTPUTS:
        with pytest.raises(BadMask):
            compose(Picture(SCENE), alpha, options(output), untouched)


def test_a_mask_outside_its_range_by_rounding_is_clipped() -> None:
    alpha = np.full((150, 200), 1.0005, np.float32)
    alpha[:75] = -0.0005
    mask = compose(Picture(SCENE), alpha, options(Output.MASK), untouched)
    assert (mask[:75] == 0).all()
    assert (mask[75:] == 255).all()


# Output -> bytes a pixel that compose allocates at once, as its docstring says.
BUDGET = {
    Output.MASK: 1,
    Output.RGBA: 4,
    Output.GREEN: 3,
    Output.WHITE: 3,
    Output.COLOUR: 3,
    Output.BLUR: 3,
    Output.OVERLAY: 5,
}


@pytest.mark.memory
@pytest.mark.parametrize("output", OUTPUTS)
def test_memory_stays_near_the_size_of_the_result(output: Output) -> None:
    height, width = 2000, 3000
    picture, alpha = Picture(np.zeros((height, width, 3), np.uint8)), disc(height, width)
    peak = peak_bytes(lambda: compose(picture, alpha, options(output), untouched))
    assert peak < BUDGET[output] * width * height + (13 << 20) <= stated_peak(options(output), width * height)


def peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("output", "colour"),
    [(Output.COLOUR, (51, 102, 153)), (Output.GREEN, (120, 255, 155)), (Output.WHITE, (255, 255, 255))],
)
@pytest.mark.parametrize(
    "icc", [declared.P3, declared.BT2020, declared.ADOBE], ids=["P3", "BT.2020", "Adobe"]
)
def test_a_colour_that_was_asked_for_is_that_colour_whatever_profile_the_answer_carries(
    icc: bytes, output: Output, colour: tuple[int, int, int]
) -> None:
    picture, alpha = Picture(SCENE, icc=icc), disc(150, 200)
    wanted = Options(output, (51, 102, 153) if output is Output.COLOUR else None)
    result = compose(picture, alpha, wanted, untouched)
    assert np.abs(declared.shown_in_srgb(icc, result)[0, -1].astype(int) - colour).max() <= 2
    assert (result[60, 70] == SCENE[60, 70]).all(), "the subject keeps its own numbers"


def test_the_outline_of_an_overlay_is_green_in_the_pictures_own_space() -> None:
    picture, alpha = Picture(SCENE, icc=declared.P3), disc(150, 200)
    shown = declared.shown_in_srgb(declared.P3, compose(picture, alpha, options(Output.OVERLAY), untouched))
    green = np.abs(shown.astype(int) - (120, 255, 155)).max(axis=2) <= 2
    assert green.sum() > 100


WHITE_SUBJECT = np.full_like(SCENE, 255)
SOFT = (disc(150, 200) * 255).astype(np.uint8)


def cut_out_on(ground: tuple[int, int, int], colours: npt.NDArray[np.uint8] = WHITE_SUBJECT) -> Picture:
    shown = colours.copy()
    composite(shown, SOFT, ground)
    return Picture(shown, SOFT, ground=ground)


ALL = np.ones((150, 200), np.float32)


@pytest.mark.parametrize("output", [o for o in OUTPUTS if o is not Output.MASK])
@pytest.mark.parametrize("colours", [WHITE_SUBJECT, SCENE], ids=["white", "scene"])
def test_the_ground_does_not_show_in_the_answer(output: Output, colours: npt.NDArray[np.uint8]) -> None:
    on_white, on_black = (
        compose(cut_out_on(ground, colours), ALL, options(output), untouched) for ground in (WHITE, (0, 0, 0))
    )
    seen = on_white.shape[2] == 3 or SOFT > 60
    assert np.abs(on_white.astype(int) - on_black)[np.broadcast_to(seen, SOFT.shape)].max() <= 3


def test_soft_edges_of_the_input_keep_their_own_colours() -> None:
    result = compose(cut_out_on((0, 0, 0), SCENE), ALL, options(Output.RGBA), lambda image, mask: image * 0)
    soft = (SOFT > 60) & (SOFT < 255)
    assert np.abs(result[soft][:, :3].astype(int) - SCENE[soft]).max() <= 4
    assert (result[..., 3] <= SOFT).all()


@pytest.mark.parametrize("output", [Output.COLOUR, Output.GREEN, Output.WHITE])
def test_a_cut_out_on_a_flat_colour_has_no_fringe_of_the_ground(output: Output) -> None:
    wanted = options(output)
    result = compose(cut_out_on((0, 0, 0), SCENE), ALL, wanted, untouched)
    weight = SOFT[..., np.newaxis] / 255
    expected = SCENE * weight + np.array(wanted.background) * (1 - weight)
    assert np.abs(result - expected).max() <= 2


@pytest.mark.parametrize("shape", [(3, 70_000), (70_000, 3), (40, 40_000)])
def test_a_long_picture_is_blurred_as_a_whole_one(shape: tuple[int, int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    blurred = compose(
        Picture(rgb), np.zeros(shape, np.float32), Options(output=Output.BLUR), lambda image, _: image
    )
    expected = cv2.GaussianBlur(rgb, (0, 0), 15.0)
    assert int(np.abs(blurred.astype(int) - expected).max()) <= 1


BEHIND = photos.photograph(90, 200, seed=5)
ON_BACKGROUND = Options(Output.BACKGROUND)


def on_background(
    picture: Picture, alpha: Alpha, background: Picture, wanted: Options = ON_BACKGROUND
) -> npt.NDArray[np.uint8]:
    size = alpha.shape[1], alpha.shape[0]
    subject = measure(picture, alpha, wanted)
    return compose(
        picture, alpha, wanted, untouched, placement=place(size, subject.box, wanted), background=background
    )


def test_a_background_fills_the_answer_as_css_cover_does() -> None:
    shown = on_background(Picture(SCENE), np.zeros((150, 200), np.float32), Picture(BEHIND))
    top = (200 - 90 * 150 / 200) / 2
    expected = Image.fromarray(BEHIND).resize((200, 150), Image.Resampling.BICUBIC, (0, top, 90, 200 - top))
    assert np.abs(shown.astype(int) - np.asarray(expected)).mean() < 1


def test_a_background_of_the_answers_size_is_shown_as_it_is() -> None:
    alpha, behind = disc(150, 200), photos.photograph(200, 150, seed=5)
    shown = on_background(Picture(SCENE), alpha, Picture(behind))
    weight = alpha[..., np.newaxis]
    assert_within_one_level(shown, (SCENE * weight + behind * (1 - weight)).astype(np.uint8))


@pytest.mark.parametrize("behind_icc", [None, declared.P3, declared.ADOBE], ids=["sRGB", "P3", "Adobe"])
@pytest.mark.parametrize("icc", [None, declared.P3, declared.ADOBE], ids=["sRGB", "P3", "Adobe"])
def test_a_background_is_shown_in_its_own_colours_whatever_profile_the_answer_carries(
    icc: bytes | None, behind_icc: bytes | None
) -> None:
    behind = np.full((30, 40, 3), (100, 120, 140), np.uint8)
    shown = on_background(Picture(SCENE, icc=icc), disc(150, 200), Picture(behind, icc=behind_icc))
    ours = shown if icc is None else declared.shown_in_srgb(icc, shown)
    theirs = behind if behind_icc is None else declared.shown_in_srgb(behind_icc, behind)
    assert np.abs(ours[0, -1].astype(int) - theirs[0, 0]).max() <= 2
    assert (shown[60, 70] == SCENE[60, 70]).all(), "the subject keeps its own numbers"


def test_the_transparent_parts_of_a_background_are_white() -> None:
    own = np.zeros((200, 90), np.uint8)
    behind = Picture(np.zeros_like(BEHIND), own, ground=(0, 0, 0))
    shown = on_background(Picture(SCENE), np.zeros((150, 200), np.float32), behind)
    assert (shown == 255).all()


def test_a_background_shows_through_the_transparent_parts_of_the_input() -> None:
    behind = Picture(np.full((10, 10, 3), 200, np.uint8))
    shown = on_background(cut_out_on((0, 0, 0), SCENE), ALL, behind)
    weight = SOFT[..., np.newaxis] / 255
    assert np.abs(shown - (SCENE * weight + 200.0 * (1 - weight))).max() <= 2


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (2500, 2500)])
def test_a_background_may_have_any_size(size: tuple[int, int]) -> None:
    behind = Picture(np.full((size[1], size[0], 3), 77, np.uint8))
    for shape in ((1, 1), (1, 300), (40, 30)):
        scene = Picture(np.zeros((*shape, 3), np.uint8))
        assert (on_background(scene, np.zeros(shape, np.float32), behind) == 77).all()


@pytest.mark.parametrize(
    "wanted",
    [ON_BACKGROUND, Options(Output.WHITE, clean_edges=True), Options(Output.COLOUR, COLOUR, opacity=9)],
)
def test_clean_edges_have_the_estimated_colours_of_the_foreground(wanted: Options) -> None:
    estimate, alpha = Estimate(), disc(150, 200)
    shown = compose(Picture(SCENE), alpha, wanted, estimate, background=Picture(BEHIND))
    assert (shown[60, 70, :3] == 77).all()
    assert np.array_equal(estimate.mask, alpha)


def test_a_colour_that_is_not_opaque_stands_behind_the_cut_out() -> None:
    alpha = disc(150, 200)
    shown = compose(Picture(SCENE), alpha, Options(Output.COLOUR, COLOUR, opacity=51), untouched)
    expected = alpha + 0.2 * (1 - alpha)
    assert np.abs(shown[..., 3] - 255 * expected).max() <= 2
    assert np.abs(shown[0, -1].astype(int) - (*COLOUR, 51)).max() <= 1
    assert (shown[60, 70, :3] == SCENE[60, 70]).all()


def framed(picture: Picture, alpha: Alpha, wanted: Options) -> npt.NDArray[np.uint8]:
    box = measure(picture, alpha, wanted).box
    placement = place((alpha.shape[1], alpha.shape[0]), box, wanted)
    return compose(picture, alpha, wanted, untouched, placement=placement, background=Picture(BEHIND))


WIDE = Margin(*[Length(20)] * 4)


@pytest.mark.parametrize("output", [o for o in OUTPUTS if o not in (Output.BLUR, Output.OVERLAY)])
def test_a_crop_is_a_part_of_the_whole_answer(output: Output) -> None:
    alpha = disc(150, 200)
    whole_answer = compose(Picture(SCENE), alpha, options(output), untouched)
    box = measure(Picture(SCENE), alpha, Options()).box
    assert box is not None
    shown = framed(Picture(SCENE), alpha, replace(options(output), crop=Margin()))
    assert np.array_equal(shown, whole_answer[box.rows, box.columns])


@pytest.mark.parametrize(
    ("output", "empty"),
    [(Output.MASK, 0), (Output.RGBA, (0, 0, 0, 0)), (Output.COLOUR, COLOUR), (Output.WHITE, 255)],
)
def test_beyond_the_picture_there_is_only_background(output: Output, empty: Any) -> None:
    alpha = np.ones((150, 200), np.float32)
    shown = framed(Picture(SCENE), alpha, replace(options(output), crop=WIDE))
    assert shown.shape[:2] == (190, 240)
    assert (shown[:20] == empty).all()
    assert (shown[:, -20:] == empty).all()
    inside = shown[20:-20, 20:-20]
    assert (inside == 255).all() if output is Output.MASK else np.array_equal(inside[..., :3], SCENE)


@pytest.mark.parametrize("output", [Output.BLUR, Output.OVERLAY])
def test_what_shows_its_own_background_ends_with_the_picture(output: Output) -> None:
    alpha = np.ones((150, 200), np.float32)
    assert framed(Picture(SCENE), alpha, replace(options(output), crop=WIDE)).shape == SCENE.shape


def test_a_moved_subject_leaves_its_background_behind() -> None:
    alpha = np.zeros((150, 200), np.float32)
    alpha[40:60, 40:80] = 1
    shown = framed(Picture(SCENE), alpha, replace(options(Output.COLOUR), position=Position(1, 1)))
    assert np.array_equal(shown[130:, 160:], SCENE[40:60, 40:80])
    shown[130:, 160:] = COLOUR
    assert (shown == COLOUR).all()


def test_a_reduced_answer_looks_like_the_whole_one() -> None:
    alpha = disc(150, 200)
    for output in OUTPUTS:
        if output in (Output.OVERLAY, Output.BLUR):  # outlines and blurs are in pixels of the answer
            continue
        whole_answer = compose(Picture(SCENE), alpha, options(output), untouched)
        shown = framed(Picture(SCENE), alpha, replace(options(output), longest_side=100))
        expected = np.asarray(Image.fromarray(whole_answer).resize((100, 75), Image.Resampling.BICUBIC))
        seen = expected[..., 3] > 250 if output is Output.RGBA else np.ones((75, 100), bool)
        assert np.abs(shown.astype(int) - expected)[seen].mean() < 2, output


def test_a_reduced_transparent_picture_keeps_the_colours_of_its_soft_edges() -> None:
    shown = framed(cut_out_on((0, 0, 0), SCENE), ALL, Options(longest_side=100))
    expected = np.asarray(Image.fromarray(SCENE).resize((100, 75), Image.Resampling.BICUBIC))
    seen = shown[..., 3] > 128
    assert np.abs(shown[..., :3].astype(int) - expected)[seen].mean() < 4


@pytest.mark.parametrize("output", list(Output))
def test_a_tiny_subject_can_fill_a_picture_and_a_huge_one_a_pixel(output: Output) -> None:
    alpha = np.zeros((150, 200), np.float32)
    alpha[149, 199] = 1
    base = Options(output, COLOUR if output is Output.COLOUR else None)
    tiny = replace(base, crop=Margin())
    assert framed(Picture(SCENE), alpha, tiny).shape[:2] == (1, 1)
    if output not in (Output.BLUR, Output.OVERLAY):
        assert framed(Picture(SCENE), alpha, replace(base, scale=1.0, position=CENTRE)).shape[:2] == (
            150,
            200,
        )
    assert framed(Picture(SCENE), alpha, replace(base, longest_side=1)).shape[:2] == (1, 1)


@pytest.mark.memory
@pytest.mark.parametrize(
    ("wanted", "budget"),
    [
        (Options(Output.MASK, longest_side=3000), 1 + 8),
        (Options(Output.RGBA, longest_side=3000), 4 + 8),
        (Options(Output.RGBA, reverse=True, longest_side=3000), 4 + 8 + 4),
        (Options(Output.WHITE, crop=Margin()), 3 + 8),
        (Options(Output.COLOUR, COLOUR, opacity=100), 4),
        (Options(Output.WHITE, clean_edges=True, reverse=True), 3 + 4),
        (ON_BACKGROUND, 3 + 1),
        (replace(ON_BACKGROUND, longest_side=3000), 3 + 8 + 1),
    ],
)
def test_memory_with_a_placement_or_a_background_stays_within_what_is_stated(
    wanted: Options, budget: int
) -> None:
    height, width = 3000, 4000
    picture, alpha = Picture(np.zeros((height, width, 3), np.uint8)), disc(height, width)
    behind = Picture(np.zeros((height, width, 3), np.uint8))
    placement = place((width, height), measure(picture, alpha, wanted).box, wanted)
    peak = peak_bytes(
        lambda: compose(picture, alpha, wanted, untouched, placement=placement, background=behind)
    )
    pixels = placement.canvas[0] * placement.canvas[1]
    assert peak < budget * pixels + (13 << 20) <= stated_peak(wanted, pixels, height * width)


BLUR_MEMORY = """
import re
import numpy as np
from service.host.memory import resident_bytes
from service.imaging.compose import compose
from service.imaging.options import Options, Output
from service.imaging.picture import Picture

def blur(height, width):
    picture = Picture(np.zeros((height, width, 3), np.uint8))
    compose(picture, np.zeros((height, width), np.float32), Options(output=Output.BLUR), lambda rgb, _: rgb)

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10

blur(64, 64)
before = resident_bytes()
blur(2, 2_000_000)
print((peak() - before) / 4_000_000)
"""


@pytest.mark.memory
def test_blurring_a_picture_of_two_long_rows_takes_no_buffer_of_many_such_rows() -> None:
    """OpenCV keeps as many rows as the blur is high, 91, whatever their length."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    done = subprocess.run(
        [sys.executable, "-c", BLUR_MEMORY], check=True, capture_output=True, text=True, timeout=60
    )
    assert float(done.stdout) < 100  # bytes a pixel, 7 of them the picture and its mask
