"""``metrics/catalogue.py``: the names, types, labels and start values of the exported metrics."""

import re
import subprocess

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from metrics import Metrics
from metrics.request_labels import known_requests
from tests.support.programs import program

NAMES = [
    "warmup_success",
    "warmup_runs_total",
    "warmup_consecutive_failures",
    "warmup_duration_seconds",
    "warmup_last_duration_seconds",
    "warmup_last_attempt_timestamp_seconds",
    "warmup_last_success_timestamp_seconds",
    "warmup_real_size_last_success_timestamp_seconds",
    "warmup_real_size_last_duration_seconds",
    "warmup_sizes",
    "warmup_references",
    "warmup_reference_worst_error_ratio",
    "warmup_interval_seconds",
    "warmup_supervisor_up",
    "warmup_supervisor_heartbeat_timestamp_seconds",
    "warmup_supervisor_restarts_total",
    "ready",
    "startup_duration_seconds",
    "http_requests_total",
    "http_request_duration_seconds",
    "http_requests_in_progress",
    "stage_duration_seconds",
    "queue_depth",
    "queue_capacity",
    "expected_wait_seconds",
    "worker_busy",
    "inference_started_timestamp_seconds",
    "codec_jobs_running",
    "codec_oldest_job_started_timestamp_seconds",
    "rejections_total",
    "client_disconnects_total",
    "connections",
    "connections_limit",
    "connections_dropped_total",
    "accept_pauses_total",
    "trace_spans_total",
    "input_pixels",
    "largest_photograph_pixels",
    "device_errors_total",
    "device_memory_bytes",
    "event_loop_lag_seconds",
    "suspended_seconds_total",
    "engine_info",
    "build_info",
]

TYPES = {
    "warmup_success": "gauge",
    "warmup_runs_total": "counter",
    "warmup_duration_seconds": "histogram",
    "warmup_supervisor_restarts_total": "counter",
    "startup_duration_seconds": "gauge",
    "http_requests_total": "counter",
    "http_requests_in_progress": "gauge",
    "input_pixels": "histogram",
    "event_loop_lag_seconds": "histogram",
    "ready": "gauge",
}


def exposition(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def series(metrics: Metrics) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    return {
        (sample.name, frozenset(sample.labels.items()))
        for family in metrics.registry.collect()
        if family.name.startswith("inspyrenet_")
        for sample in family.samples
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_is_an_attribute_with_its_exported_name(name: str) -> None:
    metrics = Metrics()
    assert hasattr(metrics, name)
    assert f"# HELP inspyrenet_{name} " in exposition(metrics)


@pytest.mark.parametrize(("name", "kind"), TYPES.items())
def test_every_metric_has_the_documented_type(name: str, kind: str) -> None:
    assert f"# TYPE inspyrenet_{name} {kind}\n" in exposition(Metrics())


def test_the_exported_metrics_are_exactly_the_documented_ones() -> None:
    exported = set(re.findall(r"^# TYPE inspyrenet_(\S+)", exposition(Metrics()), re.MULTILINE))
    assert exported == set(NAMES)


def test_every_series_exists_from_the_start_with_the_value_zero() -> None:
    metrics = Metrics()
    values = {
        sample.value
        for family in metrics.registry.collect()
        if family.name.startswith("inspyrenet_") and family.type != "info"
        for sample in family.samples
    }
    assert values == {0.0}


@pytest.mark.parametrize(
    ("name", "label", "values"),
    [
        (
            "warmup_runs_total",
            "outcome",
            "success timeout oom device_error bad_output bad_size disagrees weights_unavailable error skipped",
        ),
        ("warmup_sizes", "state", "owed failed refused"),
        ("warmup_references", "state", "pass fail pending"),
        ("startup_duration_seconds", "phase", "import weights device first_probe total"),
        ("stage_duration_seconds_count", "stage", "queue decode infer compose encode"),
        (
            "rejections_total",
            "reason",
            "queue_full draining unavailable too_large type undecodable dimensions parameter auth timeout url other",
        ),
        ("client_disconnects_total", "stage", "upload queue run response"),
        ("accept_pauses_total", "reason", "limit resources"),
        ("device_errors_total", "kind", "oom sticky other"),
        ("device_memory_bytes", "kind", "allocated reserved"),
    ],
)
def test_the_label_values_are_exactly_the_documented_ones(name: str, label: str, values: str) -> None:
    found = {dict(labels)[label] for sample, labels in series(Metrics()) if sample == f"inspyrenet_{name}"}
    assert found == set(values.split())


@pytest.mark.parametrize(
    ("answered", "counted_as"),
    [
        (("POST", "/process", 200), ("POST", "/process", "200")),
        (("POST", "/process", 504), ("POST", "/process", "504")),
        (("GET", "/process", 405), ("GET", "/process", "405")),
        (("GET", "/warmup", 503), ("GET", "/warmup", "503")),
        (("BREW", "/warmup", 405), ("other", "/warmup", "405")),
        (("GET", "/wp-login.php", 404), ("GET", "other", "404")),
        (("BREW", "/pot", 418), ("other", "other", "400")),
        (("GET", "/livez", 599), ("other", "other", "500")),
        (("GET", "/livez", 999), ("other", "other", "500")),
        (("GET", "/livez", 0), ("other", "other", "100")),
    ],
)
def test_a_request_is_always_counted_in_a_series_that_exists(
    answered: tuple[str, str, int], counted_as: tuple[str, str, str]
) -> None:
    metrics = Metrics()
    before = series(metrics)
    metrics.count_request(*answered)
    assert series(metrics) == before
    labels = dict(zip(("method", "route", "code"), counted_as, strict=True))
    assert metrics.registry.get_sample_value("inspyrenet_http_requests_total", labels) == 1


def test_the_request_counter_has_fewer_than_240_series() -> None:
    assert len(known_requests()) < 240


def test_metrics_on_two_registries_do_not_share_values() -> None:
    one, two = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    one.warmup_runs_total.labels(outcome="oom").inc()
    assert two.registry.get_sample_value("inspyrenet_warmup_runs_total", {"outcome": "oom"}) == 0


def test_the_registry_has_the_metrics_of_process_platform_and_garbage_collector() -> None:
    text = exposition(Metrics())
    assert "process_resident_memory_bytes" in text
    assert "python_info{" in text
    assert "python_gc_collections_total" in text


def test_the_default_registry_of_the_library_can_be_used() -> None:
    metrics = Metrics(REGISTRY)
    try:
        assert exposition(metrics).count("# TYPE python_info gauge") == 1
    finally:
        for name in NAMES:
            REGISTRY.unregister(getattr(metrics, name))


def test_info_metrics_have_the_same_labels_before_and_after_they_are_set() -> None:
    metrics = Metrics()
    before = {(name, frozenset(dict(labels))) for name, labels in series(metrics) if name.endswith("_info")}
    metrics.set_engine_info(
        engine="u2netp",
        fallback=True,
        mode="base",
        resize="dynamic",
        device="cpu",
        precision="fp32",
        precision_reason="asked for",
        weights_hash="",
    )
    metrics.set_build_info(
        version="1.0.0", torch="2.4", deflate="zlib 1.3", loops="NumPy", jpeg="pillow 13.0.0"
    )
    after = {(name, frozenset(dict(labels))) for name, labels in series(metrics) if name.endswith("_info")}
    assert before == after
    assert 'fallback="true"' in exposition(metrics)


def test_the_openmetrics_exposition_parses() -> None:
    text = generate_openmetrics(Metrics().registry).decode()
    assert "inspyrenet_warmup_runs" in {family.name for family in text_string_to_metric_families(text)}


def test_promtool_finds_no_problem_in_the_exposition() -> None:
    ran = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=exposition(Metrics()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
