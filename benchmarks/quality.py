"""Measures the quality of the embedded engine's masks, beside the bare network's mask.

``python -m benchmarks.quality`` cuts out every picture of ``subjects``, whose true masks are known. It has no limit for
the figures; ``tests/service/engines/u2netp/test_engine_quality.py`` has. Each picture gets three figures: the mean
absolute error of alpha over the whole picture (MAE), the intersection over union of both masks at 0.5 (IoU), and the
mean absolute error within 1 % of the long side from the true edge (boundary error). The bare network's mask is what its
authors' code computes, enlarged with linear interpolation.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from PIL import Image

from benchmarks import _harness
from benchmarks.subjects import Subject, composites, photographs
from service.engines.protocol import RGB, Alpha
from service.engines.u2netp.engine import U2netpEngine
from service.engines.u2netp.network import SIDE, predict
from service.engines.u2netp.weights import installed_path, read_verified

BAND = 0.01
"""Share of the long side: what lies this close to the true edge is the boundary."""


@dataclass(frozen=True, slots=True)
class Score:
    """How far a mask is from the truth, in percent."""

    mae: float
    iou: float
    boundary: float


def score(subject: Subject, alpha: Alpha) -> Score:
    """Compare a mask with the truth, where that is known.

    Args:
        subject: the picture and its true mask.
        alpha: of the picture's size.
    """
    truth, known = subject.alpha, subject.known
    error = np.abs(alpha - truth)
    ours, true = (alpha > 0.5) & known, (truth > 0.5) & known
    width = 2 * max(2, round(max(truth.shape) * BAND)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    near = (cv2.dilate(truth, disc) - cv2.erode(truth, disc) > 0.5) & known
    return Score(
        100 * float(error[known].mean()),
        100 * float((ours & true).sum() / (ours | true).sum()),
        100 * float(error[near].mean()),
    )


def engine_mask() -> Callable[[RGB], Alpha]:
    """The masks that the service makes."""
    engine = U2netpEngine()
    engine.prepare(lambda *_: None)
    engine.load(lambda *_: None)
    return lambda image: engine.infer(image).alpha


def bare_mask() -> Callable[[RGB], Alpha]:
    """The network's masks without refinement."""
    model = np.frombuffer(read_verified(installed_path()), np.uint8)

    def infer(image: RGB) -> Alpha:
        square = np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        size = image.shape[1], image.shape[0]
        return cv2.resize(predict(model, square).alpha, size, interpolation=cv2.INTER_LINEAR)

    return infer


def main() -> None:
    given = _harness.options(__doc__)
    report = _harness.Report("quality", given)
    sides = {"u2netp": engine_mask(), "bare network": bare_mask()}
    subjects = [*composites(), *photographs()]
    if given.quick:
        subjects = subjects[-2:]
    found = {side: [score(each, infer(each.image)) for each in subjects] for side, infer in sides.items()}
    print(f"\n{'MAE, IoU, boundary error in %':<36}" + "".join(f"{side:>24}" for side in sides))
    for number, each in enumerate(subjects):
        figures = [scores[number] for scores in found.values()]
        cells = [f"{one.mae:8.2f}{one.iou:8.1f}{one.boundary:8.1f}" for one in figures]
        print(f"  {each.name:<34}" + "".join(cells))
    for figure, what in (
        ("mae", "mean absolute error"),
        ("iou", "intersection over union"),
        ("boundary", "boundary error"),
    ):
        for other in [*sides][1:]:
            report.add(_row(figure, what, found["u2netp"], found[other], other))
    report.extra["pictures"] = {
        each.name: {side: asdict(scores[number]) for side, scores in found.items()}
        for number, each in enumerate(subjects)
    }
    report.finish()


def _row(figure: str, what: str, ours: Sequence[Score], theirs: Sequence[Score], other: str) -> _harness.Row:
    mine, others = ([getattr(one, figure) for one in scores] for scores in (ours, theirs))
    return _harness.Row(
        what,
        "%",
        mine,
        others,
        other=other,
        our_name="u2netp",
        rate=figure == "iou",
        note=f"mean over pictures {statistics.fmean(mine):.2f}, {other} {statistics.fmean(others):.2f}",
    )


if __name__ == "__main__":
    main()
