"""A hard mask of a picture's subject: saliency says roughly where, GrabCut says exactly.

Importing this module imports OpenCV: do it in the worker's thread.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from service.engines.grabcut.matting import Mask
from service.engines.grabcut.saliency import saliency
from service.engines.protocol import RGB

Models = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""GrabCut's colour models of background and foreground, 1 x 65 each; learned in place."""

_SALIENCY_SIDE = 180  # long side in pixels on which the subject is sought
_COARSE_SIDE = 300  # GrabCut learns its colours on this long side; the final cut only applies them
_ITERATIONS = 2  # saliency knows what; more would let the colours wander off with it
_LEAST_SAMPLES = 16  # pixels of each side that the colour models need
_LEAST_PART = 0.04  # parts smaller than this share of the largest are crumbs


def cut(image: RGB) -> Mask:
    """The subject of a reduced picture (each side at least 16 pixels); the same picture gives the same mask."""
    small = shrink(image, *_within(image, _COARSE_SIDE))
    models: Models = np.zeros((1, 65)), np.zeros((1, 65))
    mask = _without_crumbs(_grabcut(small, _seeds(small), models, _ITERATIONS, cv2.GC_INIT_WITH_MASK))
    if mask.shape == image.shape[:2] or not models[0].any() or mask.min() == mask.max():
        return _resize(mask, image)  # nothing to add, or nothing learned to add it with
    return _without_crumbs(_grabcut(image, _band(mask, image), models, 1, cv2.GC_EVAL_FREEZE_MODEL))


def shrink(image: RGB, width: int, height: int) -> RGB:
    """The picture at another size; every pixel counts where it gets smaller."""
    smaller: RGB = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return smaller


def _within(image: RGB, side: int) -> tuple[int, int]:
    height, width = image.shape[:2]
    scale = min(1.0, side / max(width, height))
    return max(2, round(width * scale)), max(2, round(height * scale))


def _seeds(image: RGB) -> Mask:
    """GrabCut's four classes: sure and probable, background and foreground."""
    subject, background = (
        cv2.resize(plane.astype(np.float32), image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        for plane in saliency(shrink(image, *_within(image, _SALIENCY_SIDE)))
    )
    # The power lifts what stands out less than the brightest spot: a face beside an orange suit.
    subject **= 0.6
    level = cv2.threshold((subject * 255).astype(np.uint8), 0, 255, cv2.THRESH_OTSU)[0] / 255
    seeds = np.where(subject > level, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    seeds[(subject < 0.7 * level) & (background > 0.7)] = cv2.GC_BGD
    seeds[(subject > 1.2 * level) & (background < 0.15)] = cv2.GC_FGD
    return seeds


def _band(mask: Mask, image: RGB) -> Mask:
    """The coarse mask on the finer picture, sure everywhere but near its edge."""
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
    """The foreground after GrabCut; the seeds' own where one side has too few pixels to learn a colour from."""
    if min(np.count_nonzero(seeds & 1), np.count_nonzero(seeds & 1 == 0)) >= _LEAST_SAMPLES:
        cv2.setRNGSeed(0)  # the colour models start from a random k-means
        cv2.grabCut(image, seeds, None, *models, iterations, mode)
    return np.bitwise_and(seeds, 1, dtype=np.uint8)


def _without_crumbs(mask: Mask) -> Mask:
    """The mask without specks beside the subject and pinholes in it."""
    for wanted in (1, 0):
        count, labels, stats, _ = cv2.connectedComponentsWithStats(
            (mask == wanted).astype(np.uint8), connectivity=4
        )
        if count > 2:
            areas = stats[1:, cv2.CC_STAT_AREA]
            least = areas.max() * _LEAST_PART if wanted else np.count_nonzero(mask) * _LEAST_PART / 10
            crumbs = np.isin(labels, 1 + np.flatnonzero(areas < least))
            mask = np.where(crumbs, 1 - wanted, mask).astype(np.uint8)
    return mask
