"""Colour unmixing on photographs whose true foreground is known, and on pictures of extreme shapes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from benchmarks.scenes import MATTES, Scene, composite_errors, scenes
from service.engines import blocks, unmixing
from service.engines.protocol import RGB, Alpha
from service.engines.unmixing import estimate_foreground
from tests.support.examples import examples

pytestmark = pytest.mark.photographs

Estimator = Callable[[RGB, Alpha], RGB]


def noise(height: int, width: int, seed: int = 0) -> tuple[RGB, Alpha]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), np.uint8), rng.random((height, width), np.float32)


@pytest.fixture(scope="module")
def photographs() -> list[Scene]:
    return list(scenes(480, 360))


def mean_errors(estimate: Estimator, photographs: list[Scene]) -> dict[str, float]:
    """For each kind of matte: the mean error of soft edges on new backgrounds, in levels of 255."""
    errors: dict[str, list[float]] = {kind: [] for kind in MATTES}
    for scene in photographs:
        errors[scene.kind].append(composite_errors(scene, estimate(scene.image, scene.alpha)).mean)
    return {kind: float(np.mean(found)) for kind, found in errors.items()}


@pytest.fixture(scope="module")
def errors(photographs: list[Scene]) -> dict[str, float]:
    return mean_errors(estimate_foreground, photographs)


@pytest.mark.parametrize(
    ("kind", "limit"), [("hair", 4.3), ("defocus", 2.7), ("sigmoid", 2.4), ("veil", 14.0)]
)
def test_soft_edges_look_right_on_new_backgrounds(errors: dict[str, float], kind: str, limit: float) -> None:
    assert errors[kind] < limit


@pytest.mark.parametrize("kind", MATTES)
def test_the_estimate_is_better_than_the_unchanged_picture(
    errors: dict[str, float], photographs: list[Scene], kind: str
) -> None:
    assert errors[kind] < 0.85 * mean_errors(lambda image, alpha: image, photographs)[kind]


@pytest.mark.stock
@pytest.mark.timeout(300)  # numba compiles pymatting's module where no cache is found
def test_no_kind_of_edge_is_worse_than_with_pymatting(
    errors: dict[str, float], photographs: list[Scene]
) -> None:
    from benchmarks.stock import estimate_foreground_ml

    theirs = mean_errors(estimate_foreground_ml, photographs)
    assert all(errors[kind] <= 1.01 * theirs[kind] for kind in MATTES), (errors, theirs)


@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=examples(60))
def test_solid_pixels_keep_their_colour_whatever_is_around_them(image: RGB, seed: int) -> None:
    rng = np.random.default_rng(seed)
    alpha = rng.choice(np.array([0, 0.3, 0.998, 1], np.float32), image.shape[:2])
    result = estimate_foreground(image, alpha)
    assert result.dtype == np.uint8
    assert result.shape == image.shape
    assert np.array_equal(result[alpha == 1], image[alpha == 1])


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 2), (2, 1), (1, 300), (300, 1), (3, 1000), (65, 63), (257, 129)]
)
@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_every_shape_works_with_every_constant_mask(shape: tuple[int, int], value: float) -> None:
    image, _ = noise(*shape)
    result = estimate_foreground(image, np.full(shape, value, np.float32))
    assert result.shape == image.shape
    if value == 1:
        assert np.array_equal(result, image)


def test_one_colour_over_another_is_separated_exactly() -> None:
    front, behind = np.array([200, 40, 90]), np.array([20, 180, 240])
    alpha = np.clip((np.arange(120, dtype=np.float32) - 40) / 40, 0, 1)[None].repeat(80, axis=0)
    image = np.rint(front * alpha[..., None] + behind * (1 - alpha[..., None])).astype(np.uint8)
    result = estimate_foreground(image, alpha)
    visible = alpha > 0.1
    assert np.abs(result[visible].astype(int) - front).max() <= 8


def test_clear_pixels_continue_the_foreground_instead_of_showing_the_background() -> None:
    image = np.full((128, 128, 3), 250, np.uint8)
    alpha = np.zeros((128, 128), np.float32)
    alpha[32:96, 32:96] = 1
    image[alpha == 1] = (10, 60, 20)
    assert np.abs(estimate_foreground(image, alpha)[16:32, 16:112].astype(int) - (10, 60, 20)).max() <= 2


def test_what_is_far_from_everything_that_can_be_seen_is_black() -> None:
    image, alpha = noise(600, 600)
    alpha[:] = 0.9 / 255
    alpha[250:300, 250:300] = 0.5
    result = estimate_foreground(image, alpha)
    assert not result[:200].any()
    assert not result[:, 350:].any()
    assert result[240:310, 240:310].any(axis=-1).all()


@pytest.mark.parametrize("size", [(300, 200), (1152, 864), (4096, 300)])
def test_a_thumbnail_made_without_regard_to_the_mask_has_no_dark_edges(size: tuple[int, int]) -> None:
    """Where a disc of one colour shows in a picture scaled to 128 pixels, its edge has that colour."""
    width, height = size
    y, x = np.ogrid[:height, :width]
    alpha = np.clip(height / 4 - np.hypot(y - height / 2, x - width / 2), 0, 1).astype(np.float32)
    image = np.where(alpha[..., None] > 0, np.uint8(200), np.uint8(0)).repeat(3, axis=2)
    scale = 128 / max(size)
    small = round(width * scale), round(height * scale)
    colours = cv2.resize(estimate_foreground(image, alpha), small, interpolation=cv2.INTER_AREA)
    shown = cv2.resize(alpha, small, interpolation=cv2.INTER_AREA) > 0.02
    assert colours[shown].min() >= 195


def test_pixels_that_an_eight_bit_mask_calls_solid_keep_their_colours() -> None:
    image, alpha = noise(300, 300)
    assert np.array_equal(estimate_foreground(image, np.full_like(alpha, 254.5 / 255)), image)


def test_blocks_solved_by_themselves_are_what_solving_the_whole_grid_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = next(scenes(1300, 900))
    in_blocks = estimate_foreground(scene.image, scene.alpha)
    monkeypatch.setattr(unmixing, "_WHOLE_GRID", 1 << 30)
    as_one = estimate_foreground(scene.image, scene.alpha)
    visible, _ = blocks.kinds(scene.alpha, unmixing._BLOCK * unmixing._REDUCTION)
    for part in blocks.parts(visible, unmixing._BLOCK * unmixing._REDUCTION, scene.alpha.shape):
        assert np.array_equal(in_blocks[part], as_one[part])


def test_turning_the_picture_turns_the_result() -> None:
    image, alpha = noise(96, 160)
    turned = estimate_foreground(
        np.ascontiguousarray(image[::-1, ::-1]), np.ascontiguousarray(alpha[::-1, ::-1])
    )
    difference = turned[::-1, ::-1].astype(int) - estimate_foreground(image, alpha)
    assert np.abs(difference).max() <= 1


def test_a_row_longer_than_any_strip_gives_the_same_as_the_column() -> None:
    image, alpha = noise(3, 40_000)
    column = estimate_foreground(
        np.ascontiguousarray(image.swapaxes(0, 1)), np.ascontiguousarray(alpha.swapaxes(0, 1))
    )
    assert np.array_equal(estimate_foreground(image, alpha), column.swapaxes(0, 1))


def test_several_threads_at_the_same_time_get_the_same_bits_as_one() -> None:
    pictures = [noise(200, 300, seed) for seed in range(4)]
    alone = [estimate_foreground(*picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda picture: estimate_foreground(*picture), pictures * 3))
    assert all(np.array_equal(together[i], alone[i % 4]) for i in range(12))


def test_the_inputs_are_not_changed() -> None:
    image, alpha = noise(70, 90)
    before = image.copy(), alpha.copy()
    estimate_foreground(image, alpha)
    assert np.array_equal(image, before[0])
    assert np.array_equal(alpha, before[1])


def test_a_large_picture_takes_little_memory_besides_the_result() -> None:
    image, alpha = np.zeros((4000, 5000, 3), np.uint8), np.zeros((4000, 5000), np.float32)
    tracemalloc.start()
    try:
        estimate_foreground(image, alpha)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < image.nbytes + 250e6
