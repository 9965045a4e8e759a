"""The state machine by itself: no tasks, and time is a number."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from supervisor.protocol import Outcome
from supervisor.state import Cadence, Evidence, State

CADENCE = Cadence(interval=60.0, timeout=120.0, request_timeout=60.0)
FRESH_FOR = 3 * 60.0 + 120.0
COLD = Evidence(CADENCE)
LOADED = COLD.after_load(0.0)
READY = LOADED.after_success(0.0, began=0.0, running_seconds=0.1)

seconds = st.floats(0, 1e6)


def failed(evidence: Evidence, times: int, at: float = 1.0) -> Evidence:
    for _ in range(times):
        evidence = evidence.after_failure(Outcome.ERROR, at, 0.0)
    return evidence


@pytest.mark.parametrize(
    ("evidence", "now", "job", "state"),
    [
        (COLD, 0, 0, State.LOADING),
        (COLD.after_failed_load(Outcome.WEIGHTS_UNAVAILABLE, 1, 0), 1, 0, State.LOADING),
        (LOADED, 0, 0, State.WARMING),
        (failed(LOADED, 5), 1, 0, State.WARMING),
        (LOADED, 0, 1000, State.WARMING),
        (READY, 0, 0, State.READY),
        (READY, FRESH_FOR, 0, State.READY),
        (READY, FRESH_FOR + 0.001, 0, State.FAILING),
        (READY, 0, 60.0, State.READY),
        (READY, 0, 60.001, State.FAILING),
        (failed(READY, 1), 1, 0, State.DEGRADED),
        (failed(READY, 2), 1, 0, State.DEGRADED),
        (failed(READY, 3), 1, 0, State.FAILING),
        (failed(READY, 1), FRESH_FOR + 1, 0, State.FAILING),
        (READY.after_invalidation(1), 1, 0, State.FAILING),
        (READY.after_load(1), 1, 0, State.WARMING),
        (COLD.after_drain(), 0, 0, State.DRAINING),
        (failed(READY, 3).after_drain(), 1, 0, State.DRAINING),
        (COLD.after_drain().after_load(0), 0, 0, State.DRAINING),
    ],
)
def test_the_first_row_that_applies_is_the_state(
    evidence: Evidence, now: float, job: float, state: State
) -> None:
    assert evidence.state(now, job) is state


@pytest.mark.parametrize(
    ("evidence", "now", "alive", "code"),
    [
        (COLD, 0, True, 503),
        (COLD.after_failed_load(Outcome.ERROR, 1, 0), 1, True, 503),
        (LOADED, 0, True, 503),
        (failed(LOADED, 1), 1, True, 500),
        (READY, 0, True, 200),
        (READY, 0, False, 503),
        (READY, FRESH_FOR, True, 200),
        (READY, FRESH_FOR + 0.001, True, 503),
        (failed(READY, 1), 1, True, 500),
        (failed(READY, 1), FRESH_FOR + 1, True, 500),
        (failed(READY, 3), 1, True, 500),
        (READY.after_invalidation(1), 1, True, 503),
        (READY.after_load(1), 1, True, 503),
        (READY.after_drain(), 0, True, 503),
    ],
)
def test_the_code_of_warmup_follows_from_the_last_finished_probe(
    evidence: Evidence, now: float, alive: bool, code: int
) -> None:
    assert evidence.status_code(now, alive=alive) == code


@pytest.mark.parametrize(
    ("running", "effective"), [(0.1, 60), (3, 60), (3.5, 70), (10, 200), (15, 300), (100, 300)]
)
def test_a_slow_probe_stretches_the_interval_up_to_five_times(running: float, effective: float) -> None:
    evidence = LOADED.after_success(10.0, began=5.0, running_seconds=running)
    assert evidence.effective_interval == effective
    assert evidence.next_at == 10.0 + effective
    assert evidence.fresh(10.0 + 3 * effective + 120)
    assert not evidence.fresh(10.0 + 3 * effective + 120.1)


def test_a_probe_with_more_to_prove_is_followed_by_another_at_once() -> None:
    evidence = LOADED.after_success(10.0, began=5.0, running_seconds=2.0, again=True)
    assert evidence.next_at == 10.0
    assert evidence.state(10.0, 0) is State.READY


@pytest.mark.parametrize(("failures", "delay"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (5000, 60)])
def test_backoff_doubles_from_one_second_up_to_the_interval(failures: int, delay: float) -> None:
    assert failed(READY, failures, at=5.0).next_at == 5.0 + delay


def test_backoff_goes_up_to_the_interval_in_effect() -> None:
    slow = LOADED.after_success(0.0, began=0.0, running_seconds=10)
    assert failed(slow, 20, at=5.0).next_at == 5.0 + 200


@given(failures=st.integers(1, 10_000), jitter=st.floats(0, 1), interval=st.floats(0.01, 1e5))
def test_backoff_stays_between_one_second_and_the_interval(
    failures: int, jitter: float, interval: float
) -> None:
    delay = Cadence(interval, 1, 1).backoff(failures, jitter, interval)
    assert min(1.0, interval) <= delay <= interval


@given(running=seconds, interval=st.floats(0.01, 1e5))
def test_the_effective_interval_never_falls_short_of_the_configured_one_nor_exceeds_five_times_it(
    running: float, interval: float
) -> None:
    effective = Cadence(interval, 1, 1).stretched(running)
    assert interval <= effective <= 5 * interval
    assert effective >= min(20 * running, 5 * interval)


def test_a_demand_after_a_success_is_answered_from_it_for_twenty_times_its_running_time() -> None:
    evidence = LOADED.after_success(100.0, began=99.0, running_seconds=1.0)
    assert evidence.within_duty(119.9)
    assert not evidence.within_duty(120.0)
    assert not failed(evidence, 1, at=101.0).within_duty(102.0)
    assert not evidence.after_invalidation(101.0).within_duty(102.0)
    assert not LOADED.within_duty(0.0)


def test_the_duty_rule_never_holds_a_demand_longer_than_the_longest_interval() -> None:
    evidence = LOADED.after_success(0.0, began=0.0, running_seconds=100.0)
    assert evidence.within_duty(299.9)
    assert not evidence.within_duty(300.0)


def test_a_demand_brings_a_probe_forward_but_keeps_a_second_s_distance_from_a_failure() -> None:
    assert READY.due_at(demanded=False) == 60.0
    assert READY.due_at(demanded=True) == -math.inf
    sick = failed(READY, 6, at=5.0)
    assert sick.due_at(demanded=False) == 5.0 + 32
    assert sick.due_at(demanded=True) == 6.0


def test_a_demand_never_hurries_a_load() -> None:
    evidence = failed_load(3)
    assert evidence.due_at(demanded=True) == evidence.due_at(demanded=False) == 5.0 + 4


def failed_load(times: int) -> Evidence:
    evidence = COLD
    for _ in range(times):
        evidence = evidence.after_failed_load(Outcome.WEIGHTS_UNAVAILABLE, 5.0, 0.0)
    return evidence


def test_a_new_load_forgets_what_was_proved_of_the_old() -> None:
    evidence = failed(READY, 2).after_load(9.0)
    assert evidence == replace(COLD, loaded=True, next_at=9.0)


def test_a_probe_that_began_before_what_it_should_disprove_does_not_disprove_it() -> None:
    dead = READY.after_invalidation(10.0)
    early = dead.after_success(11.0, began=9.0, running_seconds=0.1)
    assert early.state(11.0, 0) is State.FAILING
    assert early.next_at == 11.0
    assert early.after_success(12.0, began=11.0, running_seconds=0.1).state(12.0, 0) is State.READY


def test_a_skipped_probe_teaches_nothing_and_is_tried_again_soon() -> None:
    evidence = READY.after_skip(30.0, 0.0)
    assert evidence == replace(READY, next_at=31.0)


@pytest.mark.parametrize(
    ("evidence", "now", "expected"),
    [
        (COLD, 0, 2),
        (LOADED, 0, 2),
        (failed_load(5), 5.0, 16),
        (failed_load(5), 20.5, 1),
        (READY, 0, 60),
        (READY, 400, 1),
        (READY.after_drain(), 0, 1),
    ],
)
def test_retry_after_is_when_something_new_can_be_known(
    evidence: Evidence, now: float, expected: int
) -> None:
    assert evidence.retry_after(now) == expected


class Warmth(RuleBasedStateMachine):
    """Whatever happens in whatever order, no answer claims more than the evidence supports."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.job = 0.0
        self.evidence = Evidence(CADENCE)
        self.passed_at: float | None = None
        self.failed_in_a_row = 0
        self.void = False

    @rule(by=st.one_of(st.floats(0, 5), st.floats(0, 2000)))
    def time_passes(self, by: float) -> None:
        self.now += by

    @rule(job=st.sampled_from([0.0, 59.0, 61.0]))
    def the_worker_is_busy_for(self, job: float) -> None:
        self.job = job

    @precondition(lambda self: not self.evidence.loaded)
    @rule()
    def a_load_fails(self) -> None:
        self.evidence = self.evidence.after_failed_load(Outcome.WEIGHTS_UNAVAILABLE, self.now, 0.5)

    @rule()
    def a_load_succeeds(self) -> None:
        self.evidence = self.evidence.after_load(self.now)
        self.passed_at, self.failed_in_a_row, self.void = None, 0, False

    @precondition(lambda self: self.evidence.loaded)
    @rule(running=st.floats(0, 150))
    def a_probe_passes(self, running: float) -> None:
        self.evidence = self.evidence.after_success(self.now, began=self.now, running_seconds=running)
        self.passed_at, self.failed_in_a_row, self.void = self.now, 0, False

    @precondition(lambda self: self.evidence.loaded)
    @rule(outcome=st.sampled_from([o for o in Outcome if o not in {Outcome.SUCCESS, Outcome.SKIPPED}]))
    def a_probe_fails(self, outcome: Outcome) -> None:
        self.evidence = self.evidence.after_failure(outcome, self.now, 0.5)
        self.failed_in_a_row += 1

    @precondition(lambda self: self.evidence.loaded)
    @rule()
    def the_device_dies(self) -> None:
        self.evidence = self.evidence.after_invalidation(self.now)
        self.void = True

    @precondition(lambda self: not self.evidence.draining)
    @rule()
    def the_end_begins(self) -> None:
        self.evidence = self.evidence.after_drain()

    @invariant()
    def ready_means_proved_lately_and_not_disproved(self) -> None:
        state = self.evidence.state(self.now, self.job)
        proved = self.passed_at is not None and self.now - self.passed_at <= 3 * 300 + 120
        if state in {State.READY, State.DEGRADED}:
            assert proved
            assert not self.void
            assert self.failed_in_a_row <= 2
            assert self.job <= 60
            assert not self.evidence.draining
        assert (state is State.READY) <= (self.failed_in_a_row == 0)

    @invariant()
    def warmup_says_200_only_if_the_last_probe_passed_and_500_only_if_it_failed(self) -> None:
        code = self.evidence.status_code(self.now, alive=True)
        if code == 200:
            assert self.passed_at is not None
            assert self.failed_in_a_row == 0
            assert not self.void
        if code == 500:
            assert self.failed_in_a_row > 0
        assert self.evidence.status_code(self.now, alive=False) != 200

    @invariant()
    def ready_and_warmup_agree(self) -> None:
        state = self.evidence.state(self.now, self.job)
        code = self.evidence.status_code(self.now, alive=True)
        assert state is not State.READY or code == 200
        assert state is not State.DEGRADED or code == 500

    @invariant()
    def asking_again_always_makes_sense_at_some_time(self) -> None:
        assert 1 <= self.evidence.retry_after(self.now) <= 300


TestWarmth = Warmth.TestCase
TestWarmth.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
