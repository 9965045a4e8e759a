"""Who gives way when every place is taken, on a clock that the test moves."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from service.http.slow_clients import FAIR_PACE, GRACE_SECONDS, Transfers


class Bench:
    def __init__(self, stack: ExitStack) -> None:
        self.now = 100.0
        self.ended: list[str] = []
        self.transfers = Transfers(clock=lambda: self.now)
        self._stack = stack

    def begin(self, name: str, *, moved: int) -> ExitStack:
        one = ExitStack()
        one.enter_context(self.transfers.transfer(moved=lambda: moved, end=lambda: self.ended.append(name)))
        self._stack.enter_context(one)
        return one


@pytest.fixture
def bench() -> Bench:
    return Bench(ExitStack())


def test_with_none_under_way_nothing_happens(bench: Bench) -> None:
    bench.transfers.make_way()
    assert bench.ended == []


def test_the_slowest_gives_way_one_for_each_who_asks(bench: Bench) -> None:
    for name, moved in [("slow", 1000), ("slowest", 10), ("fair", 100 * FAIR_PACE)]:
        bench.begin(name, moved=moved)
    bench.now += 10
    for _ in range(4):
        bench.transfers.make_way()
    assert bench.ended == ["slowest", "slow"]


def test_nobody_gives_way_within_the_grace(bench: Bench) -> None:
    bench.begin("young", moved=0)
    bench.now += GRACE_SECONDS - 0.01
    bench.transfers.make_way()
    assert bench.ended == []
    bench.now += 0.01
    bench.transfers.make_way()
    assert bench.ended == ["young"]


def test_a_fair_pace_is_never_interrupted(bench: Bench) -> None:
    bench.begin("fair", moved=FAIR_PACE * 10)
    bench.begin("almost", moved=FAIR_PACE * 10 - 1)
    bench.now += 10
    bench.transfers.make_way()
    bench.transfers.make_way()
    assert bench.ended == ["almost"]


def test_a_gulp_does_not_excuse_a_stall_for_long(bench: Bench) -> None:
    bench.begin("gulp", moved=FAIR_PACE * 1000)
    bench.now += GRACE_SECONDS
    bench.transfers.make_way()
    assert bench.ended == []
    bench.now += GRACE_SECONDS
    bench.transfers.make_way()
    assert bench.ended == ["gulp"]


def test_what_is_finished_has_nothing_to_give(bench: Bench) -> None:
    bench.begin("done", moved=0).close()
    bench.now += 10
    bench.transfers.make_way()
    assert bench.ended == []
