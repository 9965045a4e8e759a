"""``service/tracing/requested.py``: which variables ask for traces, and which are refused in words."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from service.environment_variables import SettingsError
from service.tracing.requested import traces_requested

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("environ", "asked"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "cut-outs", "OTEL_TRACES_SAMPLER": "always_on"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://collector/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "false"}, True),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true", "OTEL_TRACES_SAMPLER": "nonsense"}, False),
        (
            {
                **ENDPOINT,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            True,
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://[::1]:4318/traces?tenant=1",
                "OTEL_EXPORTER_OTLP_ENDPOINT": "none for traces",
                "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "authorization=Bearer a=b, x-tenant = 1,",
                "OTEL_EXPORTER_OTLP_HEADERS": "for metrics",
                "OTEL_EXPORTER_OTLP_TIMEOUT": "soon",
                "OTEL_EXPORTER_OTLP_CERTIFICATE": __file__,
            },
            True,
        ),
    ],
)
def test_traces_are_on_only_if_an_exporter_or_an_endpoint_is_named(
    environ: Mapping[str, str], asked: bool
) -> None:
    assert traces_requested(environ) is asked


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: got 'zipkin'; takes otlp or none"),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: got 'grpc'; takes http/protobuf; OTEL_TRACES_EXPORTER=none starts without "
            "traces",
        ),
        (
            {"OTEL_PROPAGATORS": "tracecontext, nowhere"},
            "OTEL_PROPAGATORS: nowhere not installed; takes baggage, none, tracecontext",
        ),
        (
            {"OTEL_TRACES_SAMPLER": "always"},
            "OTEL_TRACES_SAMPLER: got 'always'; takes always_on, always_off, parentbased_always_on, "
            "parentbased_always_off, traceidratio, parentbased_traceidratio",
        ),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "5%"},
            "OTEL_TRACES_SAMPLER_ARG: got '5%'; takes a number from 0 to 1",
        ),
        *(
            (
                {"OTEL_EXPORTER_OTLP_ENDPOINT": address},
                "OTEL_EXPORTER_OTLP_ENDPOINT: takes an address that begins with http:// or https:// and has a host, "
                "such as http://collector:4318",
            )
            for address in (
                "me:secret@collector:4318",
                "http://",
                "http://collector:99999",
                "http://the collector",
                "http://[::1",
                "http://collector:4318?tenant=1",
            )
        ),
        *(
            (
                {"OTEL_EXPORTER_OTLP_HEADERS": headers},
                "OTEL_EXPORTER_OTLP_HEADERS: takes pairs name=value with commas between them, and the values "
                "URL-encoded",
            )
            for headers in (
                "authorization: Bearer secret",
                "a=b,secret",
                "my key=secret",
                "a=b;c=d",
                "a=\u00fc",
            )
        ),
        *(
            (
                {"OTEL_EXPORTER_OTLP_TIMEOUT": seconds},
                f"OTEL_EXPORTER_OTLP_TIMEOUT: got {seconds!r}; takes a number of seconds above 0",
            )
            for seconds in ("0", "-1", "nan")
        ),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY": "/run/no.key"},
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY: got '/run/no.key'; takes the path of a file, and there is none",
        ),
    ],
)
def test_a_value_that_cannot_be_had_is_one_line_and_never_another_value(
    wrong: Mapping[str, str], line: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        traces_requested({**ENDPOINT, **wrong})
    assert refused.value.problems == (line,)


@pytest.mark.parametrize("missing", ["opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"])
def test_a_missing_package_is_one_line_that_says_what_to_install(missing: str) -> None:
    def find(name: str) -> object:
        if name == missing:
            raise ModuleNotFoundError(name)
        return object()

    with pytest.raises(SettingsError) as refused:
        traces_requested(ENDPOINT, find=find)
    (line,) = refused.value.problems
    assert line.startswith("OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, but OpenTelemetry is not installed:")
    assert "pip install --constraint constraints.txt '.[traces]'" in line
