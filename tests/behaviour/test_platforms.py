"""The names under which platforms ask: each test speaks as one platform does."""

from __future__ import annotations

import json

import pytest

from service.app import create_app
from service.cli.commands import parse
from service.engines.protocol import ConfigurationError
from service.http.platforms import ALIASES, Platform, find
from service.settings import Settings
from tests.support.photos import encoded
from tests.support.running_service import Service, Start
from tests.support.scripted_engine import Hold, ScriptedEngine

PHOTO = encoded()
VERTEX = {
    "AIP_HTTP_PORT": "8080",
    "AIP_HEALTH_ROUTE": "/v1/endpoints/17/deployedModels/4",
    "AIP_PREDICT_ROUTE": "/v1/endpoints/17/deployedModels/4:predict",
}


async def get(service: Service, path: str) -> int:
    async with service.client.get(path) as response:
        return response.status


async def test_cloud_run_and_knative_probe_paths_that_do_not_end_in_z(start: Start) -> None:
    engine, hold = ScriptedEngine(), Hold()
    engine.on_infer = hold
    service = await start(engine, wait=False)
    assert (await get(service, "/ready"), await get(service, "/live")) == (503, 200)
    hold.release.set()
    await service.ready()
    assert (await get(service, "/ready"), await get(service, "/live")) == (200, 200)


async def test_sagemaker_pings_and_invokes(start: Start) -> None:
    service = await start()
    assert await get(service, "/ping") == 200
    status, body, headers = await service.post(PHOTO, "/invocations", headers={"Content-Type": "image/png"})
    assert (status, headers["Content-Type"]) == (200, "image/png")
    assert body.startswith(b"\x89PNG")
    status, body, _ = await service.post(b"not a picture", "/invocations")
    assert (status, json.loads(body)["error"]["code"]) == (415, "unsupported_type")


def test_sagemaker_runs_the_image_with_the_argument_serve() -> None:
    assert parse(["serve"]).module is parse([]).module


async def test_runpod_hears_204_while_the_service_starts_and_only_there(start: Start) -> None:
    for environ, starting in [({"RUNPOD_POD_ID": "p"}, 204), ({}, 503)]:
        engine, hold = ScriptedEngine(), Hold()
        engine.on_infer = hold
        service = await start(engine, wait=False, platform=find("auto", environ))
        assert (await get(service, "/ping"), await get(service, "/readyz")) == (starting, 503)
        hold.release.set()
        await service.ready()
        assert await get(service, "/ping") == 200
        service.parts.lifecycle.begin_drain("a test")
        assert await get(service, "/ping") == 503


async def test_vertex_ai_asks_the_routes_that_its_variables_name(start: Start) -> None:
    service = await start(platform=find("auto", VERTEX))
    assert await get(service, VERTEX["AIP_HEALTH_ROUTE"]) == 200
    status, body, _ = await service.post(PHOTO, VERTEX["AIP_PREDICT_ROUTE"])
    assert status == 200
    assert body.startswith(b"\x89PNG")
    async with service.client.get("/openapi.json") as response:
        assert VERTEX["AIP_PREDICT_ROUTE"] in (await response.json())["paths"]


async def test_kserve_asks_as_it_asks_triton(start: Start) -> None:
    service = await start()
    assert await get(service, "/v2/health/live") == 200
    assert await get(service, "/v2/health/ready") == 200


async def test_an_alias_needs_the_key_of_its_path_and_counts_as_its_path(start: Start) -> None:
    service = await start(api_keys="secret", platform=find("vertex", VERTEX))
    for path in ("/invocations", VERTEX["AIP_PREDICT_ROUTE"]):
        assert (await service.post(PHOTO, path))[0] == 401
        assert (await service.post(PHOTO, path, headers={"X-Api-Key": "secret"}))[0] == 200
    assert service.value("http_requests_total", method="POST", route="/process", code="401") == 2
    for path, of in ALIASES.items():
        if of != "/process":
            async with service.client.head(path) as response:
                assert response.status == 200
    assert service.value("http_requests_total", method="HEAD", route="/readyz", code="200") == 3
    assert service.value("http_requests_total", method="GET", route="other", code="404") == 0
    async with service.client.get("/invocations") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
    assert service.value("http_requests_total", method="GET", route="/process", code="405") == 1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"AIP_HEALTH_ROUTE": "/process"}, "another route of this service"),
        ({"AIP_HEALTH_ROUTE": "/invocations"}, "collides"),
        ({"AIP_PREDICT_ROUTE": "/metrics"}, "another route of this service"),
        ({"AIP_PREDICT_ROUTE": "/static/x"}, "another route of this service"),
        ({"AIP_PREDICT_ROUTE": VERTEX["AIP_HEALTH_ROUTE"]}, "collides"),
        ({"AIP_PREDICT_ROUTE": "/{name}"}, "takes a path"),
        ({"AIP_PREDICT_ROUTE": ""}, "takes a path"),
    ],
)
def test_a_route_that_collides_or_is_missing_stops_the_start(changed: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        create_app(Settings(), engine=ScriptedEngine(), platform=find("auto", VERTEX | changed))


def test_routes_that_are_ours_already_do_not_collide() -> None:
    ours = VERTEX | {"AIP_HEALTH_ROUTE": "/readyz", "AIP_PREDICT_ROUTE": "/process"}
    create_app(Settings(), engine=ScriptedEngine(), platform=find("auto", ours))
    ours = VERTEX | {"AIP_HEALTH_ROUTE": "/ping", "AIP_PREDICT_ROUTE": "/invocations"}
    create_app(Settings(), engine=ScriptedEngine(), platform=find("auto", ours))


def test_a_platform_is_told_by_its_variables_and_may_be_named() -> None:
    assert find("auto", {}) == Platform("none")
    assert find("auto", VERTEX).name == "vertex"
    assert find("none", VERTEX) == Platform("none")
    assert find("runpod", {}).no_content_while_starting
    with pytest.raises(ConfigurationError, match="AIP_HEALTH_ROUTE"):
        find("vertex", {})
