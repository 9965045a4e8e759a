"""rembg's parameters, and its route over a real connection."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from aiohttp import FormData
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.errors import BadParameter
from service.http.rembg import NOT_APPLIED, parse
from service.http.remote_picture import RemotePictures
from service.imaging.options import Options, Output
from tests.support.remote_host import RemoteHost, Resolver
from tests.support.running_service import Start

PATH = "/api/remove"


def form(photo: bytes, **fields: str) -> FormData:
    data = FormData(default_to_multipart=True)
    data.add_field("file", photo, filename="photo.png", content_type="image/png")
    for name, value in fields.items():
        data.add_field(name, value)
    return data


def opened(body: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(body))
    image.load()
    return image


def test_the_parameters_become_options() -> None:
    assert parse({}) == parse({"bgc": ""}) == parse({"om": "false"}) == Options()
    assert parse({"om": "true"}) == Options(output=Output.MASK)
    assert parse({"om": "true", "bgc": "1,2,3,4"}) == Options(output=Output.MASK)
    assert parse({"ppm": "true"}) == Options(threshold=0.5)
    colour = parse({"bgc": "255, 128,0,200"})
    assert (colour.output, colour.colour, colour.opacity) == (Output.COLOUR, (255, 128, 0), 200)
    assert parse({"bgc": "255,255,255,0"}) == Options()


@pytest.mark.parametrize(
    "wrong", [{"bgc": "255,255,255"}, {"bgc": "256,0,0,0"}, {"bgc": "white"}, {"om": "perhaps"}, {"ppm": "2"}]
)
def test_a_wrong_value_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(BadParameter):
        parse(wrong)


@given(st.dictionaries(st.sampled_from(["om", "ppm", "bgc", "model"]), st.text(max_size=20)))
def test_any_text_is_understood_or_refused(given_values: dict[str, str]) -> None:
    with suppress(BadParameter):
        assert parse(given_values).output in (Output.RGBA, Output.MASK, Output.COLOUR)


async def test_a_form_and_raw_bytes_get_the_same_cut_out_as_from_process(start: Start, photo: bytes) -> None:
    service = await start()
    _, expected, _ = await service.post(photo)
    for data, headers in ((form(photo), {}), (photo, {"Content-Type": "image/png"})):
        status, body, answered = await service.post(data, PATH, headers=headers)
        assert (status, body) == (200, expected)
        assert answered["Content-Type"] == "image/png"
        assert "X-Ignored-Parameters" not in answered


async def test_parameters_come_by_form_or_query_and_what_is_not_applied_is_said(
    start: Start, photo: bytes
) -> None:
    service = await start()
    status, body, _ = await service.post(form(photo, om="true"), PATH, headers={})
    assert (status, opened(body).mode) == (200, "L")
    status, body, headers = await service.post(
        form(photo, model="isnet", extras="{}", unknown="x"), f"{PATH}?a=true&ppm=true&vm=1", headers={}
    )
    assert status == 200
    assert headers["X-Ignored-Parameters"] == "model, a, extras, vm"
    assert set(np.unique(np.asarray(opened(body).getchannel("A")))) <= {0, 255}
    everything = dict.fromkeys(NOT_APPLIED, "1")
    _, _, headers = await service.post(form(photo, **everything), PATH, headers={})
    assert headers["X-Ignored-Parameters"] == ", ".join(NOT_APPLIED)
    status, body, _ = await service.post(form(photo, bgc="255,0,0,255"), PATH, headers={})
    assert opened(body).mode == "RGB"
    status, body, _ = await service.post(form(photo, bgc="255,0,0,128"), PATH, headers={})
    assert opened(body).mode == "RGBA"


async def test_fields_and_files_that_rembg_does_not_know_are_passed_over(start: Start, photo: bytes) -> None:
    service = await start()
    _, expected, _ = await service.post(photo)
    beach = form(photo)
    beach.add_field("background", photo, filename="beach.png")
    for data in (beach, form(photo, background="white"), form(photo, background="")):
        assert (await service.post(data, PATH, headers={}))[:2] == (200, expected)


@pytest.mark.parametrize(("query", "status"), [("?om=perhaps", 400), ("?bgc=red", 400), ("", 400)])
async def test_errors_are_the_services_own(start: Start, query: str, status: int) -> None:
    service = await start()
    got, body, _ = await service.post(b"", f"{PATH}{query}", headers={"Content-Type": "image/png"})
    assert got == status
    assert b'"error"' in body


async def test_keys_are_needed_as_for_process(start: Start, photo: bytes) -> None:
    service = await start(api_keys=["k" * 16])
    assert (await service.post(form(photo), PATH, headers={}))[0] == 401
    async with service.client.get(f"{PATH}?url=http://a.example/p") as response:
        assert response.status == 401
    assert (await service.post(form(photo), PATH, headers={"X-Api-Key": "k" * 16}))[0] == 200


async def get(service: Any, query: str) -> tuple[int, bytes]:
    async with service.client.get(f"{PATH}{query}") as response:
        return response.status, await response.read()


async def test_an_address_is_fetched_from_a_listed_host_only(start: Start, photo: bytes) -> None:
    async with RemoteHost({"/p.png": photo}) as host:
        resolver = Resolver()
        resolver.port = host.port
        remote = RemotePictures(("a.example",), resolver=resolver, allowed=lambda _: True)
        service = await start(remote_pictures=remote)
        _, expected, _ = await service.post(photo)
        assert await get(service, "?url=http://a.example/p.png") == (200, expected)
        assert (await get(service, "?url=http://a.example/p.png&om=true&model=isnet"))[0] == 200
        for query, status in (
            ("", 400), ("?url=", 400), ("?url=http://b.example/p.png", 400), ("?url=http://127.0.0.1/", 400),
            ("?url=http://a.example/none", 400), ("?url=http://a.example/p.png&om=x", 400),
        ):  # fmt: skip
            assert (await get(service, query))[0] == status
        assert service.value("rejections_total", reason="url") == 3
    async with service.client.head(f"{PATH}?url=http://a.example/p.png") as response:
        assert response.status == 405


async def test_without_a_list_of_hosts_no_address_is_fetched(start: Start) -> None:
    service = await start()
    status, body = await get(service, "?url=http://a.example/p.png")
    assert status == 400
    assert b"INSPYRENET_URL_HOSTS" in body
