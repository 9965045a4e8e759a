"""The state machine alone: no tasks, and the time is a number."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant

from supervisor import Canary, Failure, Outcome, ProbeReport, Reason, Settle, State, Vitals
from supervisor.cadence import Cadence
from supervisor.state import Evidence
from tests.supervisor.evidence_machine import CADENCE, REPORT, EvidenceMachine
from tests.support.examples import examples

FAILURE = Failure(Outcome.ERROR, "the reason", "ValueError")
FRESH_FOR = 3 * 60.0 + 120.0

seconds = st.floats(0, 1e6)


def passed(evidence: Evidence, at: float = 0.0, running: float = 0.1) -> Evidence:
    evidence = evidence.after_probe(Canary(), ProbeReport(running), at, seconds=running)
    return evidence.after_opening(at) if evidence.everything_proved else evidence


def failed(evidence: Evidence, times: int, at: float = 1.0) -> Evidence:
    for _ in range(times):
        if evidence.loaded is None:
            evidence = evidence.after_load_failure(FAILURE, at, 0.0)
        else:
            evidence = evidence.after_probe_failure(Canary(), FAILURE, at, 0.0, seconds=1.0)
    return evidence


COLD = Evidence.cold(CADENCE)
LOADED = COLD.after_load(0.0, REPORT, load_seconds=2.0)
READY = passed(LOADED)


@pytest.mark.parametrize(
    ("evidence", "now", "job_seconds", "state"),
    [
        (COLD, 0, 0, State.LOADING),
        (failed(COLD, 1), 1, 0, State.LOAD_FAILED),
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
        (READY.after_load(1, REPORT, load_seconds=2.0), 1, 0, State.WARMING),
        (COLD.after_drain(), 0, 0, State.DRAINING),
        (failed(READY, 3).after_drain(), 1, 0, State.DRAINING),
        (COLD.after_drain().after_load(0, REPORT, load_seconds=2.0), 0, 0, State.DRAINING),
    ],
)
def test_the_state_is_the_first_one_that_applies(
    evidence: Evidence, now: float, job_seconds: float, state: State
) -> None:
    assert evidence.state(now, Vitals(job_seconds=job_seconds)) is state


@pytest.mark.parametrize(
    ("evidence", "outcome"),
    [
        (COLD, None),
        (failed(COLD, 1), Outcome.ERROR),
        (LOADED, None),
        (failed(LOADED, 1), Outcome.ERROR),
        (READY, Outcome.SUCCESS),
        (failed(READY, 2), Outcome.ERROR),
        (passed(failed(READY, 2)), Outcome.SUCCESS),
        (failed(COLD, 1).after_load(1, REPORT, load_seconds=2.0), None),
    ],
)
def test_the_outcome_is_that_of_the_last_finished_run_since_the_load(
    evidence: Evidence, outcome: Outcome | None
) -> None:
    assert evidence.outcome is outcome


@pytest.mark.parametrize(
    ("running", "effective"), [(0.1, 60), (3, 60), (3.5, 70), (10, 200), (15, 300), (100, 300)]
)
def test_a_slow_probe_stretches_the_interval_up_to_five_times(running: float, effective: float) -> None:
    evidence = passed(LOADED, 10.0, running)
    assert evidence.effective_interval == effective
    assert evidence.next_at == 10.0 + effective
    assert evidence.fresh(10.0 + 3 * effective + 120)
    assert not evidence.fresh(10.0 + 3 * effective + 120.1)


def test_what_is_left_open_at_the_load_is_settled_after_the_first_proof_and_proved_before_requests_are_served() -> (
    None
):
    evidence = COLD.after_load(0.0, replace(REPORT, settled=False), load_seconds=2.0)
    evidence = passed(evidence, 10.0)
    assert evidence.due(10.0, demanded=False) == Settle()
    assert (evidence.state(10.0, Vitals()), evidence.reason(10.0, Vitals())) == (
        State.WARMING,
        Reason.GATE_CLOSED,
    )
    evidence = evidence.after_probe(Settle(), ProbeReport(1.0), 11.0, seconds=1.0)
    assert not evidence.everything_proved
    assert evidence.due(11.0, demanded=False) == Canary()
    assert passed(evidence, 12.0).state(12.0, Vitals()) is State.READY


@pytest.mark.parametrize(("failures", "delay"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (5000, 60)])
def test_the_backoff_doubles_from_one_second_up_to_the_interval(failures: int, delay: float) -> None:
    assert failed(READY, failures, at=5.0).next_at == 5.0 + delay


def test_the_backoff_grows_up_to_the_effective_interval() -> None:
    slow = passed(LOADED, running=10)
    assert failed(slow, 20, at=5.0).next_at == 5.0 + 200


@given(failures=st.integers(1, 10_000), jitter=st.floats(0, 1), interval=st.floats(0.01, 1e5))
def test_the_backoff_stays_between_one_second_and_the_interval(
    failures: int, jitter: float, interval: float
) -> None:
    delay = Cadence(interval, 1, 1).backoff(failures, jitter, interval)
    assert min(1.0, interval) <= delay <= interval


@given(running=seconds, interval=st.floats(0.01, 1e5))
def test_the_effective_interval_is_between_the_configured_one_and_five_times_that(
    running: float, interval: float
) -> None:
    effective = Cadence(interval, 1, 1).stretched(running)
    assert interval <= effective <= 5 * interval
    assert effective >= min(20 * running, 5 * interval)


def test_the_duty_rule_holds_for_twenty_times_the_running_time_of_a_success() -> None:
    evidence = passed(LOADED, 100.0, 1.0)
    assert evidence.within_duty(119.9)
    assert not evidence.within_duty(120.0)
    assert not failed(evidence, 1, at=101.0).within_duty(102.0)
    assert not LOADED.within_duty(0.0)


def test_the_duty_rule_never_holds_longer_than_the_longest_interval() -> None:
    evidence = passed(LOADED, running=100.0)
    assert evidence.within_duty(299.9)
    assert not evidence.within_duty(300.0)


def test_a_demand_brings_a_probe_forward_but_not_within_a_second_of_a_failure() -> None:
    assert READY.due_at(demanded=False) == 60.0
    assert READY.due_at(demanded=True) == -math.inf
    failing = failed(READY, 6, at=5.0)
    assert failing.due_at(demanded=False) == 5.0 + 32
    assert failing.due_at(demanded=True) == 6.0
    assert passed(failing, 7.0).due_at(demanded=True) == -math.inf


def test_a_demand_never_hurries_a_load() -> None:
    evidence = failed(COLD, 3, at=5.0)
    assert evidence.load_failed
    assert evidence.due_at(demanded=True) == evidence.due_at(demanded=False) == 5.0 + 4


def test_a_new_load_discards_everything_known_about_the_old_one() -> None:
    evidence = failed(READY, 2).after_load(9.0, REPORT, load_seconds=2.0)
    assert evidence == COLD.after_load(9.0, REPORT, load_seconds=2.0)


class StateMachine(EvidenceMachine):
    """In any order of events, the state claims no more than the evidence supports."""

    @invariant()
    def ready_means_passed_recently_and_not_failing(self) -> None:
        state = self.evidence.state(self.now, self.vitals)
        if state in {State.READY, State.DEGRADED}:
            assert self.passed_at is not None
            assert self.now - self.passed_at <= 3 * 300 + 120
            assert self.failed_in_a_row <= 2
            assert self.vitals.job_seconds <= 60
            assert not self.evidence.draining
        assert (state is State.READY) <= (self.failed_in_a_row == 0)

    @invariant()
    def a_failure_is_kept_exactly_as_long_as_it_is_the_last_result(self) -> None:
        kept = (self.evidence.failure is not None, self.evidence.failed_at is not None)
        assert kept == ((self.evidence.failures > 0),) * 2


TestStateMachine = StateMachine.TestCase
TestStateMachine.settings = settings(max_examples=examples(60), stateful_step_count=30, deadline=None)
