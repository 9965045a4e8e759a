"""Every metric the service exports, in one place, on one injected registry.

The attribute of a metric is its name without the ``inspyrenet_`` prefix. Whoever owns a fact sets it: counters and
histograms are fed where the thing happens, gauges that mirror live state are bound with ``set_function`` so that a
scrape reads the truth and not a copy of it.

Every label combination known beforehand exists from the start at 0, because ``rate()`` and ``increase()`` cannot
see the first increment of a series that was not there before.
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

from metrics.routes import ALLOWED, FALLBACK, OTHER, ROUTES, known_requests

NAMESPACE = "inspyrenet"

OUTCOMES = (
    "success",
    "timeout",
    "oom",
    "device_error",
    "bad_output",
    "bad_size",
    "weights_unavailable",
    "error",
    "skipped",
)
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
    "other",
)
DISCONNECT_STAGES = ("upload", "queue", "run", "response")
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
BUILD_LABELS = ("version", "torch")

# A probe is 10 ms on a good GPU and minutes on a sick one.
WARMUP_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
# From an answer out of memory to the longest deadline anybody sets.
HTTP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)
STAGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)
# An icon, a thumbnail, the network's own 1024 x 1024, phone photographs, the limit.
PIXEL_BUCKETS = (1e4, 1e5, 2.5e5, 5e5, 1_048_576, 2e6, 4e6, 8e6, 12e6, 24e6, 50e6)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Metrics:
    """The catalogue of metrics, registered on one registry.

    Args:
        registry: where to register; a new one if not given. Process, platform and garbage collector figures are
            registered there too (the library's default registry has them already).
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        # The library's only switch is process-wide. `_created` series double the catalogue, and a restart
        # is already told by process_start_time_seconds.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it unannotated
        self.registry = CollectorRegistry() if registry is None else registry
        if self.registry is not REGISTRY:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)
        self._warmup()
        self._requests()
        self._work()
        self._infos()

    def count_request(self, method: str, route: str, code: int) -> None:
        """Count one finished request, folding what is not known beforehand.

        An unknown method or route counts as ``other``. A combination that no table of the service names counts
        under ``other``/``other`` with the x00 of its class, which is how RFC 9110 (section 15) tells a client to
        read a status it does not know. So the number of series is fixed, whatever is sent.
        """
        method = method if method in ALLOWED else OTHER
        route = self.fold_route(route)
        labels = (method, route, str(code))
        if labels not in self._known_requests:
            labels = (OTHER, OTHER, FALLBACK[min(max(code // 100, 1), 5)])
        self.http_requests_total.labels(*labels).inc()

    @staticmethod
    def fold_route(route: str) -> str:
        """The value of the ``route`` label for a canonical route: itself, or ``other`` if it is not known."""
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
        """Say what was loaded; an earlier engine's labels are replaced."""
        values = (
            engine,
            str(fallback).lower(),
            mode,
            resize,
            device,
            precision,
            precision_reason,
            weights_hash,
        )
        self.engine_info.info(dict(zip(ENGINE_LABELS, values, strict=True)))

    def set_build_info(self, *, version: str, torch: str) -> None:
        """Say which version of the service runs, on which version of torch (empty if there is none)."""
        self.build_info.info(dict(zip(BUILD_LABELS, (version, torch), strict=True)))

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

    def _warmup(self) -> None:
        self.warmup_success = self._gauge(
            "warmup_success",
            "1 if the last finished warmup probe passed, 0 if it failed or none has finished.",
        )
        self.warmup_runs_total = self._counter(
            "warmup_runs_total",
            "Warmup runs by how they ended: probes, and loads that failed before there could be one; skipped ones "
            "could not run.",
            ["outcome"],
        )
        _start_at_zero(self.warmup_runs_total, OUTCOMES)
        self.warmup_consecutive_failures = self._gauge(
            "warmup_consecutive_failures",
            "Warmup runs that failed in a row, up to the last one; 0 after a success or a new load.",
        )
        self.warmup_duration_seconds = self._histogram(
            "warmup_duration_seconds",
            "Time a warmup probe took, bytes in to bytes out, waiting for its turn included, in seconds.",
            WARMUP_BUCKETS,
        )
        self.warmup_last_duration_seconds = self._gauge(
            "warmup_last_duration_seconds", "Time the last finished warmup probe took, in seconds."
        )
        self.warmup_last_attempt_timestamp_seconds = self._gauge(
            "warmup_last_attempt_timestamp_seconds",
            "When the last warmup probe began, as a Unix timestamp in seconds; 0 if never.",
        )
        self.warmup_last_success_timestamp_seconds = self._gauge(
            "warmup_last_success_timestamp_seconds",
            "When the last successful warmup probe ended, as a Unix timestamp in seconds; 0 if never.",
        )
        self.warmup_interval_seconds = self._gauge(
            "warmup_interval_seconds",
            "Time between warmup probes in effect now, stretched if a probe is slow, in seconds.",
        )
        self.warmup_supervisor_up = self._gauge(
            "warmup_supervisor_up",
            "1 if the coroutine that probes is alive at the time of the scrape, else 0.",
        )
        self.warmup_supervisor_heartbeat_timestamp_seconds = self._gauge(
            "warmup_supervisor_heartbeat_timestamp_seconds",
            "When the warmup supervisor last turned its loop, as a Unix timestamp in seconds; 0 if never.",
        )
        self.warmup_supervisor_restarts_total = self._counter(
            "warmup_supervisor_restarts_total",
            "Times the warmup supervisor ended unexpectedly and was restarted.",
        )
        self.ready = self._gauge("ready", "1 if /readyz answers 200 at the time of the scrape, else 0.")
        self.startup_duration_seconds = self._gauge(
            "startup_duration_seconds",
            "Time a phase of the last start-up took, in seconds; total counts from the start of the process to the "
            "first passed probe; 0 if not there yet.",
            ["phase"],
        )
        _start_at_zero(self.startup_duration_seconds, STARTUP_PHASES)

    def _requests(self) -> None:
        self.http_requests_total = self._counter(
            "http_requests_total",
            "HTTP requests answered, by method, route and status.",
            ["method", "route", "code"],
        )
        self._known_requests = known_requests()
        for labels in sorted(self._known_requests):
            self.http_requests_total.labels(*labels)
        self.http_request_duration_seconds = self._histogram(
            "http_request_duration_seconds",
            "Time from the request's head to the end of its answer, in seconds.",
            HTTP_BUCKETS,
            ["route"],
        )
        _start_at_zero(self.http_request_duration_seconds, (*ROUTES, OTHER))
        self.http_requests_in_progress = self._gauge(
            "http_requests_in_progress", "HTTP requests being answered now.", ["route"]
        )
        _start_at_zero(self.http_requests_in_progress, (*ROUTES, OTHER))
        self.rejections_total = self._counter(
            "rejections_total", "Requests for a cut-out that were refused, by reason.", ["reason"]
        )
        _start_at_zero(self.rejections_total, REJECTIONS)
        self.client_disconnects_total = self._counter(
            "client_disconnects_total",
            "Clients that left before their answer, by how far their request had come; counted nowhere else.",
            ["stage"],
        )
        _start_at_zero(self.client_disconnects_total, DISCONNECT_STAGES)
        self.input_pixels = self._histogram(
            "input_pixels", "Size of the images accepted, as width x height, in pixels.", PIXEL_BUCKETS
        )

    def _work(self) -> None:
        self.stage_duration_seconds = self._histogram(
            "stage_duration_seconds",
            "Time a client's image spent in one stage of its way, in seconds.",
            STAGE_BUCKETS,
            ["stage"],
        )
        _start_at_zero(self.stage_duration_seconds, STAGES)
        self.queue_depth = self._gauge("queue_depth", "Jobs waiting for the worker.")
        self.queue_capacity = self._gauge("queue_capacity", "Jobs that may wait for the worker.")
        self.worker_busy = self._gauge("worker_busy", "1 if the worker runs a job, 0 if it is idle.")
        self.inference_started_timestamp_seconds = self._gauge(
            "inference_started_timestamp_seconds",
            "When the job now in the worker began, as a Unix timestamp in seconds; 0 if idle.",
        )
        self.device_errors_total = self._counter(
            "device_errors_total",
            "Failures of the compute device: out of memory, sticky (only a new process mends it), other.",
            ["kind"],
        )
        _start_at_zero(self.device_errors_total, DEVICE_ERRORS)
        self.device_memory_bytes = self._gauge(
            "device_memory_bytes",
            "Memory of the compute device held by this process, in bytes; 0 on a CPU.",
            ["kind"],
        )
        _start_at_zero(self.device_memory_bytes, DEVICE_MEMORY)
        self.event_loop_lag_seconds = self._histogram(
            "event_loop_lag_seconds", "How late the event loop ran a timer, in seconds.", LAG_BUCKETS
        )

    def _infos(self) -> None:
        self.engine_info = Info(
            "engine",
            "The engine that serves, and how; empty labels until it is loaded.",
            namespace=NAMESPACE,
            registry=self.registry,
        )
        self.engine_info.info(dict.fromkeys(ENGINE_LABELS, ""))
        self.build_info = Info(
            "build",
            "The version of the service and of torch.",
            namespace=NAMESPACE,
            registry=self.registry,
        )
        self.build_info.info(dict.fromkeys(BUILD_LABELS, ""))


def _start_at_zero(metric: Counter | Gauge | Histogram, values: Iterable[str]) -> None:
    for value in values:
        metric.labels(value)
