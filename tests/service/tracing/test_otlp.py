"""``service/tracing/otlp.py``: what a real receiver gets; ``tests/behaviour/test_traces.py`` has the whole way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from metrics.catalogue import Metrics
from service.engines.protocol import ConfigurationError
from service.server import start_tracing
from service.tracing import otlp
from service.tracing.spans import Span, Tracer
from tests.support.otlp_receiver import OtlpReceiver, receiving
from tests.support.programs import ROOT

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "tracestate": "a=1", "baggage": "user=me"}


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    started: list[TracerProvider] = []

    def noted(**options: Any) -> TracerProvider:
        started.append(TracerProvider(**options))
        return started[-1]

    monkeypatch.setattr(otlp, "TracerProvider", noted)
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        yield receiver
        for provider in started:
            provider.shutdown()  # or its thread would go on sending, and drawing random numbers, in later tests


@pytest.fixture
def tracer(receiver: OtlpReceiver) -> Tracer:
    return otlp.start(version="1.2.3", count=lambda *_: None)


def begin(tracer: Tracer, headers: dict[str, str] | None = None, **given: object) -> Span:
    asked = {"method": "POST", "route": "/process", "path": "/process", "scheme": "http", "quiet": False}
    make: Callable[..., Span] = tracer.request
    return make(CIMultiDictProxy(CIMultiDict(headers or {})), version="1.1", **{**asked, **given})


def test_a_call_of_the_service_carries_the_trace_on_and_its_span_hides_what_the_client_chose(
    tracer: Tracer, receiver: OtlpReceiver
) -> None:
    span = begin(tracer, PARENT)
    with span.call(method="GET", scheme="https", host="a.example", port=443, resend_count=1) as call:
        sent = dict(call.headers)
        call.answered(200)
    span.end_request(200)
    tracer.flush()
    (client,) = receiver.named("GET")
    assert sent == {"traceparent": f"00-{TRACE}-{client.span_id}-01", "tracestate": "a=1"}
    assert (client.kind, client.parent_id, client.failed) == ("client", span.ids["span_id"], False)
    assert client.attributes == {
        "http.request.method": "GET",
        "http.request.resend_count": 1,
        "http.response.status_code": 200,
        "server.address": "a.example",
        "server.port": 443,
        "url.full": "https://a.example/REDACTED",
    }


def test_baggage_is_carried_on_only_if_it_is_asked_for(
    receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracer = otlp.start(version="1.2.3", count=lambda *_: None)
    with begin(tracer, PARENT).call(method="GET", scheme="http", host="a.example", port=80) as call:
        assert "baggage" not in call.headers


def test_a_call_and_a_probe_that_fail_say_the_kind_of_error_and_never_its_message(
    tracer: Tracer, receiver: OtlpReceiver
) -> None:
    with (
        pytest.raises(ConnectionResetError),
        tracer.probe("canary") as probe,
        probe.call(method="GET", scheme="http", host="a.example", port=80),
    ):
        raise ConnectionResetError("secret")

    def disagree() -> None:
        with tracer.probe("reference") as other:
            other.failed("disagrees")
            raise KeyError("secret")

    with pytest.raises(KeyError):
        disagree()
    tracer.flush()
    kinds = {span.name: span.attributes["error.type"] for span in receiver.spans if span.failed}
    assert kinds == {
        "GET": "ConnectionResetError",
        "probe canary": "ConnectionResetError",
        "probe reference": "disagrees",
    }
    assert "secret" not in repr(receiver.spans)


def test_a_client_that_left_and_a_failure_of_the_service_are_errors(
    tracer: Tracer, receiver: OtlpReceiver
) -> None:
    begin(tracer, route="/left").end_request(None, left_in="upload")
    begin(tracer, route="/failed").end_request(503)
    begin(tracer, route=None, method="BREW").end_request(405)
    tracer.flush()
    assert receiver.named("POST /left")[0].attributes["error.type"] == "client_disconnected"
    assert receiver.named("POST /failed")[0].attributes["error.type"] == "503"
    (unknown,) = receiver.named("HTTP")
    assert (unknown.failed, unknown.attributes["http.request.method"]) == (False, "_OTHER")


def test_a_span_that_is_not_sampled_has_ids_for_the_log_and_no_exemplar(
    receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    span = begin(otlp.start(version="1.2.3", count=lambda *_: None))
    assert len(span.ids["trace_id"]) == 32
    assert span.exemplar is None


@pytest.mark.parametrize(
    ("sampler", "chosen", "recorded"),
    [
        ("parentbased_traceidratio", TRACE, True),
        ("traceidratio", TRACE, False),
        ("traceidratio", f"{TRACE[:16]}{1:016x}", True),  # the standard's ratio is one of trace ids
    ],
)
def test_a_sender_that_sets_the_sampled_flag_is_followed_by_parent_based_samplers_only(
    sampler: str, chosen: str, recorded: bool, receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.000001")
    tracer = otlp.start(version="1.2.3", count=lambda *_: None)
    span = begin(tracer, {"traceparent": f"00-{chosen}-00f067aa0ba902b7-01"})
    assert (span.exemplar is not None) is recorded


def test_without_propagators_what_a_sender_says_of_its_trace_is_passed_over(receiver: OtlpReceiver) -> None:
    code = f"""
from multidict import CIMultiDict, CIMultiDictProxy
from service.tracing import otlp
tracer = otlp.start(version="1.2.3", count=lambda *_: None)
headers = CIMultiDictProxy(CIMultiDict({PARENT!r}))
for quiet in False, True:
    span = tracer.request(
        headers, method="GET", route="/", path="/", scheme="http", version="1.1", quiet=quiet
    )
    assert span.exemplar is None
    assert "{TRACE}" not in repr(span.ids)
"""
    # In a process of its own: OpenTelemetry reads this variable when it is imported.
    ignoring = {
        "OTEL_PROPAGATORS": "none",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | ignoring, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_names_that_the_operator_gives_win(
    receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "cut-outs")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.version=7,deployment.environment.name=test")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "")  # an empty one counts as unset
    tracer = otlp.start(version="1.2.3", count=lambda *_: None)
    begin(tracer).end_request(200)
    tracer.flush()
    resource = receiver.spans[0].resource
    assert (resource["service.name"], resource["service.version"]) == ("cut-outs", "7")
    assert resource["deployment.environment.name"] == "test"


@pytest.mark.parametrize("refused", [403, 200])
def test_what_was_sent_and_what_was_lost_is_counted(receiver: OtlpReceiver, refused: int) -> None:
    counted: list[tuple[str, int]] = []
    receiver.answer = lambda: refused
    tracer = otlp.start(version="1.2.3", count=lambda *pair: counted.append(pair))
    begin(tracer).end_request(200)
    tracer.flush()
    assert counted == [("exported" if refused == 200 else "lost", 1)]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1", "max_export_batch_size"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "-1", "OTEL_SPAN_EVENT_COUNT_LIMIT must be"),
        ("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "mine", "'mine' not found"),
    ],
)
def test_variables_with_which_opentelemetry_itself_does_not_start_are_an_error_of_the_configuration(
    name: str, value: str, words: str, receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=words):
        start_tracing(Metrics(CollectorRegistry()))
