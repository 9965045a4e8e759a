"""When a picture in a watched folder counts as complete."""

from __future__ import annotations

from pathlib import Path, PurePath

from hypothesis import given
from hypothesis import strategies as st

from service.batch.arrivals import SETTLE_SECONDS, Arrivals
from service.batch.ledger import Stamp
from service.batch.plan import Job
from service.batch.problem import Problem
from service.batch.sources import Source
from tests.support.clock import FakeClock


def job(name: str, size: int) -> Job:
    return Job(Source(Path(name), PurePath(name), name, Stamp(size, size)), PurePath(name))


def test_a_picture_is_taken_once_when_it_has_stood_still() -> None:
    clock = FakeClock()
    arrivals = Arrivals(clock=clock)
    taken = []
    for size in (1, 2, 3, 3, 3, 3, 3):
        taken.append(len(arrivals.settled([job("a", size)])))
        clock.now += SETTLE_SECONDS / 2
    assert taken == [0, 0, 0, 0, 1, 0, 0]


def test_a_picture_that_changes_later_is_taken_again() -> None:
    clock = FakeClock()
    arrivals = Arrivals(clock=clock)
    for size in (1, 1, 2, 2):
        settled = arrivals.settled([job("a", size)])
        clock.now += SETTLE_SECONDS
    assert [each.source.stamp.bytes for each in settled] == [2]


def test_a_picture_that_was_away_counts_as_new() -> None:
    clock = FakeClock()
    arrivals = Arrivals(clock=clock)
    taken = []
    for there in (True, True, False, True, True):
        taken.append(len(arrivals.settled([job("a", 1)] if there else [])))
        clock.now += SETTLE_SECONDS
    assert taken == [0, 1, 0, 0, 1]


def test_a_problem_is_new_once() -> None:
    arrivals = Arrivals()
    problem = Problem("a", "It is broken.")
    assert arrivals.new([problem, problem]) == [problem]
    assert arrivals.new([problem]) == []
    assert arrivals.new([]) == []
    assert arrivals.new([problem]) == [problem]


looks = st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(1, 2)), max_size=20)


@given(looks, st.floats(0.1, 3))
def test_a_picture_is_never_taken_before_it_stood_still(found: list[dict[str, int]], step: float) -> None:
    clock = FakeClock()
    arrivals = Arrivals(clock=clock)
    since: dict[str, tuple[int, float]] = {}
    for look in found:
        since = {
            name: since[name] if name in since and since[name][0] == size else (size, clock.now)
            for name, size in look.items()
        }
        for each in arrivals.settled([job(name, size) for name, size in look.items()]):
            assert clock.now - since[each.source.key][1] >= SETTLE_SECONDS
        clock.now += step
