"""A hypothesis machine that puts an ``Evidence`` through loads, probes and time in any order.

``test_state`` checks the state with it, and the tests of ``/warmup`` check the HTTP status with it.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from supervisor import Failure, Outcome
from supervisor.state import Cadence, Evidence

CADENCE = Cadence(interval=60.0, timeout=120.0, request_timeout=60.0)

FAILURES = [
    Failure(outcome, "the reason", outcome.value)
    for outcome in Outcome
    if outcome not in {Outcome.SUCCESS, Outcome.SKIPPED}
]


class EvidenceMachine(RuleBasedStateMachine):
    """Holds the evidence and, beside it, what the rules have done."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.job_seconds = 0.0
        self.evidence = Evidence(CADENCE)
        self.passed_at: float | None = None
        self.failed_in_a_row = 0

    @rule(by=st.one_of(st.floats(0, 5), st.floats(0, 2000)))
    def time_passes(self, by: float) -> None:
        self.now += by

    @rule(seconds=st.sampled_from([0.0, 59.0, 61.0]))
    def a_job_has_been_running_for(self, seconds: float) -> None:
        self.job_seconds = seconds

    @precondition(lambda self: not self.evidence.loaded)
    @rule(failure=st.sampled_from(FAILURES))
    def a_load_fails(self, failure: Failure) -> None:
        self.evidence = self.evidence.after_failure(failure, self.now, 0.5)

    @rule()
    def a_load_succeeds(self) -> None:
        self.evidence = self.evidence.after_load(self.now, load_seconds=1.0)
        self.passed_at, self.failed_in_a_row = None, 0

    @precondition(lambda self: self.evidence.loaded)
    @rule(running=st.floats(0, 150))
    def a_probe_passes(self, running: float) -> None:
        self.evidence = self.evidence.after_success(self.now, running_seconds=running, probe_seconds=running)
        self.passed_at, self.failed_in_a_row = self.now, 0

    @precondition(lambda self: self.evidence.loaded)
    @rule(failure=st.sampled_from(FAILURES))
    def a_probe_fails(self, failure: Failure) -> None:
        self.evidence = self.evidence.after_failure(failure, self.now, 0.5, probe_seconds=1.0)
        self.failed_in_a_row += 1

    @precondition(lambda self: not self.evidence.draining)
    @rule()
    def the_shutdown_begins(self) -> None:
        self.evidence = self.evidence.after_drain()
