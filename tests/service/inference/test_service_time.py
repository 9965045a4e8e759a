"""Estimates of the time that a picture takes: they follow what was measured, rise with size, and forgive accidents."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.inference import service_time
from service.inference.service_time import REACH, ServiceTimes, Stage, TimeModel, Work

sizes = st.integers(1, 1 << 26)
seconds = st.floats(0.0, 1e4)
jobs = st.lists(st.tuples(sizes, seconds), min_size=1, max_size=60)


def measured(*jobs: tuple[int, float]) -> TimeModel:
    model = TimeModel()
    for pixels, took in jobs:
        model.note(pixels, took)
    return model


def test_nothing_is_expected_before_the_first_job() -> None:
    model = TimeModel()
    assert model.expected(1000) == model.proved(1000) == 0


@given(jobs, sizes, sizes)
def test_estimates_are_finite_not_negative_and_rise_with_size(
    jobs: list[tuple[int, float]], one: int, other: int
) -> None:
    model = measured(*jobs)
    small, large = sorted((one, other))
    for estimate in (model.expected, model.proved):
        assert 0 <= estimate(small) <= estimate(large) * (1 + 1e-9) + 1e-12
        assert math.isfinite(estimate(large))


@given(jobs, sizes)
def test_what_is_proved_is_never_more_than_what_is_expected(
    jobs: list[tuple[int, float]], pixels: int
) -> None:
    model = measured(*jobs)
    assert model.proved(pixels) <= model.expected(pixels) * (1 + 1e-9) + 1e-12


@given(
    st.floats(0.0, 10.0),
    st.floats(1e-9, 1e-4),
    st.lists(sizes, min_size=1, max_size=40),
    st.data(),
)
def test_times_of_a_fixed_part_and_a_part_for_each_pixel_are_found(
    fixed: float, per_pixel: float, sizes: list[int], data: st.DataObject
) -> None:
    """Exactly at what was measured and between; beyond the largest, at most as if all were proportional."""

    def takes(pixels: int) -> float:
        return fixed + per_pixel * pixels

    model = measured(*((pixels, takes(pixels)) for pixels in sizes))
    medians = [pixels for pixels, _ in model._typical]
    pixels = data.draw(st.integers(medians[0], medians[-1]))
    assert model.expected(pixels) == pytest.approx(takes(pixels), rel=1e-6)
    beyond = medians[-1] * 2
    assert takes(beyond) * (1 - 1e-6) <= model.expected(beyond) <= 2 * takes(medians[-1]) * (1 + 1e-6)


@given(sizes, st.floats(0.001, 100), st.floats(1, 1000), st.integers(0, 4))
def test_one_slow_job_among_five_changes_nothing(pixels: int, usual: float, factor: float, when: int) -> None:
    took = [usual] * 5
    took[when] = usual * factor
    model = measured(*((pixels, each) for each in took))
    assert model.expected(pixels) == pytest.approx(usual)
    assert model.proved(pixels) == pytest.approx(usual)


@given(sizes, st.floats(0.001, 100), st.floats(0.01, 100))
def test_three_jobs_at_a_new_speed_are_believed(pixels: int, before: float, factor: float) -> None:
    after = before * factor
    model = measured(*[(pixels, before)] * 5, *[(pixels, after)] * 3)
    assert model.expected(pixels) == pytest.approx(after)


def test_one_size_alone_is_taken_as_proportional() -> None:
    model = measured((1_000_000, 0.4))
    assert model.expected(100_000) == pytest.approx(0.04)
    assert model.expected(2_000_000) == pytest.approx(0.8)


def test_a_slow_first_job_of_a_small_size_does_not_outlive_a_fast_one_of_a_large_size() -> None:
    """The first job after a load sets up the device."""
    model = measured((4096, 5.0), (2_000_000, 0.2))
    assert model.expected(4096) < 0.01
    assert model.expected(4_000_000) == pytest.approx(0.4)


@given(st.integers(1, 19), st.floats(1, 1000))
def test_a_slow_first_job_of_one_size_says_nothing_against_what_is_known_of_larger_ones(
    shift: int, slow: float
) -> None:
    model = measured(*[(1 << 20, 0.4)] * 5, ((1 << 20) >> shift, slow))
    assert model.expected(1 << 20) == pytest.approx(0.4)
    assert model.expected((1 << 20) >> shift) <= 0.4 * (1 + 1e-9)


def test_a_device_that_has_become_slow_is_not_thought_fast_with_large_pictures() -> None:
    model = measured(*[(1_000_000, 1.0)] * 5, *[(10_000, 4.0)] * 3)
    assert model.expected(1_000_000) >= 4.0


def test_only_sizes_near_the_measured_ones_are_proved() -> None:
    model = measured((1000, 1.0), (1000, 1.0), (1_000_000, 100.0))
    assert model.proved(1000 * REACH) == model.proved(1000 * REACH * 100) <= REACH


def test_one_job_alone_proves_nothing() -> None:
    assert measured((1000, 100.0)).proved(1000) == 0


def test_one_fast_job_proves_what_is_possible() -> None:
    model = measured(*[(1000, 12.0)] * 4, (1000, 2.0))
    assert (model.expected(1000), model.proved(1000)) == (12.0, 2.0)


def test_the_recent_time_follows_pictures_of_any_size() -> None:
    times = ServiceTimes()
    times.note(Work(), Stage.INFER, 4.0)
    times.note(Work(), Stage.INFER, 2.0)
    assert times.recent(Stage.INFER) == pytest.approx(3.4)
    assert times.expected(Work(), Stage.INFER) == pytest.approx(3.4), "of a picture whose size is not known"
    assert times.recent(Stage.DECODE) == 0


def test_formats_and_outputs_have_times_of_their_own() -> None:
    times = ServiceTimes()
    jpeg = Work((100, 100), (10, 10), "JPEG", "mask")
    avif = Work((100, 100), (10, 10), "AVIF", "rgba")
    for work, decoding, finishing in ((jpeg, 1.0, 2.0), (avif, 30.0, 40.0)) * 2:
        times.note(work, Stage.DECODE, decoding)
        times.note(work, Stage.INFER, 0.5)
        times.note(work, Stage.FINISH, finishing)
    assert times.expected_total(jpeg) == pytest.approx(3.5)
    assert times.expected_total(avif) == pytest.approx(70.5)
    assert times.proved_total(Work((200, 100), (10, 10), "JPEG", "mask")) == pytest.approx(6.5)


def test_the_time_of_a_probe_is_none_of_the_clients() -> None:
    times = ServiceTimes()
    times.note_size(Work((10, 10), (10, 10)), Stage.INFER, 3.0)
    assert times.recent(Stage.INFER) == 0
    assert times.expected(Work((10, 10), (10, 10)), Stage.INFER) == 3.0


@pytest.mark.parametrize("tiny", [1, 64 * 64])
def test_a_tiny_picture_does_not_make_a_photograph_look_like_minutes(
    tiny: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is what every job costs. A canary of 0.35 s must not refuse the second photograph of a cold start."""
    monkeypatch.setattr(service_time, "FLOOR_PIXELS", 1 << 14)
    model = TimeModel()
    for _ in range(2):
        model.note(tiny, 0.35)
    assert model.expected(1024 * 1024) == pytest.approx(0.35 * 64)
    assert model.expected(tiny) == 0.35
    assert model.proved(1024 * 1024) <= 0.35 * 4
