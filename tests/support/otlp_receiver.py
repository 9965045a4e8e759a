"""A receiver of traces: an HTTP server that takes what OTLP exporters send, and decodes it.

Tests of tracing start it with ``receiving`` and give its address to the service. It must check what a collector checks:
the path, the media type, and that the bytes are an export request.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.support.http_server import QuietServer


@dataclass(frozen=True, slots=True)
class Received:
    """One span as it arrived."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty for the first span of a trace."""
    trace_state: str
    began: int
    """Unix time in nanoseconds."""
    ended: int
    failed: bool
    attributes: Mapping[str, Any]
    scope: str
    resource: Mapping[str, Any]


class OtlpReceiver:
    """What has arrived so far.

    Attributes:
        url: for ``OTEL_EXPORTER_OTLP_ENDPOINT``.
        answer: called before each answer; returns its status. It may wait.
    """

    def __init__(self) -> None:
        self.answer: Callable[[], int] = lambda: 200
        self.requests = 0
        self._spans: list[Received] = []
        self._lock = threading.Lock()
        self.server = QuietServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def spans(self) -> list[Received]:
        """All spans that were taken."""
        with self._lock:
            return list(self._spans)

    def named(self, name: str) -> list[Received]:
        """The spans of this name."""
        return [span for span in self.spans if span.name == name]

    def children_of(self, parent: Received) -> list[Received]:
        """The spans below this one, in the order of their beginnings."""
        found = [span for span in self.spans if span.parent_id == parent.span_id]
        return sorted(found, key=lambda span: span.began)

    def take(self, body: bytes) -> None:
        """Decode a request."""
        found = [
            _received(span, scope.scope.name, _attributes(resource.resource.attributes))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        assert found, "an export without spans"
        with self._lock:
            self._spans += found

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.requests += 1
                status = receiver.answer()
                if self.path != "/v1/traces" or self.headers["Content-Type"] != "application/x-protobuf":
                    status = 400
                if status == 200:
                    receiver.take(body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


@contextmanager
def receiving() -> Iterator[OtlpReceiver]:
    """A receiver that ends with the context."""
    receiver = OtlpReceiver()
    thread = threading.Thread(
        target=receiver.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()


def _received(span: trace_pb2.Span, scope: str, resource: Mapping[str, Any]) -> Received:
    return Received(
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        trace_state=span.trace_state,
        began=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        attributes=_attributes(span.attributes),
        scope=scope,
        resource=resource,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
