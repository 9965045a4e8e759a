"""``service/inference/memory_budget.py``: what fits into the container, alone and beside others."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from service.engines.memory_needs import MemoryNeeds
from service.errors import BadDimensions
from service.inference.memory_budget import MemoryBudget

NEEDS = MemoryNeeds(idle=1000, per_model_pixel=10, per_pixel=2, per_waiting_pixel=1)


def budget(limit: int | None, *, max_pixels: int = 400, places: int = 3) -> tuple[MemoryBudget, int]:
    """A budget whose model input is the picture, and the pixels of the largest photograph."""
    made = MemoryBudget(limit, model_input_size=lambda width, height: (width, height))
    return made, made.engine_loaded(NEEDS, max_pixels=max_pixels, places=places)


def test_without_a_limit_or_before_the_engine_is_loaded_everything_fits() -> None:
    unlimited, largest = budget(None)
    assert largest == 400
    unlimited.check_alone((9999, 9999))
    assert unlimited.fits_beside((9999, 9999), [(9999, 9999)])
    unloaded = MemoryBudget(1, model_input_size=lambda width, height: (width, height))
    unloaded.check_alone((9999, 9999))
    assert unloaded.fits_beside((9999, 9999), [(9999, 9999)])


def test_a_picture_that_cannot_fit_is_refused_with_a_size_that_does() -> None:
    made, largest = budget(1000 + 12 * 200)
    assert largest == pytest.approx(200, abs=15)
    made.check_alone((20, 10))
    with pytest.raises(BadDimensions, match=r"20 x 20 pixels takes more memory .* at most \d+ pixels"):
        made.check_alone((20, 20))


def test_pictures_that_wait_leave_less_for_the_next_one() -> None:
    made, _ = budget(1000 + 12 * 200 + 300)
    assert made.fits_beside((20, 10), [(20, 10)])
    assert not made.fits_beside((20, 10), [(20, 10), (20, 10)])
    assert made.fits_beside((20, 10), []), "alone it fits, or it would have been refused for good"


@given(st.integers(1000, 10_000), st.integers(1, 1000))
def test_the_largest_photograph_fits_and_is_never_above_the_setting(limit: int, max_pixels: int) -> None:
    made, largest = budget(limit, max_pixels=max_pixels)
    assert 1 <= largest <= max_pixels
    height = max(1, math.isqrt(largest * 3 // 4))
    if NEEDS.bytes_for(1, 1) <= limit:
        made.check_alone((max(1, largest // height), height))


def test_a_tight_limit_is_a_warning_with_figures_once_the_engine_is_loaded() -> None:
    with capture_logs() as lines:
        budget(5000, max_pixels=400, places=3)
    [line] = lines
    assert line["log_level"] == "warning"
    assert line["limit_bytes"] == 5000
    assert line["bytes_for_one_of_max_pixels"] == pytest.approx(1000 + 12 * 400, abs=300)
    assert line["bytes_for_a_full_queue_of_these"] - line["bytes_for_one_of_max_pixels"] == 2 * 400
    with capture_logs() as lines:
        budget(10_000, max_pixels=400, places=3)
    assert lines == []
