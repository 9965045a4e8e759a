"""Ids, counts, common headers and errors of requests, without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from prometheus_client import CollectorRegistry

from metrics import Metrics
from service.errors import BadParameter, QueueFull, ServiceError
from service.http.middleware import (
    DISCONNECT_STAGE,
    DISCONNECTED,
    REQUEST_ID,
    common_headers,
    render_errors,
    track_requests,
)
from service.lifecycle import Lifecycle


class World:
    """Both middlewares around a handler that the test writes."""

    def __init__(self) -> None:
        self.metrics = Metrics(CollectorRegistry())

    async def call(self, handler: Any, method: str = "POST", **headers: str) -> web.StreamResponse:
        request = make_mocked_request(
            method, "/process", {k.replace("_", "-"): v for k, v in headers.items()}
        )
        errors = render_errors(self.metrics)

        async def inner(request: web.Request) -> web.StreamResponse:
            return await errors(request, handler)

        return await track_requests(self.metrics)(request, inner)

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """Label values -> value, of those that are not 0."""
        # Restricted, because the collector of process figures reads files, which would block the event loop.
        collected = self.metrics.registry.restricted_registry([f"inspyrenet_{name}"]).collect()
        return {
            tuple(sample.labels.values()): sample.value
            for metric in collected
            for sample in metric.samples
            if sample.value
        }


@pytest.fixture
def world() -> World:
    return World()


def error_in(response: web.StreamResponse) -> dict[str, str]:
    assert isinstance(response, web.Response)
    assert isinstance(response.body, bytes)
    error: dict[str, str] = json.loads(response.body)["error"]
    assert set(error) == {"code", "message", "request_id"}
    return error


def raising(error: Exception) -> Any:
    async def handler(_: web.Request) -> web.Response:
        raise error

    return handler


@pytest.mark.parametrize(
    ("error", "status", "code", "reason"),
    [
        (BadParameter("Wrong."), 400, "bad_parameter", "parameter"),
        (QueueFull("Full.", retry_after=1.2), 429, "queue_full", "queue_full"),
        (ServiceError("Bug."), 500, "internal", "other"),
        (ZeroDivisionError("secret"), 500, "internal", "other"),
    ],
)
async def test_an_error_becomes_an_answer_and_is_counted(
    world: World, error: Exception, status: int, code: str, reason: str
) -> None:
    response = await world.call(raising(error))
    assert (response.status, error_in(response)["code"]) == (status, code)
    assert "secret" not in error_in(response)["message"]
    assert world.samples("rejections_total") == {(reason,): 1}
    assert list(world.samples("http_requests_total").values()) == [1]


async def test_retry_after_is_rounded_up_to_whole_seconds(world: World) -> None:
    for seconds, header in ((0.0, "1"), (1.2, "2"), (None, None)):
        response = await world.call(raising(QueueFull("Full.", retry_after=seconds)))
        assert response.headers.get("Retry-After") == header


async def test_the_errors_of_aiohttp_get_the_same_shape_and_keep_allow(world: World) -> None:
    response = await world.call(raising(web.HTTPMethodNotAllowed("PUT", ["GET", "POST"])), "PUT")
    assert (response.status, error_in(response)["code"]) == (405, "method_not_allowed")
    assert response.headers["Allow"] == "GET,POST"
    assert "PUT" in error_in(response)["message"]
    assert error_in(await world.call(raising(web.HTTPNotFound())))["code"] == "not_found"
    assert error_in(await world.call(raising(web.HTTPRequestEntityTooLarge(1, 2))))["code"] == (
        "request_entity_too_large"
    )


@pytest.mark.parametrize(("sent", "kept"), [("abc-123", True), ("<script>", False), ("", False)])
async def test_a_harmless_request_id_is_kept(world: World, sent: str, kept: bool) -> None:
    error = error_in(await world.call(raising(BadParameter("Wrong.")), X_Request_Id=sent))
    assert (error["request_id"] == sent) is kept
    assert error["request_id"]


async def test_a_client_that_left_is_counted_as_that_and_as_nothing_else(world: World) -> None:
    async def handler(request: web.Request) -> web.Response:
        request[DISCONNECT_STAGE] = "queue"
        request[DISCONNECTED] = True
        return web.Response()

    await world.call(handler)
    assert world.samples("client_disconnects_total") == {("queue",): 1}
    assert world.samples("http_requests_total") == {}


@pytest.mark.parametrize("draining", [False, True])
async def test_an_answer_closes_its_connection_during_a_drain(draining: bool) -> None:
    lifecycle = Lifecycle(drain_timeout=8.0)
    if draining:
        lifecycle.begin_drain("test")
    request = make_mocked_request("GET", "/")
    request[REQUEST_ID] = "abc"
    response = web.Response()
    await common_headers(lifecycle)(request, response)
    assert (response.headers.get("Connection") == "close") is draining
    assert response.headers["X-Request-Id"] == "abc"
    assert response.headers["Server"] == "inspyrenet-api"
