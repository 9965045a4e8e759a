"""Every metric that the service exports, defined in one place and registered on one registry.

``service/app.py`` builds one ``Metrics`` and passes it to the parts. The attribute of a metric is its exported name
without ``inspyrenet_``. The code where an event happens increments the counters and the histograms. A gauge that shows
live state reads that state at the moment of the scrape (``set_function``), so it cannot be out of date.

A change must keep this true: every label combination that is known in advance exists from the start with the value 0.
Otherwise ``rate()`` and ``increase()`` in Prometheus miss the first increment of a new series.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from metrics.request_labels import ALLOWED, FALLBACK, OTHER, ROUTES, known_requests

NAMESPACE = "inspyrenet"

OUTCOMES = (
    "success",
    "timeout",
    "oom",
    "device_error",
    "bad_output",
    "bad_size",
    "disagrees",
    "weights_unavailable",
    "error",
    "skipped",
)
SIZE_STATES = ("owed", "failed", "refused")
REFERENCE_STATES = ("pass", "fail", "pending")
STARTUP_PHASES = ("import", "weights", "device", "first_probe", "total")
STAGES = ("queue", "decode", "infer", "compose", "encode")
REJECTIONS = (
    "queue_full",
    "draining",
    "unavailable",
    "too_large",
    "type",
    "undecodable",
    "dimensions",
    "parameter",
    "auth",
    "timeout",
    "url",
    "other",
)
DISCONNECT_STAGES = ("upload", "queue", "run", "response")
ACCEPT_PAUSES = ("limit", "resources")
TRACE_SPANS = ("exported", "lost")
DEVICE_ERRORS = ("oom", "sticky", "other")
DEVICE_MEMORY = ("allocated", "reserved")
ENGINE_LABELS = (
    "engine",
    "fallback",
    "mode",
    "resize",
    "device",
    "precision",
    "precision_reason",
    "weights_hash",
)
BUILD_LABELS = ("version", "torch", "deflate", "jpeg", "loops")

# A probe takes 10 ms on a healthy GPU and minutes on a faulty one.
WARMUP_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
# From an answer that needs no computation to the longest deadline that an operator is likely to set.
HTTP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)
STAGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)
# An icon, a thumbnail, the network's base size (1024 x 1024), photographs from phones, the default limit.
PIXEL_BUCKETS = (1e4, 1e5, 2.5e5, 5e5, 1_048_576, 2e6, 4e6, 8e6, 12e6, 24e6, 50e6)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Metrics:
    """All metrics of one service process.

    Args:
        registry: the metrics are registered here; the default is a new registry. The metrics of the process, the
            platform and the garbage collector are added to it. The default registry of prometheus_client already has
            them.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        # The `_created` series would double the number of series, and process_start_time_seconds already shows
        # a restart. prometheus_client can switch them off only for the whole process.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client has no annotation for it
        self.registry = CollectorRegistry() if registry is None else registry
        if self.registry is not REGISTRY:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)
        self._register_probe_metrics()
        self._register_proof_metrics()
        self._register_reference_metrics()
        self._register_supervisor_metrics()
        self._register_request_metrics()
        self._register_connection_metrics()
        self._register_worker_metrics()
        self._register_info_metrics()

    def count_request(self, method: str, route: str, code: int) -> None:
        """Count one finished request.

        An unknown method or route counts as ``other``. A combination of method, route and status that
        ``request_labels`` does not list counts as method ``other``, route ``other`` and the x00 status of its class
        (499 counts as 400). RFC 9110, section 15, tells clients to read an unknown status in the same way. So the
        number of series is fixed, whatever clients send.
        """
        method = method if method in ALLOWED else OTHER
        route = self.fold_route(route)
        labels = (method, route, str(code))
        if labels not in self._known_requests:
            labels = (OTHER, OTHER, FALLBACK[min(max(code // 100, 1), 5)])
        self.http_requests_total.labels(*labels).inc()

    def count_spans(self, outcome: str, number: int) -> None:
        """Count spans of traces that were sent (``exported``) or could not be (``lost``). Any thread may call it."""
        self.trace_spans_total.labels(outcome).inc(number)

    @staticmethod
    def fold_route(route: str) -> str:
        """Return the ``route`` label for a canonical route: the route itself, or ``other`` if it is unknown."""
        return route if route in ROUTES else OTHER

    def set_engine_info(
        self,
        *,
        engine: str,
        fallback: bool,
        mode: str,
        resize: str,
        device: str,
        precision: str,
        precision_reason: str,
        weights_hash: str,
    ) -> None:
        """Set the labels of ``engine_info``. They replace the labels of an engine that was loaded earlier."""
        self.engine_info.info(
            {
                "engine": engine,
                "fallback": str(fallback).lower(),
                "mode": mode,
                "resize": resize,
                "device": device,
                "precision": precision,
                "precision_reason": precision_reason,
                "weights_hash": weights_hash,
            }
        )

    def set_build_info(self, *, version: str, torch: str, deflate: str, jpeg: str, loops: str) -> None:
        """Set the labels of ``build_info``.

        Args:
            version: of the service.
            torch: its version; empty without torch.
            deflate: what compresses PNG files: ``C``, or zlib with its version.
            jpeg: what decodes JPEG files, with its version.
            loops: what computes the loops over pixels.
        """
        self.build_info.info(
            {"version": version, "torch": torch, "deflate": deflate, "jpeg": jpeg, "loops": loops}
        )

    def _gauge(self, name: str, documentation: str, labels: Iterable[str] = ()) -> Gauge:
        return Gauge(name, documentation, tuple(labels), namespace=NAMESPACE, registry=self.registry)

    def _counter(self, name: str, documentation: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(name, documentation, tuple(labels), namespace=NAMESPACE, registry=self.registry)

    def _histogram(
        self, name: str, documentation: str, buckets: tuple[float, ...], labels: Iterable[str] = ()
    ) -> Histogram:
        return Histogram(
            name, documentation, tuple(labels), namespace=NAMESPACE, registry=self.registry, buckets=buckets
        )

    def _register_probe_metrics(self) -> None:
        self.warmup_success = self._gauge(
            "warmup_success",
            "1 if the last finished warmup probe passed, 0 if it failed or if no probe has finished yet. It stays 0 "
            "while a reference or a picture of a real size fails, until that passes again.",
        )
        self.warmup_runs_total = self._counter(
            "warmup_runs_total",
            "Number of warmup runs by outcome. A run is a probe, or a load of the engine that failed before a probe "
            "could start. Runs with the outcome skipped could not start.",
            ["outcome"],
        )
        _create_series(self.warmup_runs_total, OUTCOMES)
        self.warmup_consecutive_failures = self._gauge(
            "warmup_consecutive_failures",
            "Number of warmup runs that failed in a row, up to the last finished run. A success or a new "
            "load sets it to 0.",
        )
        self.warmup_duration_seconds = self._histogram(
            "warmup_duration_seconds",
            "Duration of a warmup probe in seconds, from the bytes of the test picture to the bytes of the cut-out. It "
            "includes the wait for the GPU thread.",
            WARMUP_BUCKETS,
        )
        self.warmup_last_duration_seconds = self._gauge(
            "warmup_last_duration_seconds", "Duration of the last finished warmup probe in seconds."
        )
        self.warmup_last_attempt_timestamp_seconds = self._gauge(
            "warmup_last_attempt_timestamp_seconds",
            "Unix time in seconds at which the last warmup probe started, 0 if none has started.",
        )
        self.warmup_last_success_timestamp_seconds = self._gauge(
            "warmup_last_success_timestamp_seconds",
            "Unix time in seconds at which the last successful warmup probe ended, 0 if none has succeeded.",
        )

    def _register_proof_metrics(self) -> None:
        self.warmup_real_size_last_success_timestamp_seconds = self._gauge(
            "warmup_real_size_last_success_timestamp_seconds",
            "Unix time in seconds at which the last successful proof at the size of a photograph ended, 0 if none has "
            "succeeded.",
        )
        self.warmup_real_size_last_duration_seconds = self._gauge(
            "warmup_real_size_last_duration_seconds",
            "Duration of the last successful proof at the size of a photograph in seconds, with the wait for the GPU "
            "thread.",
        )
        self.warmup_sizes = self._gauge(
            "warmup_sizes",
            "Number of picture sizes in a state: owed (a request failed, and the proof at its size has not ended), "
            "failed (1 if pictures of the size of a photograph fail), refused (pictures of this size or larger are "
            "refused).",
            ["state"],
        )
        _create_series(self.warmup_sizes, SIZE_STATES)

    def _register_reference_metrics(self) -> None:
        self.warmup_references = self._gauge(
            "warmup_references",
            "Number of reference pictures by state: pass (the last mask agreed with the accepted one), fail (it did "
            "not, or could not be made), pending (not judged since the load or the last change of precision). All are "
            "0 if no references are configured.",
            ["state"],
        )
        _create_series(self.warmup_references, REFERENCE_STATES)
        self.warmup_reference_worst_error_ratio = self._gauge(
            "warmup_reference_worst_error_ratio",
            "Largest mean absolute difference between the mask of a reference picture and its accepted mask, in the "
            "last judgement of each picture, from 0 to 1. 0 if none has been judged.",
        )

    def _register_supervisor_metrics(self) -> None:
        self.warmup_interval_seconds = self._gauge(
            "warmup_interval_seconds",
            "Time between warmup probes in seconds, as it is in effect now. It is longer than the setting if "
            "probes are slow.",
        )
        self.warmup_supervisor_up = self._gauge(
            "warmup_supervisor_up",
            "1 if the warmup supervisor (the task that sends the probes) is running at the time of the scrape, else 0.",
        )
        self.warmup_supervisor_heartbeat_timestamp_seconds = self._gauge(
            "warmup_supervisor_heartbeat_timestamp_seconds",
            "Unix time in seconds at which the loop of the warmup supervisor last ran, 0 if it never ran.",
        )
        self.warmup_supervisor_restarts_total = self._counter(
            "warmup_supervisor_restarts_total",
            "Number of times that the warmup supervisor ended unexpectedly and was restarted.",
        )
        self.ready = self._gauge("ready", "1 if /readyz answers 200 at the time of the scrape, else 0.")
        self.startup_duration_seconds = self._gauge(
            "startup_duration_seconds",
            "Duration of each phase of the last start in seconds, 0 until the phase has ended. Phase total is the time "
            "from the start of the process to the first passed probe.",
            ["phase"],
        )
        _create_series(self.startup_duration_seconds, STARTUP_PHASES)

    def _register_request_metrics(self) -> None:
        self.http_requests_total = self._counter(
            "http_requests_total",
            "Number of answered HTTP requests, by method, route and status code.",
            ["method", "route", "code"],
        )
        self._known_requests = known_requests()
        for labels in sorted(self._known_requests):
            self.http_requests_total.labels(*labels)
        self.http_request_duration_seconds = self._histogram(
            "http_request_duration_seconds",
            "Time in seconds from the headers of a request to the end of its answer, by route.",
            HTTP_BUCKETS,
            ["route"],
        )
        _create_series(self.http_request_duration_seconds, (*ROUTES, OTHER))
        self.http_requests_in_progress = self._gauge(
            "http_requests_in_progress",
            "Number of HTTP requests that are being handled now, by route.",
            ["route"],
        )
        _create_series(self.http_requests_in_progress, (*ROUTES, OTHER))
        self.rejections_total = self._counter(
            "rejections_total", "Number of requests for a cut-out that were refused, by reason.", ["reason"]
        )
        _create_series(self.rejections_total, REJECTIONS)
        self.client_disconnects_total = self._counter(
            "client_disconnects_total",
            "Number of clients that disconnected before they had their answer, by the stage that their request had "
            "reached. No other metric counts these requests.",
            ["stage"],
        )
        _create_series(self.client_disconnects_total, DISCONNECT_STAGES)
        self.trace_spans_total = self._counter(
            "trace_spans_total",
            "Number of spans of traces by outcome: exported (the receiver took them), lost (it did not). Both stay 0 "
            "while tracing is off.",
            ["outcome"],
        )
        _create_series(self.trace_spans_total, TRACE_SPANS)
        self.input_pixels = self._histogram(
            "input_pixels", "Size of the accepted pictures in pixels (width x height).", PIXEL_BUCKETS
        )
        self.largest_photograph_pixels = self._gauge(
            "largest_photograph_pixels",
            "Size in pixels of the largest photograph that is accepted: the configured limit, or less if the memory "
            "limit of the container leaves no room for more. 0 until the engine is loaded.",
        )

    def _register_connection_metrics(self) -> None:
        self.connections = self._gauge("connections", "Number of open connections from clients.")
        self.connections_limit = self._gauge(
            "connections_limit",
            "Number of connections that may be open at a time. It follows from the limit of open files.",
        )
        self.connections_dropped_total = self._counter(
            "connections_dropped_total",
            "Number of idle connections that were closed to make room for new ones, because all connections were in "
            "use.",
        )
        self.accept_pauses_total = self._counter(
            "accept_pauses_total",
            "Number of times that new connections had to wait, by reason: limit (all connections were in use), "
            "resources (the system had no descriptor or no memory for another one).",
            ["reason"],
        )
        _create_series(self.accept_pauses_total, ACCEPT_PAUSES)

    def _register_worker_metrics(self) -> None:
        self.stage_duration_seconds = self._histogram(
            "stage_duration_seconds",
            "Time in seconds that a picture from a client spent in each stage. Stage queue is the wait for the GPU "
            "thread.",
            STAGE_BUCKETS,
            ["stage"],
        )
        _create_series(self.stage_duration_seconds, STAGES)
        self.queue_depth = self._gauge(
            "queue_depth",
            "Number of accepted pictures that wait for their turn at the GPU thread, at most queue_capacity. A picture "
            "that is being decoded waits; one whose upload has not ended is not accepted yet.",
        )
        self.queue_capacity = self._gauge(
            "queue_capacity", "Number of pictures that may wait for the GPU thread."
        )
        self.expected_wait_seconds = self._gauge(
            "expected_wait_seconds",
            "Time in seconds that a picture would wait for those ahead of it if it joined the queue now, as far as "
            "recent pictures say.",
        )
        self.worker_busy = self._gauge("worker_busy", "1 if the GPU thread runs a job, 0 if it is idle.")
        self.inference_started_timestamp_seconds = self._gauge(
            "inference_started_timestamp_seconds",
            "Unix time in seconds at which the job that now runs in the GPU thread started, 0 if the thread is idle.",
        )
        self.codec_jobs_running = self._gauge(
            "codec_jobs_running",
            "Number of jobs that now run in the codec threads (decoding and encoding of pictures), for clients and for "
            "warmup probes.",
        )
        self.codec_oldest_job_started_timestamp_seconds = self._gauge(
            "codec_oldest_job_started_timestamp_seconds",
            "Unix time in seconds at which the oldest job that now runs in the codec threads started, 0 if none runs.",
        )
        self.device_errors_total = self._counter(
            "device_errors_total",
            "Number of failures of the compute device, by kind: oom (out of memory), sticky (only a new process can "
            "use the device again), other.",
            ["kind"],
        )
        _create_series(self.device_errors_total, DEVICE_ERRORS)
        self.device_memory_bytes = self._gauge(
            "device_memory_bytes",
            "Memory of the compute device that this process holds, in bytes: allocated (used by tensors) and reserved "
            "(taken from the driver). Always 0 on a CPU.",
            ["kind"],
        )
        _create_series(self.device_memory_bytes, DEVICE_MEMORY)
        self.event_loop_lag_seconds = self._histogram(
            "event_loop_lag_seconds", "Delay in seconds with which the event loop ran a timer.", LAG_BUCKETS
        )
        self.suspended_seconds_total = self._counter(
            "suspended_seconds_total",
            "Time in seconds for which this process was stopped or frozen, as platforms do that scale to zero. No "
            "limit of time counts it, except the age of what the probes have proved.",
        )

    def _register_info_metrics(self) -> None:
        self.engine_info = Info(
            "engine",
            "The engine that serves and its configuration, as labels. The value is always 1. The labels are empty "
            "until the engine is loaded.",
            namespace=NAMESPACE,
            registry=self.registry,
        )
        self.engine_info.info(dict.fromkeys(ENGINE_LABELS, ""))
        self.build_info = Info(
            "build",
            "The versions of the service, of torch, of what compresses PNG files and of what decodes JPEG files, and "
            "what computes the loops over pixels, as labels. The value is always 1.",
            namespace=NAMESPACE,
            registry=self.registry,
        )
        self.build_info.info(dict.fromkeys(BUILD_LABELS, ""))


def _create_series(metric: Counter | Gauge | Histogram, label_values: Iterable[str]) -> None:
    """Create the series of each label value; a new series has the value 0."""
    for value in label_values:
        metric.labels(value)
