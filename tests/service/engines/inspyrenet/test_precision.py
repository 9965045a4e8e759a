"""The comparison of two masks, which decides whether reduced precision may be used."""

from __future__ import annotations

import pytest
import torch

from service.engines.inspyrenet.precision import measure_deviation


@pytest.mark.parametrize(
    ("difference", "outliers", "acceptable"),
    [(0.9, 0, True), (1.1, 0, False), (0.0, 5, True), (0.0, 20, False), (float("nan"), 0, False)],
)
def test_the_mean_and_the_tail_must_both_be_within_the_tolerance(
    difference: float, outliers: int, acceptable: bool
) -> None:
    exact = torch.zeros(1, 1, 100, 100)
    reduced = torch.full_like(exact, difference / 255)
    reduced.view(-1)[:outliers] = 9 / 255
    assert measure_deviation(exact, reduced).acceptable is acceptable
