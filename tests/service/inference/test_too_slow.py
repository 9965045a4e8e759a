"""Pictures that cannot meet their deadline alone: refused in words once that is proved, tried from time to time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadDimensions
from service.inference.service_time import ServiceTimes, Stage, Work
from service.inference.too_slow import TRIAL_DUTY, TooSlow
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
        """By its header."""
        return self._refused(work, idle, False)

    def refuses_whole(self, work: Work, *, idle: bool = True) -> bool:
        """When its body is in."""
        return self._refused(work, idle, True)

    def _refused(self, work: Work, idle: bool, complete: bool) -> bool:
        try:
            self.too_slow.check(work, idle=idle, complete=complete)
        except BadDimensions:
            return True
        return False


def test_the_message_has_the_figures_and_a_size_that_fits() -> None:
    case = Case(*[(avif(4000, 3000), 30.0)] * 2)
    with pytest.raises(BadDimensions) as refused:
        case.too_slow.check(avif(8000, 6000), idle=True, complete=False)
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
        case.too_slow.check(large, idle=True, complete=False)


def test_one_measured_job_of_another_format_or_of_a_size_far_below_refuses_nothing() -> None:
    assert not Case((avif(4000, 3000), 70.0)).refuses(avif(4000, 3000))
    assert not Case(*[(avif(4000, 3000), 70.0)] * 2).refuses(Work((4000, 3000), (4000, 3000), "JPEG"))
    assert not Case(*[(avif(100, 100), 10.0)] * 2).refuses(avif(8000, 6000))
    assert not Case(*[(avif(4000, 3000), 70.0)] * 2).refuses(Work(input_format="AVIF"))


PAUSE = TRIAL_DUTY * 61.0


def refusing() -> Case:
    """Pictures of 61 s are refused, and a trial is due."""
    case = Case(*[(avif(4000, 3000), 61.0)] * 2)
    assert case.refuses(avif(4000, 3000))
    case.clock.now += PAUSE
    return case


def test_one_is_let_in_from_time_to_time_while_nothing_waits() -> None:
    case = Case(*[(avif(4000, 3000), 61.0)] * 2)
    assert case.refuses(avif(4000, 3000))
    case.clock.now += PAUSE - 1
    assert case.refuses(avif(4000, 3000))
    case.clock.now += 1
    assert case.refuses(avif(4000, 3000), idle=False)
    tried = avif(4000, 3000)
    assert not case.refuses_whole(tried)
    assert case.refuses(avif(4000, 3000)), "one at a time"
    case.clock.now += 61.0
    case.too_slow.trial_ended(61.0)
    assert case.refuses(avif(4000, 3000))
    case.clock.now += PAUSE
    assert not case.refuses(avif(4000, 3000))


def test_a_busy_service_tries_again_too_but_waits_twice_as_long_for_a_quiet_moment() -> None:
    case = refusing()
    assert case.refuses_whole(avif(4000, 3000), idle=False)
    case.clock.now += PAUSE
    assert not case.refuses_whole(avif(4000, 3000), idle=False)


def test_who_sends_a_header_only_keeps_nobody_from_the_trial() -> None:
    case = refusing()
    for _ in range(100):
        assert not case.refuses(avif(4000, 3000)), "its upload is on the way"
    assert not case.refuses_whole(avif(4000, 3000))
    assert case.refuses_whole(avif(4000, 3000)), "another body was complete first"


def test_a_trial_on_which_no_thread_worked_is_given_to_the_next() -> None:
    case = refusing()
    for _ in range(100):
        assert not case.refuses_whole(avif(4000, 3000))
        case.too_slow.trial_ended(0.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans(), st.booleans(), st.floats(0, 90)), max_size=100))
def test_trials_take_their_share_of_the_time_and_no_more(
    steps: list[tuple[float, bool, bool, float]],
) -> None:
    """Whatever comes and however it ends: all trials but the last one have been paid for by the time between them."""
    case = refusing()
    began = case.clock.now - PAUSE
    spent = 0.0
    for pause, idle, whole, seconds in steps:
        case.clock.now += pause
        ask = case.refuses_whole if whole else case.refuses
        if not ask(avif(4000, 3000), idle=idle) and whole:
            assert spent * TRIAL_DUTY <= case.clock.now - began
            case.clock.now += seconds
            case.too_slow.trial_ended(seconds)
            spent += seconds


def test_one_fast_job_ends_the_refusals() -> None:
    work = avif(4000, 3000)
    case = Case(*[(work, 90.0)] * 5)
    assert case.refuses(work)
    case.times.note(work, Stage.DECODE, 20.0)
    assert not case.refuses(work)
