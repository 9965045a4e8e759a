"""What happens to every request: an id, a log line, metrics, common headers, and one shape for every error.

``create_app`` installs all of it. Every request must be counted exactly once, as an answer or as a client that left,
and no answer may carry a traceback, a path or a library's message.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from metrics import Metrics
from metrics.request_labels import OTHER
from service.errors import Rejection, ServiceError
from service.http.client_connection import connection_of
from service.lifecycle import Lifecycle
from service.logs import find_trace_id
from service.tracing.spans import OFF, Span, Tracer

REQUEST_ID = web.RequestKey("request_id", str)
DISCONNECT_STAGE = web.RequestKey("disconnect_stage", str)
"""The stage of a request, for the count of clients that leave: upload, queue, run, response."""

DISCONNECTED = web.RequestKey("disconnected", bool)
"""A handler sets it to True if the client left while the answer was being written."""

SPAN = web.RequestKey("span", Span)
"""The span of a request."""

SERVER = "inspyrenet-api"

SMALL_BODY_BYTES = 64 * 1024
SMALL_BODY_SECONDS = 0.5
"""The rest of a body that is not larger is read for so long before an answer that does not need it."""


@dataclass(frozen=True, slots=True)
class PublicError:
    """An error as its client may see it."""

    status: int
    code: str
    message: str
    request_id: str
    cause: ServiceError | None = None
    """What was raised; None for an error of aiohttp or a bug."""


Envelope = Callable[[PublicError], tuple[int, object]]
"""Makes the status and the JSON body of an error."""

PrepareHook = Callable[[web.Request, web.StreamResponse], Awaitable[None]]
"""For ``app.on_response_prepare``."""

QUIET_PATHS = frozenset({"/livez", "/readyz", "/metrics", "/status"})
"""Machines and open pages ask for these every few seconds, so they are counted but not logged, and traced only if the
sender is. The same holds for GET /warmup."""

_SAFE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_access = structlog.get_logger("access")
_log = structlog.get_logger("http")


def track_requests(
    metrics: Metrics, tracer: Tracer = OFF, aliases: Mapping[str, str] | None = None
) -> Middleware:
    """The outermost middleware: it gives a request its id and its span, counts it, times it and logs it.

    Args:
        metrics: where it is counted.
        tracer: makes its span.
        aliases: other names of some paths; a request counts under the path that it means.
    """
    known_as = aliases or {}

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        canonical = resource.canonical if resource is not None else request.path  # a 405 has no resource
        canonical = known_as.get(canonical, canonical)
        route = metrics.fold_route("/static" if canonical.startswith("/static/") else canonical)
        quiet = route in QUIET_PATHS or (route == "/warmup" and request.method == "GET")
        request[REQUEST_ID] = request_id = _request_id(request)
        request[SPAN] = span = _begin_span(tracer, request, None if route == OTHER else route, quiet=quiet)
        bound = {"request_id": request_id, **(span.ids or _ids_in(request.headers))}
        tokens = structlog.contextvars.bind_contextvars(**bound)
        start = time.perf_counter()
        status: int | None = None
        in_progress = metrics.http_requests_in_progress.labels(route=route)
        in_progress.inc()
        try:
            response = await handler(request)
            if not request.get(DISCONNECTED, False):
                status = response.status
            return response
        finally:
            seconds = time.perf_counter() - start
            in_progress.dec()
            stage = request.get(DISCONNECT_STAGE, "response")
            span.end_request(status, left_in=stage)
            if status is None:  # the client left; it is counted as that and as nothing else
                metrics.client_disconnects_total.labels(stage=stage).inc()
            else:
                metrics.count_request(request.method, route, status)
                metrics.http_request_duration_seconds.labels(route=route).observe(seconds, span.exemplar)
            if not quiet:
                _access.info(
                    "request",
                    method=request.method,
                    route=route,
                    status=status if status is not None else "client disconnected",
                    duration_ms=round(seconds * 1000, 1),
                )
            structlog.contextvars.reset_contextvars(**tokens)

    return middleware


def _begin_span(tracer: Tracer, request: web.Request, route: str | None, *, quiet: bool) -> Span:
    return tracer.request(
        request.headers,
        method=request.method,
        route=route,
        path=request.path,
        scheme=request.scheme,
        version=f"{request.version.major}.{request.version.minor}",
        quiet=quiet,
    )


def _ids_in(headers: Mapping[str, str]) -> dict[str, str]:
    trace_id = find_trace_id(headers)
    return {} if trace_id is None else {"trace_id": trace_id}


def follow_connection(lifecycle: Lifecycle) -> Middleware:
    """Outside all others: tells the connection when a request is at hand, and reads the rest of a small body.

    Args:
        lifecycle: while it drains, every answer closes its connection, and nothing may delay one.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = connection_of(request)
        if connection is None:
            return await handler(request)
        connection.request_began(request.content)
        try:
            response = await handler(request)
            if not lifecycle.draining and response.status != HTTPStatus.REQUEST_TIMEOUT:
                await _read_small_rest(request)
            return response
        finally:
            connection.request_ended()

    return middleware


async def _read_small_rest(request: web.Request) -> None:
    """Read the rest of a body that is on its way and small, so that its connection can be used again.

    Many clients send the head and a small body separately, and some answers do not wait for the body.
    """
    content, length = request.content, request.content_length
    if content.is_eof() or length is None or length > SMALL_BODY_BYTES or hdrs.EXPECT in request.headers:
        return
    # The framing may break, and the client may leave; then the connection ends after the answer.
    with suppress(web.RequestPayloadError, OSError, RuntimeError):
        async with asyncio.timeout(SMALL_BODY_SECONDS):
            while await content.readany():
                pass


def common_headers(lifecycle: Lifecycle) -> PrepareHook:
    """Sets the headers that every answer carries, just before it is written.

    Args:
        lifecycle: while it drains, every answer closes its connection.
    """

    async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
        # aiohttp answers an unknown Expect header without the middlewares, so there may be no id yet.
        response.headers["X-Request-Id"] = request.get(REQUEST_ID) or _request_id(request)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers[hdrs.SERVER] = SERVER  # the default shows the versions of Python and aiohttp
        # An answer before the end of the body ends the connection: nobody knows whether the rest of the body will come.
        if lifecycle.draining or not request.content.is_eof():
            response.force_close()
            response.headers[hdrs.CONNECTION] = "close"  # aiohttp has set this header already
        if (connection := connection_of(request)) is not None:
            connection.answer_began()

    return on_prepare


def render_errors(metrics: Metrics, envelopes: Mapping[str, Envelope] | None = None) -> Middleware:
    """Turns exceptions into answers and counts the rejections. Nothing else does.

    Args:
        metrics: the rejections are counted here.
        envelopes: how the errors look below some paths, such as ``/v1.0/``; elsewhere they look as ours do.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ServiceError as error:
            metrics.rejections_total.labels(reason=error.reason.value).inc()
            public = PublicError(error.status, error.code, error.message, request[REQUEST_ID], error)
            headers = error.headers
        except web.HTTPException as error:
            if error.status < 400:
                raise
            headers = {"Allow": error.headers[hdrs.ALLOW]} if hdrs.ALLOW in error.headers else {}
            public = PublicError(error.status, *_code_and_message(request, error.status), request[REQUEST_ID])
        except ConnectionResetError:
            raise
        except Exception:  # noqa: BLE001 - the client must get an answer, whatever went wrong
            _log.exception("request failed: this is a bug in the service")
            metrics.rejections_total.labels(reason=Rejection.OTHER.value).inc()
            message = "The service failed because of a bug in it. The bug has been logged."
            public, headers = PublicError(500, "internal", message, request[REQUEST_ID]), {}
        try:
            return _error_response(_envelope_for(request.path, envelopes or {}), public, headers)
        finally:
            del public  # it refers to the error, whose frames hold the picture and refer to it

    return middleware


def _envelope_for(path: str, envelopes: Mapping[str, Envelope]) -> Envelope:
    return next(
        (envelope for prefix, envelope in envelopes.items() if path.startswith(prefix)), _our_envelope
    )


def _our_envelope(error: PublicError) -> tuple[int, object]:
    body = {"code": error.code, "message": error.message, "request_id": error.request_id}
    return error.status, {"error": body}


def _code_and_message(request: web.Request, status: int) -> tuple[str, str]:
    match status:
        case 404:
            return "not_found", "This path does not exist. GET /docs lists the paths."
        case 405:
            return (
                "method_not_allowed",
                f"This path does not take {request.method}. The Allow header says which methods it takes.",
            )
        case _:
            phrase = HTTPStatus(status).phrase
            return phrase.lower().replace(" ", "_").replace("-", "_"), f"{phrase}."


def _error_response(envelope: Envelope, error: PublicError, headers: Mapping[str, str]) -> web.Response:
    status, body = envelope(error)
    response = web.json_response(body, status=status, headers=headers, dumps=_dumps)
    if error.cause is not None and error.cause.retry_after is not None:
        response.headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(error.cause.retry_after)))
    return response


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _request_id(request: web.BaseRequest) -> str:
    sent = request.headers.get("X-Request-Id", "")
    return sent if _SAFE_ID.fullmatch(sent) else uuid.uuid4().hex
