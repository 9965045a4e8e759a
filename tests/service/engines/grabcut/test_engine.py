"""The GrabCut engine: what it cuts out, and that no picture makes it fail."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from service.engines.grabcut.engine import GrabCutEngine
from service.engines.protocol import Alpha, Engine, LoadPhase

pytestmark = pytest.mark.photographs

WIDTH, HEIGHT = 500, 440


def engine(max_model_pixels: int = 4194304) -> GrabCutEngine:
    return GrabCutEngine(max_model_pixels=max_model_pixels)


def outline(subject: str) -> Alpha:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    match subject:
        case "bottle":
            cv2.rectangle(mask, (200, 180), (300, 390), 255, -1)
            cv2.rectangle(mask, (232, 66), (268, 200), 255, -1)
        case "person":
            cv2.ellipse(mask, (250, 140), (55, 75), 0, 0, 360, 255, -1, cv2.LINE_AA)
            cv2.rectangle(mask, (230, 180), (270, 260), 255, -1)
            cv2.ellipse(mask, (250, 450), (160, 210), 0, 0, 360, 255, -1, cv2.LINE_AA)
        case "ball":
            cv2.circle(mask, (210, 250), 95, 255, -1, cv2.LINE_AA)
        case "ring":
            cv2.ellipse(mask, (250, 220), (140, 123), 0, 0, 360, 255, 40, cv2.LINE_AA)
    return mask.astype(np.float32) / 255


def ground(name: str) -> np.ndarray:
    y, x = (np.indices((HEIGHT, WIDTH), dtype=np.float32).T / (HEIGHT, WIDTH)).T
    match name:
        case "paper":
            return 248 - 12 * np.hypot(x - 0.5, y - 0.5)[..., None].repeat(3, 2)
        case "sky":
            return np.stack([90 + 80 * y, 120 + 70 * y, 190 - 20 * y], axis=-1)
        case "table":
            return np.where((y > 0.62)[..., None], (150.0, 110.0, 75.0), (205.0, 208.0, 205.0))
        case "gravel":
            texture = cv2.resize(data.gravel(), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
            return texture[..., None].repeat(3, 2).astype(np.float32)
    raise ValueError(name)


def shot(subject: str, name: str, colour: tuple[int, int, int]) -> tuple[np.ndarray, Alpha]:
    """A shaded subject that throws a soft shadow, with camera noise; and its true mask."""
    mask = outline(subject)
    shadow = np.roll(cv2.GaussianBlur(mask, (0, 0), 10), (7, 7), (0, 1))[..., None]
    shade = 0.75 + 0.35 * np.cos(3 * (np.arange(WIDTH) / WIDTH - 0.4))[None, :, None]
    picture = ground(name) * (1 - 0.25 * shadow)
    picture = picture * (1 - mask[..., None]) + np.array(colour) * shade * mask[..., None]
    picture += np.random.default_rng(3).normal(0, 3, (HEIGHT, WIDTH, 1))
    return np.clip(picture, 0, 255).astype(np.uint8), mask


def overlap(alpha: Alpha, mask: Alpha) -> float:
    return float(np.minimum(alpha, mask).sum() / np.maximum(alpha, mask).sum())


@pytest.mark.parametrize(
    ("subject", "name", "colour"),
    [
        ("bottle", "table", (40, 110, 60)),
        ("bottle", "gravel", (230, 60, 50)),
        ("person", "sky", (180, 130, 110)),
        ("person", "paper", (200, 150, 130)),
        ("ball", "table", (200, 60, 50)),
        ("ring", "sky", (220, 190, 90)),
        ("ring", "paper", (110, 110, 120)),
    ],
)
def test_a_subject_in_front_of_a_calm_background_is_cut_out(
    subject: str, name: str, colour: tuple[int, int, int]
) -> None:
    picture, mask = shot(subject, name, colour)
    assert overlap(engine().infer(picture), mask) > 0.97


def test_the_astronaut_is_cut_out_with_her_face() -> None:
    alpha = engine().infer(data.astronaut())
    assert alpha[60:180, 200:255].min() > 0.99  # forehead to chin
    assert alpha[300:480, 120:260].min() > 0.99  # the suit
    assert alpha[:100, :60].max() < 0.01  # the flag
    assert alpha[:200, 330:].max() < 0.01  # the wall and the model of the shuttle


def test_the_cup_of_coffee_is_cut_out() -> None:
    alpha = engine().infer(data.coffee())
    assert alpha[80:320, 190:400].min() > 0.99
    assert max(alpha[:60, :60].max(), alpha[:60, -60:].max(), alpha[-60:, -60:].max()) < 0.01


def test_a_hard_edge_is_followed_at_full_resolution_although_a_reduced_picture_is_cut() -> None:
    picture, mask = shot("ball", "sky", (200, 60, 50))
    size = (4 * WIDTH, 4 * HEIGHT)
    big, big_mask = (cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in (picture, mask))
    width, height = engine().model_input_size(*size)
    assert width * height < 370_000
    assert overlap(engine().infer(big), big_mask) > 0.985


def test_an_edge_is_soft_and_the_inside_is_solid() -> None:
    picture, mask = shot("ball", "sky", (200, 60, 50))
    alpha = engine().infer(picture)
    assert ((alpha > 0.02) & (alpha < 0.98)).sum() > 100
    inside = cv2.erode(mask, np.ones((25, 25))) == 1
    assert alpha[inside].min() == 1


def test_the_same_picture_gives_the_same_mask_after_other_pictures() -> None:
    picture, _ = shot("bottle", "table", (40, 110, 60))
    first, second = engine(), engine()
    alpha = first.infer(picture)
    first.infer(data.chelsea())
    cv2.setRNGSeed(99)
    assert np.array_equal(first.infer(picture), alpha)
    assert np.array_equal(second.infer(picture), alpha)


def test_a_small_textured_picture_with_an_obvious_subject_has_a_mask() -> None:
    """As a warmup probe sends it: 64 x 64 pixels, with noise in subject and background."""
    y, x = np.indices((64, 64)) / 64
    disc = ((x - 0.5) ** 2 + (y - 0.55) ** 2 < 0.3**2).astype(np.float32)
    noise = np.random.default_rng(1).normal(0, 8, (64, 64, 3))
    colours = np.where(disc[..., None] == 1, (205, 84, 40), (120, 150, 175))
    picture = np.clip(colours + noise, 0, 255).astype(np.uint8)
    assert overlap(engine().infer(picture), disc) > 0.9


def check_contract(picture: np.ndarray) -> Alpha:
    served = engine()
    alpha = served.infer(picture)
    assert alpha.shape == picture.shape[:2]
    assert alpha.dtype == np.float32
    assert alpha.min() >= 0
    assert alpha.max() <= 1
    colours = served.foreground(picture, alpha)
    assert colours.shape == picture.shape
    assert colours.dtype == np.uint8
    return alpha


@given(
    width=st.integers(1, 90), height=st.integers(1, 90), seed=st.integers(0, 9), levels=st.integers(1, 256)
)
@settings(max_examples=25, deadline=None)
def test_any_size_and_content_gives_a_mask_of_that_size(
    width: int, height: int, seed: int, levels: int
) -> None:
    random = np.random.default_rng(seed)
    check_contract(random.integers(0, levels, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(1, 10000), (10000, 1), (3000, 20), (700, 500)])
def test_extreme_ratios_and_large_pictures_of_noise_give_a_mask(size: tuple[int, int]) -> None:
    check_contract(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (300, 400), (1, 2000)])
@pytest.mark.parametrize("value", [0, 77, 255])
def test_a_constant_picture_has_no_subject(size: tuple[int, int], value: int) -> None:
    assert check_contract(np.full((*size, 3), value, dtype=np.uint8)).max() == 0


@given(width=st.integers(1, 60000), height=st.integers(1, 60000), bound=st.integers(1, 4194304))
def test_the_reduced_size_is_limited_and_never_thin(width: int, height: int, bound: int) -> None:
    across, down = engine(bound).model_input_size(width, height)
    assert min(across, down) >= 16
    assert max(across, down) <= 2048
    assert across * down <= max(bound, 2048 * 16) * 1.1


def test_a_picture_within_the_limit_is_not_reduced() -> None:
    assert engine().model_input_size(600, 400) == (600, 400)


def test_foreground_removes_the_background_from_soft_edges() -> None:
    alpha = np.clip((np.arange(200, dtype=np.float32) - 80) / 12, 0, 1)[None].repeat(60, 0)
    red, green = np.array([200, 30, 40]), np.array([20, 220, 60])
    picture = np.rint(alpha[..., None] * red + (1 - alpha[..., None]) * green).astype(np.uint8)
    colours = engine().foreground(picture, alpha).astype(int)
    visible = alpha > 0.1
    assert np.abs(colours[visible] - red).max() <= 15
    assert np.abs(picture[visible].astype(int) - red).max() > 150


def test_foreground_leaves_solid_pixels_and_its_input_alone() -> None:
    picture = data.coffee()
    given_picture = picture.copy()
    alpha = engine().infer(picture)
    colours = engine().foreground(picture, alpha)
    assert np.array_equal(colours[alpha == 1], picture[alpha == 1])
    assert not np.array_equal(colours, picture)
    assert np.array_equal(picture, given_picture)


def test_the_engine_says_what_it_is() -> None:
    phases: list[LoadPhase] = []
    served: Engine = engine()
    served.prepare(lambda phase, _: phases.append(phase))
    info = served.load(lambda phase, _: phases.append(phase))
    assert served.name == info.engine == "grabcut"
    assert (info.device, info.precision, info.weights, info.weights_hash) == ("cpu", "fp32", "none", "")
    assert not info.fallback
    assert info.fallback_reason == ""
    assert engine().memory() == {"allocated": 0, "reserved": 0}
    assert phases == [LoadPhase.WEIGHTS, LoadPhase.IMPORT, LoadPhase.DEVICE]


def test_importing_the_engine_does_not_import_opencv() -> None:
    code = "import sys, service.engines.grabcut.engine; sys.exit('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
