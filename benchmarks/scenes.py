"""Test scenes whose true foreground is known: one photograph composited over another with a soft edge.

The photographs come with scikit-image. The mattes are synthetic, and similar to those that a matting network gets or
makes. All seeds are fixed, so every run has the same scenes. Benchmarks and tests use this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

NEW_BACKGROUNDS = ((0, 0, 0), (255, 255, 255), (120, 255, 155), (200, 30, 90))
MATTES = ("hair", "defocus", "sigmoid", "veil")
PAIRS = (
    ("astronaut", "rocket"),
    ("chelsea", "coffee"),
    ("coffee", "immunohistochemistry"),
    ("rocket", "stereo_motorcycle"),
    ("stereo_motorcycle", "chelsea"),
    ("immunohistochemistry", "astronaut"),
)
PHOTOGRAPHS = tuple(dict.fromkeys(front for front, _ in PAIRS))
"""The photographs that are part of scikit-image. It would have to download others."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One composite, its matte and its true foreground."""

    name: str
    image: Pixels
    """H x W x 3: the composite as a camera would see it, rounded to 8 bits."""
    alpha: Floats
    """H x W, 0 to 1."""
    foreground: Floats
    """H x W x 3, 0 to 255: the true colours of the foreground."""

    @property
    def kind(self) -> str:
        """The kind of the matte."""
        return self.name.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors of composites over new backgrounds, in levels of 255, over pixels with 1/255 < alpha < 254/255."""

    mean: float
    p99: float


def composite_errors(scene: Scene, estimate: Pixels) -> Errors:
    """Composite the estimated foreground (H x W x 3) over new backgrounds, and compare with the true foreground."""
    soft = (scene.alpha > 1 / 255) & (scene.alpha < 254 / 255)
    alpha = scene.alpha[soft][:, None]
    errors = []
    for background in np.array(NEW_BACKGROUNDS, np.float32):
        behind = background * (1 - alpha)
        shown = np.rint(estimate[soft] * alpha + behind)
        errors.append(np.abs(shown - (scene.foreground[soft] * alpha + behind)))
    return Errors(float(np.mean(errors)), float(np.quantile(errors, 0.99)))


def photograph(name: str, width: int, height: int) -> Pixels:
    """Return a photograph of scikit-image, scaled to cover ``width`` x ``height`` and cropped to it: H x W x 3."""
    picture = _original(name)
    scale = max(width / picture.shape[1], height / picture.shape[0])
    size = (max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale)))
    scaled = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width])


@cache
def _original(name: str) -> Pixels:
    from skimage import data

    picture: Pixels | tuple[Pixels, ...] = getattr(data, name)()
    return (
        picture[0] if isinstance(picture, tuple) else picture
    )  # stereo_motorcycle is (left, right, disparity)


def scenes(width: int, height: int) -> Iterator[Scene]:
    """Yield every pair of photographs with every kind of matte."""
    for seed, (front, back) in enumerate(PAIRS):
        foreground = photograph(front, width, height).astype(np.float32)
        background = photograph(back, width, height).astype(np.float32)
        for kind in MATTES:
            alpha = matte(kind, width, height, seed)
            weight = alpha[..., None]
            seen = np.rint(foreground * weight + background * (1 - weight)).astype(np.uint8)
            yield Scene(f"{kind}/{front}-over-{back}", seen, alpha, foreground)


def matte(kind: str, width: int, height: int, seed: int) -> Floats:
    """Return a mask, H x W, 0 to 1.

    Args:
        kind: ``hair`` (a body with thin strands), ``defocus`` (edges blurred over tens of pixels), ``sigmoid`` (as from
            a network: narrow edges of varying width, no pixel exactly 0 or 1), ``veil`` (soft almost everywhere).
        width: in pixels.
        height: in pixels.
        seed: of the shape.
    """
    rng = np.random.default_rng([seed, MATTES.index(kind)])
    if kind == "veil":
        return _rescale(_smooth_noise(rng, width, height, cells=6))
    body = _body(rng, width, height)
    side = min(width, height)
    if kind == "hair":
        return np.maximum(cv2.GaussianBlur(body, (0, 0), 0.7), _strands(rng, body))
    if kind == "defocus":
        wide = cv2.GaussianBlur(body, (0, 0), side / 40)
        narrow = cv2.GaussianBlur(body, (0, 0), side / 200)
        share = _rescale(_smooth_noise(rng, width, height, cells=4))
        return share * wide + (1 - share) * narrow
    inside = cv2.distanceTransform(body.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - body.astype(np.uint8), cv2.DIST_L2, 5)
    softness = 0.5 + 3 * _rescale(_smooth_noise(rng, width, height, cells=5))
    doubt = 0.02 * _smooth_noise(rng, width, height, cells=40)
    logits = np.clip((inside - outside) / softness, -6.5, 6.5) + 0.5 * doubt / 0.02
    return _rescale(1 / (1 + np.exp(-logits)))


def _body(rng: np.random.Generator, width: int, height: int) -> Floats:
    """Return a shape with lobes and hard edges around the centre."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    u, v = (x - width / 2) / width, (y - height / 2) / height
    angle = np.arctan2(v, u)
    radius = 0.3 + sum(
        rng.uniform(-0.05, 0.05) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in range(2, 7)
    )
    return (np.hypot(u, v) < radius).astype(np.float32)


def _strands(rng: np.random.Generator, body: Floats) -> Floats:
    """Return curved strands, one to three pixels wide, that start at the edge of the body."""
    scale = 4  # drawn larger, so that widths of a fraction of a pixel are right after scaling down
    height, width = body.shape
    canvas = np.zeros((height * scale, width * scale), np.uint8)
    contours, _ = cv2.findContours(body.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    edge = max(contours, key=len)[:, 0].astype(float)
    centre = edge.mean(axis=0)
    t = np.linspace(0, 1, 24)[:, None]
    for start in edge[rng.integers(0, len(edge), 350)]:
        outward = (start - centre) / (np.linalg.norm(start - centre) + 1e-6)
        across = np.array([-outward[1], outward[0]])
        length = rng.uniform(0.03, 0.16) * min(width, height)
        bend, wave = rng.normal(0, 0.4), rng.normal(0, 0.08)
        path = start + length * (outward * t + across * (bend * t**2 + wave * np.sin(6 * t)))
        points = np.round(path * scale).astype(np.int32)
        opacity, thickness = int(rng.integers(120, 256)), int(rng.integers(2, 11))
        cv2.polylines(
            canvas, [points], isClosed=False, color=opacity, thickness=thickness, lineType=cv2.LINE_AA
        )
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _smooth_noise(rng: np.random.Generator, width: int, height: int, *, cells: int) -> Floats:
    coarse = rng.normal(size=(cells, cells)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _rescale(values: Floats) -> Floats:
    return np.clip((values - values.min()) / (values.max() - values.min()), 0, 1).astype(np.float32)
