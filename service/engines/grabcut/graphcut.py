"""A hard mask of a picture's subject: the saliency locates it roughly, and GrabCut finds its outline.

``engine`` calls it. Importing this module imports OpenCV, so it must not happen before the port is open.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from service.engines.grabcut.matting import Mask
from service.engines.grabcut.saliency import saliency
from service.engines.protocol import RGB

Models = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""GrabCut's colour models of background and foreground, 1 x 65 each. GrabCut changes them in place."""

_SALIENCY_SIDE = 180  # long side in pixels of the picture for the saliency
_COARSE_SIDE = (
    300  # long side in pixels on which GrabCut learns its colour models; the final cut only applies them
)
_ITERATIONS = 2  # with more iterations, the colour models move away from the subject that the saliency found
_MIN_SAMPLES = 16  # pixels of foreground and of background that the colour models need
_MIN_PART = 0.04  # parts smaller than this share of the largest are removed


def cut(image: RGB) -> Mask:
    """The subject of a reduced picture, each side of which is at least 16 pixels; the result is deterministic."""
    small = shrink(image, *_within(image, _COARSE_SIDE))
    models: Models = np.zeros((1, 65)), np.zeros((1, 65))
    mask = _without_small_parts(_grabcut(small, _seeds(small), models, _ITERATIONS, cv2.GC_INIT_WITH_MASK))
    if mask.shape == image.shape[:2] or not models[0].any() or mask.min() == mask.max():
        return _resize(
            mask, image
        )  # the mask is as fine as it can be, or there are no colour models to refine it
    return _without_small_parts(_grabcut(image, _band(mask, image), models, 1, cv2.GC_EVAL_FREEZE_MODEL))


def shrink(image: RGB, width: int, height: int) -> RGB:
    """The picture at another size; when it gets smaller, every pixel contributes to the average."""
    smaller: RGB = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return smaller


def _within(image: RGB, side: int) -> tuple[int, int]:
    height, width = image.shape[:2]
    scale = min(1.0, side / max(width, height))
    return max(2, round(width * scale)), max(2, round(height * scale))


def _seeds(image: RGB) -> Mask:
    """GrabCut's four classes: sure or probable background, sure or probable foreground."""
    subject, background = (
        cv2.resize(plane.astype(np.float32), image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        for plane in saliency(shrink(image, *_within(image, _SALIENCY_SIDE)))
    )
    # The power raises parts that are less salient than the most salient one: a face beside an orange suit.
    subject **= 0.6
    level = cv2.threshold((subject * 255).astype(np.uint8), 0, 255, cv2.THRESH_OTSU)[0] / 255
    seeds = np.where(subject > level, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    seeds[(subject < 0.7 * level) & (background > 0.7)] = cv2.GC_BGD
    seeds[(subject > 1.2 * level) & (background < 0.15)] = cv2.GC_FGD
    return seeds


def _band(mask: Mask, image: RGB) -> Mask:
    """The coarse mask as seeds for the finer picture: sure everywhere except near the edge of the mask."""
    radius = max(2, max(image.shape) // 60)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    mask = _resize(mask, image)
    seeds = np.where(mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    seeds[cv2.erode(mask, disc, borderType=cv2.BORDER_REPLICATE) == 1] = cv2.GC_FGD
    seeds[cv2.dilate(mask, disc) == 0] = cv2.GC_BGD
    return seeds


def _resize(mask: Mask, image: RGB) -> Mask:
    resized: Mask = cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return resized


def _grabcut(image: RGB, seeds: Mask, models: Models, iterations: int, mode: int) -> Mask:
    """The foreground after GrabCut; that of the seeds if one side has too few pixels for a colour model."""
    if min(np.count_nonzero(seeds & 1), np.count_nonzero(seeds & 1 == 0)) >= _MIN_SAMPLES:
        cv2.setRNGSeed(0)  # the colour models start with a random k-means
        cv2.grabCut(image, seeds, None, *models, iterations, mode)
    return np.bitwise_and(seeds, 1, dtype=np.uint8)


def _without_small_parts(mask: Mask) -> Mask:
    """The mask without small parts beside the subject and small holes in it."""
    for wanted in (1, 0):
        count, labels, stats, _ = cv2.connectedComponentsWithStats(
            (mask == wanted).astype(np.uint8), connectivity=4
        )
        if count > 2:
            areas = stats[1:, cv2.CC_STAT_AREA]
            limit = areas.max() * _MIN_PART if wanted else np.count_nonzero(mask) * _MIN_PART / 10
            small_parts = np.isin(labels, 1 + np.flatnonzero(areas < limit))
            mask = np.where(small_parts, 1 - wanted, mask).astype(np.uint8)
    return mask
