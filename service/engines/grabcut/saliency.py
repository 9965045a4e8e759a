"""What stands out in a picture, without weights and without a hint from a person.

Robust background detection after Zhu, Liang, Wei and Sun, "Saliency Optimization from Robust Background
Detection" (CVPR 2014): background is what is well connected to the rim of the picture. Superpixels form a
graph; how much of the area that a superpixel reaches through similar colours lies on the rim says how much
it is background; a least-squares problem then weighs that against contrast and against neighbours.
Two things differ from the paper, because portraits and product shots do: the middle of the lower rim does not
count as background (people are cut off there), and the middle of the picture is more likely to be the subject.

Importing this module imports OpenCV: do it in the worker's thread.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from service.engines.protocol import RGB

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

_SUPERPIXELS = 220  # enough for a face on a full figure; the geodesics below cost the cube of it
_COMPACTNESS = 12.0  # Lab units that one superpixel's width in distance is worth
_NOISE = 2.5  # Lab difference between neighbours that is texture, not an edge
_REACH = 5.0  # Lab distance along the cheapest path over which two superpixels count as one area
_SIMILAR = 10.0  # Lab difference up to which neighbours ought to agree
_SURROUND = 0.25  # contrast is against what lies within about this share of the long side
_CENTRE = 0.6  # width of the prior for the middle, 1 = half the picture's side
_BACKGROUND_WEIGHT = 2.0  # a missing background is worse than a missing subject: GrabCut grows subjects back


def saliency(image: RGB) -> tuple[Floats, Floats]:
    """How likely each pixel is subject, and how likely it is background.

    Args:
        image: H x W x 3, uint8, about 180 pixels on the long side; at least 2 x 2.

    Returns:
        ``(subject, background)``, both H x W in [0, 1]. ``subject`` is scaled to reach 0 and 1 unless the
        picture is constant; then it is 0 everywhere.
    """
    lab = cv2.GaussianBlur(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), (0, 0), 0.8)
    labels = _superpixels(lab)
    count = int(labels.max()) + 1
    colour = _means(labels, lab[..., 0], lab[..., 1], lab[..., 2])
    height, width = labels.shape
    grid = np.indices(labels.shape) + 0.5
    place = _means(labels, grid[1], grid[0])

    difference = np.linalg.norm(colour[:, None] - colour[None], axis=-1)
    adjacent = _adjacency(labels, count)
    rim = _rim_weight(labels, count)

    # Boundary connectivity (equations 3-5 of the paper).
    reach = np.exp(-(_geodesic(difference, adjacent, rim) ** 2) / (2 * _REACH**2))
    connectivity = (reach * rim).sum(axis=1) / np.sqrt(reach.sum(axis=1))
    background = 1 - np.exp(-(connectivity**2) / 2)
    # What looks just like background is background, though it is cut off from the rim: the hole of a ring.
    alike = np.exp(-(difference**2) / (2 * _NOISE**2))
    background = (alike * background).max(axis=1)

    # Contrast against what is background nearby (equation 6), and the middle of the picture.
    apart = np.linalg.norm(place[:, None] - place[None], axis=-1) / max(width, height)
    contrast = (difference * np.exp(-(apart**2) / (2 * _SURROUND**2))) @ background
    contrast /= max(contrast.max(), 1e-9)
    off = place / (width, height) * 2 - 1  # from the middle, 1 = at the side
    off *= np.where(off > 0, (1.0, 0.7), 1.0)  # subjects stand lower rather than higher
    foreground = (0.6 * (1 - background) + 0.4 * contrast) * np.exp(-(off**2).sum(axis=1) / (2 * _CENTRE**2))

    # Saliency optimisation (equation 9): background pulls to 0, foreground to 1, similar neighbours together.
    near = adjacent | (adjacent.astype(np.float32) @ adjacent.astype(np.float32) > 0)
    smooth = np.where(near, np.exp(-(difference**2) / (2 * _SIMILAR**2)) + 0.05, 0)
    np.fill_diagonal(smooth, 0)
    system = np.diag(smooth.sum(axis=1) + _BACKGROUND_WEIGHT * background + foreground + 1e-6) - smooth
    subject = np.linalg.solve(system, foreground)
    spread = float(np.ptp(subject))
    # A constant picture has a spread all the same: the prior for the middle. It must not become a subject.
    subject = (subject - subject.min()) / spread if difference.max() > _NOISE / 3 else np.zeros(count)
    return subject[labels], background[labels]


def _superpixels(lab: npt.NDArray[np.float32]) -> Labels:
    """SLIC's idea (Achanta et al. 2012) as plain k-means over colour and place, started from a grid."""
    height, width = lab.shape[:2]
    step = max(1.0, float(np.sqrt(height * width / _SUPERPIXELS)))
    down, across = max(1, round(height / step)), max(1, round(width / step))
    rows, columns = np.indices((height, width))
    grid = (rows * down // height) * across + columns * across // width
    features = np.dstack([lab, columns * (_COMPACTNESS / step), rows * (_COMPACTNESS / step)])
    cv2.setRNGSeed(0)  # k-means revives an empty cluster at random
    _, labels, _ = cv2.kmeans(
        features.reshape(-1, 5).astype(np.float32),
        down * across,
        grid.reshape(-1, 1).astype(np.int32),
        (cv2.TERM_CRITERIA_MAX_ITER, 6, 0),
        1,
        cv2.KMEANS_USE_INITIAL_LABELS,
    )
    _, dense = np.unique(labels, return_inverse=True)
    return dense.reshape(height, width).astype(np.int64)


def _means(labels: Labels, *planes: npt.NDArray[Any]) -> Floats:
    """The mean of each plane over each superpixel: superpixels x planes."""
    size = np.bincount(labels.ravel())
    return np.stack([np.bincount(labels.ravel(), plane.ravel()) / size for plane in planes], axis=1)


def _adjacency(labels: Labels, count: int) -> npt.NDArray[np.bool_]:
    adjacent = np.zeros((count, count), dtype=bool)
    adjacent[labels[:, 1:], labels[:, :-1]] = True
    adjacent[labels[1:], labels[:-1]] = True
    return adjacent | adjacent.T


def _rim_weight(labels: Labels, count: int) -> Floats:
    """How much of each superpixel's rim pixels speak for background; 0 for those that do not touch the rim."""
    height, width = labels.shape
    weight = np.zeros((height, width))
    weight[0] = weight[:, 0] = weight[:, -1] = 1
    weight[height * 3 // 4 :, [0, -1]] = 0.5
    weight[-1] = np.clip((np.abs(np.linspace(-1, 1, width)) - 0.6) / 0.3, 0, 1)
    touches = np.zeros((height, width))
    touches[[0, -1]] = touches[:, [0, -1]] = 1
    total = np.bincount(labels.ravel(), touches.ravel(), minlength=count)
    return np.bincount(labels.ravel(), weight.ravel(), minlength=count) / np.maximum(total, 1)


def _geodesic(difference: Floats, adjacent: npt.NDArray[np.bool_], rim: Floats) -> Floats:
    """Cheapest paths between all superpixels (Floyd-Warshall); the rim is one neighbourhood, as in the paper."""
    on_rim = rim > 0.3
    paths = np.where(adjacent | np.outer(on_rim, on_rim), np.maximum(difference - _NOISE, 0), np.inf)
    np.fill_diagonal(paths, 0)
    for middle in range(len(paths)):
        np.minimum(paths, paths[:, middle, None] + paths[middle], out=paths)
    return paths
