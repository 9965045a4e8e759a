"""What ``Retry-After`` says: the refused come back as fast as they can be served, spread, each key in its own line."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.inference.return_times import ASSUMED_SECONDS, GRACE_SECONDS, LONGEST_SECONDS, ReturnTimes
from tests.service.inference.crowd import crowd
from tests.support.clock import FakeClock
from tests.support.virtual_time import run_in_virtual_time


def returns(clock: FakeClock, *, places: int = 17, spread: float = 0.0) -> ReturnTimes:
    return ReturnTimes(places=places, clock=clock, uniform=lambda: spread)


def test_the_hint_grows_by_a_pictures_time_with_each_that_was_refused() -> None:
    line = returns(FakeClock())
    hints = [line.book(None, seconds=2.0) for _ in range(5)]
    assert hints == pytest.approx([2.0, 4.0, 6.0, 8.0, 10.0])


def test_the_line_moves_on_with_time() -> None:
    clock = FakeClock()
    line = returns(clock)
    for _ in range(5):
        line.book(None, seconds=2.0)
    clock.now += 6.0
    assert line.book(None, seconds=2.0) == pytest.approx(2.0 + 4.0)
    clock.now += 1000.0
    assert line.book(None, seconds=2.0) == pytest.approx(2.0)


def test_those_that_come_back_are_spread_over_half_a_queue() -> None:
    assert returns(FakeClock(), spread=1.0).book(None, seconds=2.0) == pytest.approx(2.0 + 17 * 2.0 / 2)


def test_a_hint_is_neither_short_nor_long_and_long_ones_are_spread() -> None:
    assert returns(FakeClock()).book(None, seconds=0.001) == 1.0
    for spread in (0.0, 1.0):
        line = returns(FakeClock(), spread=spread)
        for _ in range(1000):
            hint = line.book(None, seconds=2.0)
        assert hint == pytest.approx(LONGEST_SECONDS * (1 + spread) / 2)


def test_no_more_come_back_in_one_second_than_two_queues_hold() -> None:
    line = returns(FakeClock(), places=5)
    hints = [line.book(None, seconds=0.001) for _ in range(100)]
    assert sum(2.0 < hint <= 3.0 for hint in hints) == 10


def test_before_the_first_picture_a_time_is_assumed() -> None:
    line = returns(FakeClock())
    hints = [line.book(None, seconds=0.0) for _ in range(100)]
    assert hints[-1] == pytest.approx(100 * ASSUMED_SECONDS)


def test_the_wait_until_anybody_can_be_served_comes_before_the_line() -> None:
    line = returns(FakeClock())
    assert line.book(None, seconds=2.0, not_before=7.0) == pytest.approx(7.0)
    assert line.book(None, seconds=2.0, not_before=7.0) == pytest.approx(9.0)


def test_the_crowd_of_one_key_does_not_send_another_key_to_its_end() -> None:
    line = returns(FakeClock())
    for _ in range(20):
        line.book("crowd", seconds=1.0)
    assert line.book("other", seconds=1.0) == pytest.approx(1.0 + 1.0), "the lines are served in turn"
    assert line.book("other", seconds=1.0) == pytest.approx(1.0 + 1.0 + 2.0)


def test_lines_move_on_evenly() -> None:
    clock = FakeClock()
    line = returns(clock)
    for _ in range(4):
        line.book("a", seconds=1.0)
    line.book("b", seconds=1.0)
    clock.now += 3.0  # one second for each, then another one for the one that is left
    assert line.book("c", seconds=1.0) == pytest.approx(1.0 + 1.0)
    assert line.book("a", seconds=1.0) == pytest.approx(1.0 + 2.0 + 1.0)


def test_a_key_waits_until_its_clients_should_be_back() -> None:
    clock = FakeClock()
    line = returns(clock)
    assert not line.another_waits("a")
    hint = line.book("b", seconds=2.0)
    assert line.another_waits("a")
    assert not line.another_waits("b")
    clock.now += hint + GRACE_SECONDS - 0.1
    assert line.another_waits("a")
    clock.now += 0.2
    assert not line.another_waits("a")


def test_a_key_that_was_served_waits_no_longer_but_its_line_stays() -> None:
    line = returns(FakeClock())
    for _ in range(5):
        line.book("b", seconds=2.0)
    line.served("b")
    assert not line.another_waits("a")
    assert line.book("b", seconds=2.0) == pytest.approx(6 * 2.0)
    assert line.another_waits("a")


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(0, 100), st.floats(0, 30), st.none() | st.floats(0, 100)),
        max_size=100,
    ),
    st.integers(1, 50),
    st.integers(0, 10),
)
def test_every_hint_is_within_its_bounds(
    refusals: list[tuple[str, float, float, float | None]], places: int, seed: int
) -> None:
    clock = FakeClock()
    line = ReturnTimes(places=places, clock=clock, uniform=random.Random(seed).random)
    for key, seconds, pause, not_before in refusals:
        clock.now += pause
        assert 1.0 <= line.book(key, seconds=seconds, not_before=not_before) <= LONGEST_SECONDS


# -- whole crowds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("clients", "queue_size", "seconds"), [(100, 16, 0.4), (100, 4, 0.4), (100, 16, 1.5)]
)
def test_a_crowd_that_obeys_is_refused_rarely_and_keeps_the_device_busy(
    clients: int, queue_size: int, seconds: float, seed: int
) -> None:
    """100 clients at once; with a hint of one picture's time each picture cost 14 refusals or more."""
    seen = run_in_virtual_time(
        crowd([None] * clients, picture_seconds=seconds, queue_size=queue_size, seed=seed)
    )
    assert seen.served.total() == clients
    assert seen.refusals.total() <= 3 * clients
    assert seen.idle_share < 0.1
    assert seen.longest_hint <= LONGEST_SECONDS


def test_a_crowd_that_comes_little_by_little_is_refused_rarely_too() -> None:
    seen = run_in_virtual_time(crowd([None] * 100, picture_seconds=0.4, arrive_within=20.0))
    assert seen.refusals.total() <= 100
    assert seen.idle_share < 0.1


@pytest.mark.parametrize("seed", range(5))
def test_a_key_with_few_pictures_is_served_long_before_the_crowd_of_another_key(seed: int) -> None:
    seen = run_in_virtual_time(crowd(["crowd"] * 90 + ["few"] * 10, picture_seconds=0.4, seed=seed))
    assert seen.served == {"crowd": 90, "few": 10}
    assert seen.ended["few"] < seen.ended["crowd"] / 2
    assert seen.refusals["few"] <= 3 * 10
    assert seen.idle_share < 0.1


def test_a_single_key_gets_every_place() -> None:
    seen = run_in_virtual_time(crowd(["only"] * 100, picture_seconds=0.4))
    assert seen.most_held["only"] == 17
    assert seen.idle_share < 0.1


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=60), st.integers(0, 100))
def test_everybody_is_served_whatever_the_keys(keys: list[str], seed: int) -> None:
    seen = run_in_virtual_time(
        crowd(list(keys), picture_seconds=0.4, queue_size=3, seed=seed, arrive_within=5.0)
    )
    assert seen.served.total() == len(keys)


def test_hints_of_a_crowd_rise_on_the_whole() -> None:
    line = returns(FakeClock())
    hints = [line.book(None, seconds=0.4) for _ in range(100)]
    assert all(before <= after for before, after in pairwise(hints))
