"""Traces by OpenTelemetry, sent to an OTLP receiver: the only module that knows OpenTelemetry.

``server`` calls ``start`` if traces were requested. A span that ends goes into a bounded queue, and a thread of
OpenTelemetry's sends the queue in batches, so neither the event loop nor a picture waits for the receiver. Attributes
follow the semantic conventions for HTTP spans. Nothing that a client sent may get into a span, except the path.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import get_global_textmap
from opentelemetry.propagators.textmap import Getter, TextMapPropagator
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    Span as OtelSpan,
)
from opentelemetry.trace import (
    SpanKind,
    StatusCode,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace import (
    Tracer as OtelTracer,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.tracing.spans import NO_SPAN, Call, Span, Tracer

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

_SERVICE = "inspyrenet-api"
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_EXPORT_SUCCEEDED = SpanExportResult.SUCCESS

CountSpans = Callable[[str, int], None]
"""Told how many spans were ``exported`` or ``lost``; called in the thread that exports."""


def start(*, version: str, count: CountSpans) -> Tracer:
    """Begin to send traces as the ``OTEL_*`` variables say.

    Args:
        version: of the service.
        count: counts what was sent.

    Raises:
        ValueError: the variables of the batches do not fit each other.
    """
    for name in [
        name for name, value in os.environ.items() if name.startswith("OTEL_") and not value.strip()
    ]:
        del os.environ[name]  # an empty one counts as unset; OpenTelemetry would take some of them as values
    provider = TracerProvider(resource=_resource(version), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_Counted(OTLPSpanExporter(), count)))
    return _Tracer(provider, _propagator())


def _resource(version: str) -> Resource:
    """Who sends: the names that the operator has given win."""
    asked = Resource.create()
    ours = {SERVICE_VERSION: version, SERVICE_INSTANCE_ID: f"{os.uname().nodename}:{os.getpid()}"}
    name = str(asked.attributes.get(SERVICE_NAME, ""))
    named = {SERVICE_NAME: _SERVICE} if name.startswith("unknown_service") else {}
    return Resource(ours).merge(asked).merge(Resource(named))


def _propagator() -> TextMapPropagator:
    """W3C Trace Context, without baggage unless it is asked for: pictures by address come from other people's hosts."""
    return get_global_textmap() if "OTEL_PROPAGATORS" in os.environ else TraceContextTextMapPropagator()


class _Tracer(Tracer):
    def __init__(self, provider: TracerProvider, propagator: TextMapPropagator) -> None:
        self._provider = provider
        self._propagator = propagator
        self._tracer = provider.get_tracer("service.http")
        self._probes = provider.get_tracer("service.warmup")

    def request(
        self,
        headers: CIMultiDictProxy[str],
        *,
        method: str,
        route: str | None,
        path: str,
        scheme: str,
        version: str,
        quiet: bool,
    ) -> Span:
        parent = self._propagator.extract(headers, context=Context(), getter=_HEADERS)
        if quiet and not get_current_span(parent).get_span_context().trace_flags.sampled:
            return NO_SPAN
        known = method if method in _METHODS else "_OTHER"
        attributes = {
            "http.request.method": known,
            "url.scheme": scheme,
            "url.path": path,
            "network.protocol.version": version,
        }
        if route is not None:
            attributes["http.route"] = route
        name = known if known != "_OTHER" else "HTTP"
        span = self._tracer.start_span(
            f"{name} {route}" if route is not None else name,
            context=parent,
            kind=SpanKind.SERVER,
            attributes=attributes,
        )
        return _Span(self._tracer, span, self._propagator)

    @contextmanager
    def probe(self, subject: str) -> Iterator[Span]:
        recorded = self._probes.start_span(
            f"probe {subject}", context=Context(), attributes={"inspyrenet.probe": subject}
        )
        span = _Span(self._probes, recorded, self._propagator)
        try:
            yield span
        except BaseException as error:
            span.failed_by(error)
            raise
        finally:
            recorded.end()

    def flush(self) -> None:
        self._provider.force_flush()


class _Span(Span):
    def __init__(self, tracer: OtelTracer, span: OtelSpan, propagator: TextMapPropagator) -> None:
        self._tracer = tracer
        self._span = span
        self._propagator = propagator
        self._context = set_span_in_context(span, Context())
        self._has_failed = False
        self._clock_offset = time.time_ns() - time.perf_counter_ns()
        found = span.get_span_context()
        self.ids = {"trace_id": f"{found.trace_id:032x}", "span_id": f"{found.span_id:016x}"}
        self.exemplar = dict(self.ids) if found.trace_flags.sampled else None

    def stage(self, name: str, began: float, seconds: float, error: str = "") -> None:
        start = self._clock_offset + int(began * 1e9)
        stage = self._tracer.start_span(name, context=self._context, start_time=start)
        if error:
            _mark_failed(stage, error)
        stage.end(start + int(seconds * 1e9))

    @contextmanager
    def call(
        self, *, method: str, scheme: str, host: str, port: int, resend_count: int = 0
    ) -> Iterator[Call]:
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "server.address": host,
            "server.port": port,
            "url.full": f"{scheme}://{host}/REDACTED",  # a client chose the rest, which may hold a signature
        }
        if resend_count:
            attributes["http.request.resend_count"] = resend_count
        span = self._tracer.start_span(
            method, context=self._context, kind=SpanKind.CLIENT, attributes=attributes
        )
        headers: dict[str, str] = {}
        self._propagator.inject(headers, context=set_span_in_context(span, self._context))
        try:
            yield _Call(span, headers)
        except BaseException as error:
            _mark_failed(span, _name_of(error))
            raise
        finally:
            span.end()

    def failed(self, reason: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            _mark_failed(self._span, reason)

    def failed_by(self, error: BaseException) -> None:
        """It failed by this error, unless a reason is known already."""
        self.failed(_name_of(error))

    def end_request(self, status: int | None, *, left_in: str = "") -> None:
        if status is None:
            self._span.set_attribute("inspyrenet.client_left_in", left_in)
            self.failed("client_disconnected")
        else:
            self._span.set_attribute("http.response.status_code", status)
            if status >= 500:  # an error of the client is none of the server
                self.failed(str(status))
        self._span.end()


class _Call(Call):
    def __init__(self, span: OtelSpan, headers: Mapping[str, str]) -> None:
        self._span = span
        self.headers = headers

    def answered(self, status: int) -> None:
        self._span.set_attribute("http.response.status_code", status)
        if status >= 400:
            _mark_failed(self._span, str(status))


def _mark_failed(span: OtelSpan, reason: str) -> None:
    span.set_attribute("error.type", reason)
    span.set_status(StatusCode.ERROR)  # without the error's message, which may hold what a client sent


def _name_of(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class _Headers(Getter["CIMultiDictProxy[str]"]):
    def get(self, carrier: CIMultiDictProxy[str], key: str) -> list[str] | None:
        return list(carrier.getall(key, [])) or None

    def keys(self, carrier: CIMultiDictProxy[str]) -> list[str]:
        return list(carrier.keys())


_HEADERS = _Headers()


class _Counted(SpanExporter):
    """An exporter whose results are counted."""

    def __init__(self, exporter: SpanExporter, count: CountSpans) -> None:
        self._exporter = exporter
        self._count = count

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._count("exported" if result is _EXPORT_SUCCEEDED else "lost", len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)
