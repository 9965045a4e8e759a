"""The saliency of a picture: how likely each pixel belongs to the subject.

``graphcut`` calls it. Importing this module imports OpenCV, so it must not happen before the port is open.

The method is that of Zhu, Liang, Wei and Sun, "Saliency Optimization from Robust Background Detection" (CVPR 2014):
background is well connected to the border of the picture. Superpixels form a graph. From each superpixel, an area is
reached through similar colours; the share of it that lies on the border says how much the superpixel is background. A
least-squares problem then combines that with contrast and with the neighbours. Two things differ from the paper, for
portraits and product photographs: the middle of the lower border does not count as background, because people are cut
off there; and the middle of the picture is more likely to be the subject.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from service.engines.protocol import RGB

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

_SUPERPIXELS = 220  # enough for a face on a full figure; the time for the geodesics grows with the cube of it
_COMPACTNESS = 12.0  # Lab units to which the width of one superpixel is equivalent
_NOISE = 2.5  # a Lab difference between neighbours up to this is texture, not an edge
_REACH = 5.0  # Lab distance along the shortest path up to which two superpixels count as one area
_SIMILAR = 10.0  # Lab difference up to which neighbours should get the same value
_SURROUND = 0.25  # contrast is computed within about this share of the long side
_CENTRE = 0.6  # width of the prior for the middle; 1 = half the picture's side
_BACKGROUND_WEIGHT = (
    2.0  # missing background is worse than a missing part of the subject, which GrabCut can add again
)


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
    position = _means(labels, grid[1], grid[0])

    difference = np.linalg.norm(colour[:, None] - colour[None], axis=-1)
    adjacent = _adjacency(labels, count)
    border = _border_weight(labels, count)

    # Boundary connectivity (equations 3-5 of the paper).
    reach = np.exp(-(_geodesic(difference, adjacent, border) ** 2) / (2 * _REACH**2))
    connectivity = (reach * border).sum(axis=1) / np.sqrt(reach.sum(axis=1))
    background = 1 - np.exp(-(connectivity**2) / 2)
    # A superpixel with a colour of the background is background, even if it is cut off from the border, as in a ring.
    alike = np.exp(-(difference**2) / (2 * _NOISE**2))
    background = (alike * background).max(axis=1)

    # Contrast with the background nearby (equation 6), and the prior for the middle of the picture.
    apart = np.linalg.norm(position[:, None] - position[None], axis=-1) / max(width, height)
    contrast = (difference * np.exp(-(apart**2) / (2 * _SURROUND**2))) @ background
    contrast /= max(contrast.max(), 1e-9)
    off = position / (width, height) * 2 - 1  # from the middle; 1 = at the border
    off *= np.where(off > 0, (1.0, 0.7), 1.0)  # subjects are more often in the lower half
    foreground = (0.6 * (1 - background) + 0.4 * contrast) * np.exp(-(off**2).sum(axis=1) / (2 * _CENTRE**2))

    # Saliency optimisation (equation 9): background tends to 0, foreground to 1, similar neighbours to the same value.
    near = adjacent | (adjacent.astype(np.float32) @ adjacent.astype(np.float32) > 0)
    smooth = np.where(near, np.exp(-(difference**2) / (2 * _SIMILAR**2)) + 0.05, 0)
    np.fill_diagonal(smooth, 0)
    system = np.diag(smooth.sum(axis=1) + _BACKGROUND_WEIGHT * background + foreground + 1e-6) - smooth
    subject = np.linalg.solve(system, foreground)
    spread = float(np.ptp(subject))
    # Even a constant picture has a spread, from the prior for the middle. That must not become a subject.
    subject = (subject - subject.min()) / spread if difference.max() > _NOISE / 3 else np.zeros(count)
    return subject[labels], background[labels]


def _superpixels(lab: npt.NDArray[np.float32]) -> Labels:
    """Superpixels after SLIC (Achanta et al. 2012): k-means over colour and position, started with a grid."""
    height, width = lab.shape[:2]
    step = max(1.0, float(np.sqrt(height * width / _SUPERPIXELS)))
    down, across = max(1, round(height / step)), max(1, round(width / step))
    rows, columns = np.indices((height, width))
    grid = (rows * down // height) * across + columns * across // width
    features = np.dstack([lab, columns * (_COMPACTNESS / step), rows * (_COMPACTNESS / step)])
    cv2.setRNGSeed(0)  # k-means fills an empty cluster at random
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


def _border_weight(labels: Labels, count: int) -> Floats:
    """For each superpixel, the mean background weight of its pixels on the border; 0 if it has none."""
    height, width = labels.shape
    weight = np.zeros((height, width))
    weight[0] = weight[:, 0] = weight[:, -1] = 1
    weight[height * 3 // 4 :, [0, -1]] = 0.5
    weight[-1] = np.clip((np.abs(np.linspace(-1, 1, width)) - 0.6) / 0.3, 0, 1)
    touches = np.zeros((height, width))
    touches[[0, -1]] = touches[:, [0, -1]] = 1
    total = np.bincount(labels.ravel(), touches.ravel(), minlength=count)
    return np.bincount(labels.ravel(), weight.ravel(), minlength=count) / np.maximum(total, 1)


def _geodesic(difference: Floats, adjacent: npt.NDArray[np.bool_], border: Floats) -> Floats:
    """Shortest paths between all superpixels (Floyd-Warshall). All superpixels on the border are neighbours, as in the
    paper."""
    on_border = border > 0.3
    paths = np.where(adjacent | np.outer(on_border, on_border), np.maximum(difference - _NOISE, 0), np.inf)
    np.fill_diagonal(paths, 0)
    for middle in range(len(paths)):
        np.minimum(paths, paths[:, middle, None] + paths[middle], out=paths)
    return paths
