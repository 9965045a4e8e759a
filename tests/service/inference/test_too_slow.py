"""Pictures that cannot meet their deadline alone: refused in words once that is proved, tried from time to time."""

from __future__ import annotations

import pytest

from service.errors import BadDimensions
from service.inference.service_time import ServiceTimes, Stage, Work
from service.inference.too_slow import TRIAL_DUTY, TRIAL_SECONDS, TooSlow
from tests.support.clock import FakeClock


def avif(width: int, height: int) -> Work:
    return Work((width, height), (width, height), "AVIF", "rgba")


class Case:
    """A deadline of 60 s, and what was measured."""

    def __init__(self, *decoded: tuple[Work, float]) -> None:
        self.clock = FakeClock()
        self.times = ServiceTimes()
        for work, seconds in decoded:
            self.times.note(work, Stage.DECODE, seconds)
        self.too_slow = TooSlow(
            self.times,
            deadline=60.0,
            aim=48.0,
            model_input_size=lambda width, height: (width, height),
            clock=self.clock,
        )

    def refuses(self, work: Work, *, idle: bool = True) -> bool:
        try:
            self.too_slow.check(work, idle=idle)
        except BadDimensions:
            return True
        return False


def test_the_message_has_the_figures_and_a_size_that_fits() -> None:
    case = Case(*[(avif(4000, 3000), 30.0)] * 2)
    with pytest.raises(BadDimensions) as refused:
        case.too_slow.check(avif(8000, 6000), idle=True)
    assert refused.value.message == (
        "The image is 8000 x 6000 pixels. At the speed that was measured here it takes 120 s, and a request may take "
        "60 s. Send it with at most 4800 x 3600 pixels."
    )
    assert refused.value.retry_after is None
    assert not case.refuses(avif(4800, 3600))


def test_the_stages_count_together() -> None:
    work = avif(4000, 3000)
    case = Case(*[(work, 25.0)] * 2)
    for _ in range(2):
        case.times.note(work, Stage.INFER, 25.0)
    assert not case.refuses(work)
    for _ in range(2):
        case.times.note(work, Stage.FINISH, 25.0)
    assert case.refuses(work)


def test_if_nothing_smaller_fits_the_message_says_so() -> None:
    small, large = avif(100, 100), avif(4000, 3000)
    case = Case(*[(small, 70.0)] * 2, *[(large, 80.0)] * 2)
    with pytest.raises(BadDimensions, match="no smaller one of this shape"):
        case.too_slow.check(large, idle=True)


def test_one_measured_job_of_another_format_or_of_a_size_far_below_refuses_nothing() -> None:
    assert not Case((avif(4000, 3000), 70.0)).refuses(avif(4000, 3000))
    assert not Case(*[(avif(4000, 3000), 70.0)] * 2).refuses(Work((4000, 3000), (4000, 3000), "JPEG"))
    assert not Case(*[(avif(100, 100), 10.0)] * 2).refuses(avif(8000, 6000))
    assert not Case(*[(avif(4000, 3000), 70.0)] * 2).refuses(Work(input_format="AVIF"))


def test_one_is_let_in_from_time_to_time_while_nothing_waits() -> None:
    case = Case(*[(avif(4000, 3000), 61.0)] * 2)
    pause = TRIAL_DUTY * 61.0
    assert pause > TRIAL_SECONDS
    assert case.refuses(avif(4000, 3000))
    case.clock.now += pause - 1
    assert case.refuses(avif(4000, 3000))
    case.clock.now += 1
    assert case.refuses(avif(4000, 3000), idle=False)
    tried = avif(4000, 3000)
    assert not case.refuses(tried)
    assert not case.refuses(tried, idle=False), "asked again when its body is there"
    assert case.refuses(avif(4000, 3000))


def test_one_fast_job_ends_the_refusals() -> None:
    work = avif(4000, 3000)
    case = Case(*[(work, 90.0)] * 5)
    assert case.refuses(work)
    case.times.note(work, Stage.DECODE, 20.0)
    assert not case.refuses(work)
