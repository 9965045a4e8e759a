"""The answers of ``/warmup``: status, ``Retry-After``, sentences and body for the supervisor's facts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import invariant

from service.engines.protocol import EngineInfo
from service.http import warmup_answer
from service.http.warmup_body import EngineFacts, body, schema
from service.settings import Settings
from supervisor import Failure, MaskError, Outcome, Reason, Size, Snapshot, State, Vitals
from supervisor.snapshot import ReferenceFacts, SizeFacts
from tests.supervisor.evidence_machine import EvidenceMachine
from tests.support.examples import examples
from tests.support.scripted_engine import ScriptedEngine

FAILURE = Failure(Outcome.BAD_OUTPUT, "the mask is constant", "bad_output")
LOAD_FAILURE = Failure(Outcome.WEIGHTS_UNAVAILABLE, "there is no checkpoint", "FileNotFoundError")

LOADING = Snapshot(
    state=State.LOADING,
    reason=Reason.LOADING,
    alive=True,
    outcome=None,
    failure=None,
    consecutive_failures=0,
    proved=False,
    last_success_age=None,
    fresh=False,
    interval=60.0,
    seconds_to_next_attempt=0.0,
    vitals=Vitals(),
    phase=None,
    phase_detail="",
    load_seconds=None,
    probe_seconds=None,
    timestamp=1_700_000_000.12345,
)
LOADING_WEIGHTS = replace(LOADING, phase="weights", phase_detail="120 of 367 MB")
LOAD_FAILED = replace(
    LOADING,
    state=State.LOAD_FAILED,
    reason=Reason.LOAD_FAILED,
    outcome=LOAD_FAILURE.outcome,
    failure=LOAD_FAILURE,
    consecutive_failures=4,
    seconds_to_next_attempt=7.2,
)
LOADING_AGAIN = replace(LOAD_FAILED, seconds_to_next_attempt=0.0)
WARMING = replace(LOADING, state=State.WARMING, reason=Reason.UNPROVED, load_seconds=3.51234)
READY = replace(
    WARMING,
    state=State.READY,
    reason=None,
    outcome=Outcome.SUCCESS,
    proved=True,
    last_success_age=12.0,
    fresh=True,
    seconds_to_next_attempt=48.0,
    probe_seconds=0.25,
)


def failed(snapshot: Snapshot, state: State, times: int) -> Snapshot:
    return replace(
        snapshot,
        state=state,
        reason=Reason.PROBE_FAILED,
        outcome=FAILURE.outcome,
        failure=FAILURE,
        consecutive_failures=times,
        seconds_to_next_attempt=1.5,
    )


NEVER_PASSED = failed(WARMING, State.WARMING, 1)
DEGRADED = failed(READY, State.DEGRADED, 1)
FAILING = failed(READY, State.FAILING, 3)
STALE = replace(
    READY,
    state=State.FAILING,
    reason=Reason.STALE,
    last_success_age=301.0,
    fresh=False,
    seconds_to_next_attempt=0.0,
)
STUCK = replace(READY, state=State.FAILING, reason=Reason.JOB_HUNG, vitals=Vitals(job_seconds=61.2))
CODEC_STUCK = replace(
    READY,
    state=State.DEGRADED,
    reason=Reason.CODEC_HUNG,
    vitals=Vitals(late_codec_jobs=1, codec_threads=2),
)
GATE_CLOSED = replace(READY, state=State.WARMING, reason=Reason.GATE_CLOSED)
REAL, LARGE = Size(1696, 1280), Size(2048, 2048)
SIZE_UNPROVED = replace(READY, reason=Reason.SIZE_UNPROVED, sizes=SizeFacts(real=REAL, owed=(LARGE,)))
SIZE_REFUSED = replace(
    READY, state=State.DEGRADED, reason=Reason.SIZE_REFUSED, sizes=SizeFacts(real=REAL, refused=(LARGE,))
)
SIZE_FAILED = replace(failed(READY, State.FAILING, 1), reason=Reason.SIZE_FAILED, sizes=SizeFacts(real=REAL))
DISAGREES = Failure(Outcome.DISAGREES, "cat.jpg differs by 0.3; at most 0.01 is tolerated", "disagrees")
REFERENCE_FAILED = replace(
    READY,
    state=State.DEGRADED,
    reason=Reason.REFERENCE_FAILED,
    outcome=Outcome.DISAGREES,
    failure=DISAGREES,
    consecutive_failures=2,
    references=ReferenceFacts(total=3, passed=1, failed=1, worst=("cat.jpg", MaskError(0.3, 0.01))),
)
DOWN = replace(READY, alive=False)
DOWN_AND_STALE = replace(STALE, alive=False)
DOWN_WHILE_LOADING = replace(LOADING, alive=False)
DRAINING = replace(READY, state=State.DRAINING, reason=Reason.DRAINING)
DRAINING_AFTER_FAILURE = replace(FAILING, state=State.DRAINING, reason=Reason.DRAINING)
NOT_RUN = replace(DEGRADED, not_run="the probe that timed out still runs")
NOT_RUN_WHILE_LOADING = replace(DOWN_WHILE_LOADING, not_run="the warmup supervisor is not running")

TABLE = [
    # facts, HTTP status, Retry-After, status, outcome, error_type, message
    (LOADING, 503, 2, "pending", None, None, "Not warm: the model is loading"),
    (
        LOADING_WEIGHTS, 503, 2, "pending", None, None,
        "Not warm: the model is loading (weights: 120 of 367 MB)",
    ),
    (
        LOAD_FAILED, 503, 8, "error", "weights_unavailable", "FileNotFoundError",
        "Not warm: the model could not be loaded: there is no checkpoint; it is tried again in 8 s",
    ),
    (
        LOADING_AGAIN, 503, 1, "error", "weights_unavailable", "FileNotFoundError",
        "Not warm: the model could not be loaded: there is no checkpoint; it is being tried again",
    ),
    (WARMING, 503, 2, "pending", None, None, "Not warm: the model is loaded and has not been proved yet"),
    (NEVER_PASSED, 500, None, "error", "bad_output", "bad_output", "Warmup failed: the mask is constant"),
    (READY, 200, None, "success", "success", None, "Warmup completed successfully"),
    (DEGRADED, 500, None, "error", "bad_output", "bad_output", "Warmup failed: the mask is constant"),
    (FAILING, 500, None, "error", "bad_output", "bad_output", "Warmup failed: the mask is constant"),
    (
        STALE, 503, 1, "error", "success", "stale",
        "Not warm: the last success is 301 s old, too old to prove anything",
    ),
    (STUCK, 500, None, "error", "success", "job_hung", "Warmup failed: a job has been running for 61 s"),
    (
        CODEC_STUCK, 500, None, "error", "success", "codec_hung",
        "Warmup failed: 1 of 2 threads that decode and encode pictures have been busy for too long",
    ),
    (
        GATE_CLOSED, 200, None, "success", "success", None,
        "Warmup completed successfully; but requests wait for further proofs",
    ),
    (
        SIZE_UNPROVED, 500, None, "error", "success", "size_unproved",
        "Warmup failed: a request failed; a test picture with its model input of 2048x2048 is being tried",
    ),
    (
        SIZE_REFUSED, 500, None, "error", "success", "size_refused",
        "Warmup failed: pictures with a model input of 2048x2048 or more fail and are refused for now",
    ),
    (
        SIZE_FAILED, 500, None, "error", "bad_output", "bad_output",
        "Warmup failed: pictures of the size of a photograph fail (model input 1696x1280): the mask is constant",
    ),
    (
        REFERENCE_FAILED, 500, None, "error", "disagrees", "disagrees",
        "Warmup failed: cat.jpg differs by 0.3; at most 0.01 is tolerated",
    ),
    (
        DOWN, 503, 48, "error", "success", "supervisor_down",
        "The warmup supervisor is not running; no new probe confirms the last success",
    ),
    (
        DOWN_AND_STALE, 503, 1, "error", "success", "supervisor_down",
        "The warmup supervisor is not running; the last success is 301 s old, too old to prove anything",
    ),
    (replace(DEGRADED, alive=False), 500, None, "error", "bad_output", "bad_output",
     "Warmup failed: the mask is constant"),
    (DOWN_WHILE_LOADING, 503, 2, "pending", None, None, "Not warm: the model is loading"),
    (DRAINING, 503, 1, "error", "skipped", "draining", "Not warm: the service is shutting down"),
    (
        DRAINING_AFTER_FAILURE, 503, 1, "error", "skipped", "draining",
        "Not warm: the service is shutting down",
    ),
    (
        NOT_RUN, 503, 2, "error", "skipped", "skipped",
        "Warmup could not run: the probe that timed out still runs",
    ),
    (
        NOT_RUN_WHILE_LOADING, 503, 2, "error", "skipped", "skipped",
        "Warmup could not run: the warmup supervisor is not running",
    ),
]  # fmt: skip


@pytest.fixture
def engine() -> EngineFacts:
    return EngineFacts(engine=ScriptedEngine(), info=None, settings=Settings(), canary_side=64)


@pytest.mark.parametrize(
    ("snapshot", "http_status", "retry_after", "status", "outcome", "error_type", "message"), TABLE
)
def test_the_answer_follows_from_the_state_and_the_outcome_of_the_last_run(
    engine: EngineFacts,
    snapshot: Snapshot,
    http_status: int,
    retry_after: int | None,
    status: str,
    outcome: str | None,
    error_type: str | None,
    message: str,
) -> None:
    assert warmup_answer.http_status(snapshot) == http_status
    assert warmup_answer.retry_after(snapshot) == retry_after
    answer = body(snapshot, engine)
    assert (answer["status"], answer["outcome"], answer["error_type"]) == (status, outcome, error_type)
    assert answer["message"] == message
    assert answer["model_ready"] is (snapshot.last_success_age is not None)
    assert http_status != 200 or answer["model_ready"]


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        (READY, None),
        (DEGRADED, "the last probe failed: the mask is constant"),
        (FAILING, "the last 3 probes failed: the mask is constant"),
        (DRAINING, "the service is shutting down"),
        (GATE_CLOSED, "requests wait for further proofs"),
    ],
)
def test_the_reason_says_why_the_state_is_not_ready(snapshot: Snapshot, reason: str | None) -> None:
    assert warmup_answer.reason(snapshot) == reason


def test_retry_after_is_not_a_second_longer_because_of_a_floating_point_error() -> None:
    assert warmup_answer.retry_after(replace(STALE, seconds_to_next_attempt=1.1 + 2.2 - 0.3)) == 3


def test_the_body_gives_times_in_seconds_rounded_to_milliseconds(engine: EngineFacts) -> None:
    answer = body(READY, engine)
    times = (answer["load_time"], answer["process_time"], answer["total_time"], answer["timestamp"])
    assert times == (3.512, 0.25, 3.762, 1_700_000_000.123)
    assert body(WARMING, engine)["total_time"] is None


def test_the_body_describes_the_engine_from_the_settings_until_it_is_loaded(engine: EngineFacts) -> None:
    answer = body(LOADING, engine)
    assert (answer["engine"], answer["mode"], answer["resize"]) == ("inspyrenet", "base", "dynamic")
    assert (answer["device"], answer["precision"], answer["fallback"]) == (None, None, None)


def test_the_body_describes_the_engine_that_is_loaded(engine: EngineFacts) -> None:
    info = EngineInfo(
        engine="u2netp",
        fallback=True,
        fallback_reason="there are no weights",
        mode="none",
        resize="none",
        device="cpu",
        precision="fp32",
        precision_reason="it has no network",
        weights="none",
        weights_hash="",
        weights_note="",
    )
    answer = body(READY, replace(engine, info=info))
    described = {name: value for name, value in info.labels().items() if name != "weights_hash"}
    assert {name: answer[name] for name in described} == described


@pytest.mark.parametrize(
    ("snapshot", "code"),
    [
        (READY, None),
        (LOADING, "loading"),
        (LOAD_FAILED, "load_failed"),
        (STUCK, "job_hung"),
        (SIZE_UNPROVED, "size_unproved"),
        (SIZE_FAILED, "size_failed"),
        (REFERENCE_FAILED, "reference_failed"),
        (DEGRADED, "probe_failed"),
        (STALE, "stale"),
        (DOWN, "supervisor_down"),
        (DOWN_AND_STALE, "supervisor_down"),
        (NOT_RUN, "not_run"),
        (GATE_CLOSED, "gate_closed"),
    ],
)
def test_the_reason_code_says_what_decided(engine: EngineFacts, snapshot: Snapshot, code: str | None) -> None:
    assert body(snapshot, engine)["reason_code"] == code


def test_the_body_says_how_far_a_start_is_and_how_long_it_should_take(engine: EngineFacts) -> None:
    answer = body(replace(LOADING_WEIGHTS, phase_seconds=0.71234, start_seconds=1.5), engine)
    times = [answer[name] for name in ("phase_seconds", "start_seconds", "expected_seconds")]
    assert times == [0.712, 1.5, 2.3]
    answer = body(READY, engine)
    assert [answer[name] for name in ("phase_seconds", "start_seconds", "expected_seconds")] == [None] * 3


def test_the_body_says_how_large_a_picture_may_be(engine: EngineFacts) -> None:
    assert body(READY, engine)["max_upload_bytes"] == engine.settings.max_upload_bytes


def test_the_body_counts_the_references_and_names_the_worst(engine: EngineFacts) -> None:
    assert body(REFERENCE_FAILED, engine)["references"] == {
        "total": 3,
        "pass": 1,
        "fail": 1,
        "pending": 1,
        "worst": {"file": "cat.jpg", "error": 0.3, "max_error": 0.01},
    }
    assert body(READY, engine)["references"]["worst"] is None


@pytest.mark.parametrize("snapshot", [row[0] for row in TABLE])
def test_the_body_matches_its_schema(engine: EngineFacts, snapshot: Snapshot) -> None:
    answer, described = json.loads(json.dumps(body(snapshot, engine))), schema()
    assert set(answer) == set(described["properties"]) == set(described["required"])
    for name, value in answer.items():
        assert matches(value, described["properties"][name]), f"{name}: {value!r}"


def matches(value: object, node: dict[str, Any]) -> bool:
    """Whether the value fits the schema, for the few keywords that the schema uses."""
    if "const" in node:
        return value == node["const"]
    if "enum" in node and value not in node["enum"]:
        return False
    if "type" not in node:
        return True
    types: dict[str, type | tuple[type, ...]] = {
        "string": str,
        "boolean": bool,
        "integer": int,
        "number": (int, float),
        "array": list,
        "object": dict,
        "null": type(None),
    }
    names = node["type"] if isinstance(node["type"], list) else [node["type"]]
    fits = any(isinstance(value, types[name]) for name in names)
    if isinstance(value, list):
        fits = fits and len(value) == node.get("minItems", len(value))
        fits = fits and all(matches(item, node["items"]) for item in value)
    if isinstance(value, dict):
        fits = set(node["required"]) == set(node["properties"]) == set(value)
        fits = fits and all(matches(item, node["properties"][name]) for name, item in value.items())
    return fits


class WarmupMachine(EvidenceMachine):
    """In any order of events, ``/warmup`` claims no more than the evidence supports."""

    def snapshot(self, *, alive: bool = True) -> Snapshot:
        return Snapshot.of(self.evidence, now=self.now, timestamp=0.0, vitals=self.vitals, alive=alive)

    @invariant()
    def status_200_means_that_everything_that_was_tried_last_passed(self) -> None:
        code = warmup_answer.http_status(self.snapshot())
        if code == 200:
            assert self.passed_at is not None
            assert self.failed_in_a_row == 0
            assert all(self.last.values())
            assert (self.vitals.job_seconds <= 60, self.vitals.late_codec_jobs) == (True, 0)
            assert not self.evidence.sizes.owed
        assert warmup_answer.http_status(self.snapshot(alive=False)) != 200

    @invariant()
    def the_status_agrees_with_the_state(self) -> None:
        snapshot = self.snapshot()
        code = warmup_answer.http_status(snapshot)
        owed = snapshot.reason is Reason.SIZE_UNPROVED
        assert snapshot.state is not State.READY or code == (500 if owed else 200)
        assert snapshot.state is not State.DEGRADED or code == 500
        assert snapshot.state not in {State.DRAINING, State.LOADING, State.LOAD_FAILED} or code == 503

    @invariant()
    def retry_after_comes_with_503_alone_and_is_between_a_second_and_the_longest_interval(self) -> None:
        snapshot = self.snapshot()
        seconds = warmup_answer.retry_after(snapshot)
        assert (seconds is None) == (warmup_answer.http_status(snapshot) != 503)
        assert seconds is None or 1 <= seconds <= 300

    @invariant()
    def every_message_has_words_for_every_fact(self) -> None:
        for alive in (True, False):
            message = warmup_answer.message(self.snapshot(alive=alive))
            assert message
            assert "None" not in message


TestWarmupMachine = WarmupMachine.TestCase
TestWarmupMachine.settings = settings(max_examples=examples(60), stateful_step_count=30, deadline=None)
