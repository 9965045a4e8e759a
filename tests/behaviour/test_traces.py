"""Traces of the service as a process, as a receiver of OTLP gets them; and that nothing of it runs while it is off.

The service of most tests sends its spans only when it ends, so they prove as well that the end sends what is left.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.otlp_receiver import OtlpReceiver, Received, receiving
from tests.support.photos import encoded
from tests.support.programs import ROOT
from tests.support.service_process import Answer, live
from tests.test_layout import imported_by

pytestmark = pytest.mark.process

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
STAGES = ["decode", "queue", "infer", "compose", "encode"]
ONLY_AT_THE_END = {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}


@dataclass(frozen=True)
class Run:
    """A service that has ended, and what it said."""

    receiver: OtlpReceiver
    answers: dict[str, Answer]
    openmetrics: str
    exit_code: int
    log: Path
    sent_before_the_end: int

    def span_of(self, trace_id: str) -> Received:
        (span,) = [span for span in self.receiver.spans if (span.trace_id, span.kind) == (trace_id, "server")]
        return span


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("traces")
    with receiving() as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
        with live(folder, env={**env, **ONLY_AT_THE_END, "GOOGLE_CLOUD_PROJECT": ""}) as service:
            answers = {
                "picture": service.ask(
                    "/process", method="POST", body=encoded(), headers=context(TRACE, state="a=1")
                ),
                "no picture": service.ask(
                    "/process", method="POST", body=b"text", headers=context(TRACE[::-1])
                ),
                "no path": service.ask("/secret?key=1", headers=context("1" * 32)),
                "quiet": service.ask("/livez"),
                "asked for": service.ask("/readyz", headers=context("2" * 32)),
                "not sampled": service.ask("/docs", headers=context("3" * 32, flags="00")),
                "metrics": service.ask("/metrics"),
            }
            openmetrics = service.ask("/metrics", headers={"Accept": "application/openmetrics-text"})
            sent_before_the_end = receiver.requests
            service.terminate()
            exit_code = service.exit_code()
            log = service.log
        yield Run(receiver, answers, openmetrics.body.decode(), exit_code, log, sent_before_the_end)


def context(trace_id: str, *, flags: str = "01", state: str = "") -> dict[str, str]:
    headers = {"traceparent": f"00-{trace_id}-{CALLER}-{flags}", "Content-Type": "application/octet-stream"}
    return {**headers, "tracestate": state} if state else headers


def test_the_end_sends_what_was_not_sent(run: Run) -> None:
    assert (run.sent_before_the_end, run.exit_code) == (0, 0)
    assert run.receiver.spans


def test_a_request_is_a_server_span_in_the_trace_of_its_sender(run: Run) -> None:
    span = run.span_of(TRACE)
    assert (span.name, span.parent_id, span.trace_state, span.failed) == (
        "POST /process",
        CALLER,
        "a=1",
        False,
    )
    assert span.attributes == {
        "http.request.method": "POST",
        "http.route": "/process",
        "http.response.status_code": 200,
        "url.path": "/process",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
    }
    assert span.resource["service.name"] == "inspyrenet-api"


def test_the_five_stages_are_its_children_in_their_order_and_within_its_time(run: Run) -> None:
    span = run.span_of(TRACE)
    stages = run.receiver.children_of(span)
    assert [stage.name for stage in stages] == STAGES
    assert {stage.trace_id for stage in stages} == {TRACE}
    for before, after in pairwise(stages):
        assert span.began <= before.began <= before.ended
        assert before.ended <= after.began + 2_000_000  # two clocks are read: wall clock and monotonic
    timing = dict(re.findall(r"(\w+);dur=([\d.]+)", run.answers["picture"].headers["Server-Timing"]))
    for stage in stages:
        assert (stage.ended - stage.began) / 1e6 == pytest.approx(float(timing[stage.name]), abs=0.06)


def test_an_error_of_the_client_is_none_of_the_server_but_of_its_stage(run: Run) -> None:
    assert run.answers["no picture"].status == 415
    span = run.span_of(TRACE[::-1])
    assert (span.failed, span.attributes["http.response.status_code"]) == (False, 415)
    assert [(stage.name, stage.failed) for stage in run.receiver.children_of(span)] in (
        [],
        [("decode", True)],
    )


def test_a_path_that_does_not_exist_names_no_route_and_no_query(run: Run) -> None:
    span = run.span_of("1" * 32)
    assert span.name == "GET"
    assert span.attributes["url.path"] == "/secret"
    assert "http.route" not in span.attributes
    assert not any("key=1" in str(value) for value in span.attributes.values())


def test_what_machines_ask_every_few_seconds_is_traced_only_if_they_are(run: Run) -> None:
    assert run.span_of("2" * 32).name == "GET /readyz"
    assert run.receiver.named("GET /livez") == run.receiver.named("GET /metrics") == []


def test_the_senders_decision_not_to_sample_is_followed(run: Run) -> None:
    assert [span for span in run.receiver.spans if span.trace_id == "3" * 32] == []


def test_a_probe_is_a_trace_of_its_own_with_the_same_stages(run: Run) -> None:
    probes = [span for span in run.receiver.spans if span.scope == "service.warmup" and not span.parent_id]
    assert {"probe canary", "probe atsize"} >= {span.name for span in probes} >= {"probe canary"}
    assert len({span.trace_id for span in probes}) == len(probes)
    for probe in probes:
        assert (probe.kind, probe.failed) == ("internal", False)
        assert [stage.name for stage in run.receiver.children_of(probe)] == STAGES
    requests = {span.trace_id for span in run.receiver.spans if span.kind == "server"}
    assert requests.isdisjoint(span.trace_id for span in probes)


def test_exemplars_lead_from_the_latency_to_the_trace_in_openmetrics_only(run: Run) -> None:
    """A bucket keeps its newest one: on a slow machine that may be the other request, or a probe."""
    for sample, names in (
        (
            'inspyrenet_http_request_duration_seconds_bucket{le="[^"]*",route="/process"}',
            {"POST /process"},
        ),
        (
            'inspyrenet_stage_duration_seconds_bucket{le="[^"]*",stage="infer"}',
            {"POST /process", "probe canary", "probe atsize"},
        ),
    ):
        exemplars = re.findall(rf"{sample} \S+ # {{([^}}]*)}}", run.openmetrics)
        spans = {
            f'span_id="{span.span_id}",trace_id="{span.trace_id}"'
            for span in run.receiver.spans
            if span.name in names
        }
        assert exemplars
        assert set(exemplars) <= spans
    assert TRACE not in run.answers["metrics"].body.decode()


def test_log_lines_carry_the_ids_of_their_span(run: Run) -> None:
    lines = [json.loads(line) for line in run.log.read_text().splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line.get("trace_id") == TRACE]
    assert (line["message"], line["span_id"]) == ("request", run.span_of(TRACE).span_id)


def test_a_receiver_that_hangs_delays_neither_answers_nor_the_end(tmp_path: Path) -> None:
    released = threading.Event()
    with receiving() as receiver:
        receiver.answer = lambda: 200 if released.wait(60) else 500
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        with live(tmp_path, env=env, drain_timeout=2) as service:
            service.until(lambda: receiver.requests)
            assert service.post(encoded()).status == 200
            service.terminate()
            assert service.exit_code(within=20) == 0
            assert any(
                line.startswith("the last traces are lost") for line in service.log_messages("WARNING")
            )
        released.set()


def test_spans_that_a_receiver_refuses_are_counted_and_logged(tmp_path: Path) -> None:
    with receiving() as receiver:
        receiver.answer = lambda: 403
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        with live(tmp_path, env=env) as service:
            service.until(lambda: service.metric('trace_spans_total{outcome="lost"}') >= 6)
            receiver.answer = lambda: 200
            assert service.post(encoded()).status == 200
            service.until(lambda: service.metric('trace_spans_total{outcome="exported"}') >= 6)
            assert any(
                "Failed to export spans batch code: 403" in line for line in service.log_messages("ERROR")
            )


def test_without_the_package_the_start_stops_with_one_line(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["opentelemetry"] = None
from service.cli.commands import run
sys.exit(run(["serve"], {"OTEL_TRACES_EXPORTER": "otlp"}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "OTEL_TRACES_EXPORTER asks for traces, but OpenTelemetry is not installed" in line


def test_nothing_of_opentelemetry_is_imported_while_tracing_is_off() -> None:
    build = """
from service.cli import serve
from service.server import build_app
from service.settings import Settings
from service.tracing.requested import traces_requested
build_app(Settings(engine="u2netp"), traces=traces_requested({"OTEL_SERVICE_NAME": "cut-outs"}))
"""
    assert imported_by(build, prefix="opentelemetry") == set()
