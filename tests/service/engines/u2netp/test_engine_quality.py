"""The floor of quality: what ``benchmarks/quality.py`` measures may get better, not worse."""

from __future__ import annotations

import statistics

import pytest

from benchmarks.quality import bare_mask, engine_mask, score
from benchmarks.subjects import composites, photographs

pytestmark = pytest.mark.photographs

CHOSEN = ("animal", "mug", "handbag")
"""One composite of each. The wheel must not be among them: the network does not see the holes between its spokes."""


def test_masks_are_as_good_as_measured_and_better_than_the_bare_networks() -> None:
    subjects = [*photographs(), *composites(CHOSEN, grounds=1)]
    served, bare = (
        [score(each, infer(each.image)) for each in subjects] for infer in (engine_mask(), bare_mask())
    )
    assert len(subjects) == 6
    assert statistics.fmean(one.mae for one in served) < 1.4  # percent; measured 1.30
    assert statistics.fmean(one.iou for one in served) > 96.5  # measured 97.3
    assert statistics.fmean(one.boundary for one in served) < 9.5  # measured 8.8
    for ours, others in zip(served, bare, strict=True):
        assert ours.mae < others.mae
        assert ours.boundary < others.boundary
        assert ours.iou > others.iou - 1
