"""A hypothesis machine that puts an ``Evidence`` through loads, probes, failed requests and time in any order.

``test_state`` checks the state with it, and the tests of ``/warmup`` check the HTTP status with it.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from supervisor import (
    AtSize,
    Canary,
    Failure,
    LoadReport,
    MaskError,
    Outcome,
    ProbeReport,
    Reference,
    Settle,
    Size,
    Subject,
    Vitals,
)
from supervisor.cadence import Cadence
from supervisor.state import Evidence

CADENCE = Cadence(interval=60.0, timeout=120.0, request_timeout=60.0)
CANARY_SIZE, REAL, LARGE = Size(64, 64), Size(1696, 1280), Size(2048, 2048)
REPORT = LoadReport(seconds_by_phase={}, canary=CANARY_SIZE, real=REAL)

FAILURES = [
    Failure(outcome, "the reason", outcome.value)
    for outcome in Outcome
    if outcome not in {Outcome.SUCCESS, Outcome.SKIPPED}
]
REPORTS = [
    LoadReport(
        seconds_by_phase={},
        canary=CANARY_SIZE,
        real=real,
        settled=settled,
        real_gates=gates,
        references=references,
        gate_references=references[:1],
    )
    for real in (CANARY_SIZE, REAL)
    for settled in (True, False)
    for gates in (True, False)
    for references in ((), ("one.jpg", "two.jpg"))
]


class EvidenceMachine(RuleBasedStateMachine):
    """Holds the evidence and, beside it, what the rules have done."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.vitals = Vitals()
        self.evidence = Evidence.cold(CADENCE)
        self.passed_at: float | None = None
        self.failed_in_a_row = 0
        self.last: dict[Subject, bool] = {}
        """Whether the last probe of each kind passed, since the load and since anything was settled."""

    @rule(by=st.one_of(st.floats(0, 5), st.floats(0, 2000)))
    def time_passes(self, by: float) -> None:
        self.now += by
        self.evidence = self.evidence.after_time(self.now)

    @rule(seconds=st.sampled_from([0.0, 59.0, 61.0]), late=st.sampled_from([0, 0, 1, 2]))
    def jobs_have_been_running_for(self, seconds: float, late: int) -> None:
        self.vitals = Vitals(job_seconds=seconds, late_codec_jobs=late, codec_threads=2)

    @precondition(lambda self: self.evidence.loaded is None)
    @rule(failure=st.sampled_from(FAILURES))
    def a_load_fails(self, failure: Failure) -> None:
        self.evidence = self.evidence.after_load_failure(failure, self.now, 0.5)

    @rule(report=st.sampled_from(REPORTS))
    def a_load_succeeds(self, report: LoadReport) -> None:
        self.evidence = self.evidence.after_load(self.now, report, load_seconds=1.0)
        self.passed_at, self.failed_in_a_row, self.last = None, 0, {}

    @precondition(lambda self: self.evidence.loaded is not None)
    @rule(
        running=st.floats(0, 150),
        failure=st.sampled_from([None, None, *FAILURES]),
        demanded=st.booleans(),
    )
    def what_is_due_is_proved(self, running: float, failure: Failure | None, *, demanded: bool) -> None:
        subject = self.evidence.due(self.now, demanded=demanded)
        if subject is None:
            return
        self.now += running
        if failure is None:
            mask_error = MaskError(0.001, 0.01) if isinstance(subject, Reference) else None
            self.evidence = self.evidence.after_probe(
                subject, ProbeReport(running, mask_error), self.now, seconds=running
            )
        else:
            self.evidence = self.evidence.after_probe_failure(
                subject, failure, self.now, 0.5, seconds=running, running_seconds=running
            )
        if not self.evidence.gate_open and failure is None and self.evidence.everything_proved:
            self.evidence = self.evidence.after_opening(self.now)
        self._note(subject, passed=failure is None)

    def _note(self, subject: Subject, *, passed: bool) -> None:
        if isinstance(subject, Settle):
            self.last = {}
        if isinstance(subject, Canary | Settle) and not passed:
            self.failed_in_a_row += 1
        if isinstance(subject, Canary) and passed:
            self.passed_at, self.failed_in_a_row = self.now, 0
        if isinstance(subject, AtSize) and passed:
            covered = [it for it in self.last if isinstance(it, AtSize) and subject.size.covers(it.size)]
            self.last |= dict.fromkeys(covered, True)
        self.last[subject] = passed

    @precondition(lambda self: self.evidence.gate_open)
    @rule(size=st.sampled_from([CANARY_SIZE, Size(640, 480), REAL, LARGE, Size(4096, 64)]))
    def a_request_fails(self, size: Size) -> None:
        self.evidence = self.evidence.after_client_failure(size, self.now)

    @precondition(lambda self: not self.evidence.draining)
    @rule()
    def the_shutdown_begins(self) -> None:
        self.evidence = self.evidence.after_drain()
