"""remove.bg's contract over a real connection: pictures in every kind of body, answers, headers, and every error."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import zipfile
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from aiohttp import FormData, web
from PIL import Image

from service.engines.protocol import RGB, Alpha, DeviceError, WeightsUnavailable
from service.http.public_addresses import is_public
from service.http.remote_picture import RemotePictures
from service.http.removebg import reading
from service.http.slow_clients import SlowClients
from tests.support.photos import encoded
from tests.support.remote_host import LOOPBACK, RemoteHost, Resolver
from tests.support.running_service import Service, Start
from tests.support.scripted_engine import Hold, ScriptedEngine

PATH = "/v1.0/removebg"
JSON = {"Accept": "application/json"}


def form(**fields: Any) -> FormData:
    data = FormData(default_to_multipart=True)
    for name, value in fields.items():
        if isinstance(value, bytes):
            data.add_field(name, value, filename="photo.jpg", content_type="image/jpeg")
        else:
            data.add_field(name, value)
    return data


async def send(
    service: Service,
    data: Any = None,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    **options: Any,
) -> tuple[bytes, Any]:
    got, body, received = await service.post(data, PATH, headers=headers or {}, **options)
    assert got == status, body
    return body, received


async def error(service: Service, data: Any = None, *, status: int = 400, **options: Any) -> str:
    """The code of the error with which a request is answered."""
    body, _ = await send(service, data, status=status, **options)
    return code_in(body)


def code_in(body: bytes) -> str:
    answer = json.loads(body)
    assert set(answer) == {"errors"}
    (one,) = answer["errors"]
    assert set(one) == {"title", "code", "detail"}
    assert one["title"]
    assert one["detail"].startswith(one["title"])
    code: str = one["code"]
    return code


def opened(body: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(body))
    image.load()
    return image


def bodies(photo: bytes, **fields: str) -> list[dict[str, Any]]:
    """The same request in every spelling that the contract knows."""
    text = base64.b64encode(photo).decode()
    return [
        {"data": form(image_file=photo, **fields)},
        {"data": form(image_file_b64=text, **fields)},
        {"data": urlencode({"image_file_b64": text} | fields),
         "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        {"json": {"image_file_b64": text} | fields},
    ]  # fmt: skip


async def test_a_picture_in_every_kind_of_body_gets_the_same_cut_out(start: Start, photo: bytes) -> None:
    service = await start()
    answers = [await send(service, **body) for body in bodies(photo, size="full")]
    assert len({body for body, _ in answers}) == 1
    for body, headers in answers:
        image = opened(body)
        assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (40, 30))
        assert headers["Content-Type"] == "image/png"
        assert (headers["X-Width"], headers["X-Height"], headers["X-Type"]) == ("40", "30", "other")
        assert headers["X-Credits-Charged"] == "0"
        assert headers["X-RateLimit-Limit"] == "17"
        assert headers["X-RateLimit-Remaining"] == "16"
        assert int(headers["X-RateLimit-Reset"]) > 1_700_000_000
        assert all(int(headers[f"X-Foreground-{side}"]) >= 0 for side in ("Top", "Left", "Width", "Height"))
        assert headers["X-Engine"] == "inspyrenet"


async def test_a_client_that_accepts_json_gets_the_picture_in_base64_and_the_box(
    start: Start, photo: bytes
) -> None:
    service = await start()
    picture, plain = await send(service, form(image_file=photo))
    body, headers = await send(service, form(image_file=photo), headers=JSON)
    data = json.loads(body)["data"]
    assert headers["Content-Type"] == "application/json"
    assert base64.b64decode(data.pop("result_b64")) == picture
    assert data == {
        f"foreground_{side.lower()}": int(plain[f"X-Foreground-{side}"])
        for side in ("Top", "Left", "Width", "Height")
    }
    assert headers["X-Width"] == "40"


@pytest.mark.parametrize(
    ("fields", "file_format", "mode"),
    [
        ({}, "PNG", "RGBA"),
        ({"format": "auto", "bg_color": "ff0000"}, "JPEG", "RGB"),
        ({"format": "png", "bg_color": "red"}, "PNG", "RGB"),
        ({"bg_color": "f008"}, "PNG", "RGBA"),
        ({"bg_color": "ff000000"}, "PNG", "RGBA"),
        ({"bg_color": "ff000080", "format": "jpg"}, "JPEG", "RGB"),
        ({"format": "jpg"}, "JPEG", "RGB"),
        ({"format": "webp"}, "WEBP", "RGBA"),
        ({"channels": "alpha"}, "PNG", "L"),
        ({"channels": "alpha", "bg_color": "red"}, "PNG", "L"),
        ({"channels": "alpha", "format": "jpg"}, "JPEG", "L"),
    ],
)
async def test_format_channels_and_background_decide_the_file(
    start: Start, photo: bytes, fields: dict[str, str], file_format: str, mode: str
) -> None:
    service = await start()
    for body in bodies(photo, **fields):
        image = opened((await send(service, **body))[0])
        assert (image.format, image.mode) == (file_format, mode)


async def test_a_zip_holds_colours_and_mask(start: Start, photo: bytes) -> None:
    service = await start()
    body, headers = await send(service, form(image_file=photo, format="zip"))
    assert headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert sorted(archive.namelist()) == ["alpha.png", "color.jpg"]
        assert opened(archive.read("color.jpg")).size == opened(archive.read("alpha.png")).size == (40, 30)


async def test_a_picture_of_its_own_is_the_background(start: Start, photo: bytes) -> None:
    blue = io.BytesIO()
    Image.new("RGB", (10, 10), (0, 0, 255)).save(blue, "PNG")

    def nothing(image: RGB) -> Alpha:
        mask = np.zeros(image.shape[:2], np.float32)
        mask[10:20, 10:20] = 1
        return mask

    engine = ScriptedEngine()
    service = await start(engine)
    engine.on_infer = nothing
    body, _ = await send(service, form(image_file=photo, bg_image_file=blue.getvalue(), format="png"))
    image = opened(body)
    assert image.mode == "RGB"
    assert image.getpixel((0, 0)) == (0, 0, 255)


async def test_sizes_bound_the_pixels_of_the_answer(start: Start) -> None:
    service = await start()
    photo = encoded(1200, 800)
    for size, limit in (
        ("preview", 250_000),
        ("small", 250_000),
        ("regular", 250_000),
        ("medium", 1_500_000),
        ("auto", None),
    ):
        _, headers = await send(service, form(image_file=photo, size=size))
        width, height = int(headers["X-Width"]), int(headers["X-Height"])
        if limit is None or limit >= 960_000:
            assert (width, height) == (1200, 800)
        else:
            assert 0.98 * limit <= width * height <= limit
            assert abs(width / height - 1.5) < 0.01


async def test_a_subject_is_cropped_scaled_and_placed(start: Start, photo: bytes) -> None:
    def square(image: RGB) -> Alpha:
        mask = np.zeros(image.shape[:2], np.float32)
        mask[10:20, 20:30] = 1
        return mask

    engine = ScriptedEngine()
    service = await start(engine)
    engine.on_infer = square
    _, headers = await send(service, form(image_file=photo, crop="true"))
    assert (headers["X-Width"], headers["X-Height"]) == ("10", "10")
    assert (headers["X-Foreground-Left"], headers["X-Foreground-Top"]) == ("20", "10")
    _, headers = await send(service, form(image_file=photo, crop="true", crop_margin="2px 3px"))
    assert (headers["X-Width"], headers["X-Height"]) == ("16", "14")
    body, _ = await send(service, form(image_file=photo, scale="50%", position="center"))
    alpha = np.asarray(opened(body).getchannel("A"))
    assert alpha.shape == (30, 40)
    assert alpha[15, 20] == 255
    body, _ = await send(service, form(image_file=photo, roi="0% 0% 100% 50%", channels="alpha"))
    assert not np.asarray(opened(body))[15:].any()


async def test_a_kind_of_subject_is_said_again(start: Start, photo: bytes) -> None:
    service = await start()
    for kind, said in (("person", "person"), ("auto", "other"), ("<script>", "other")):
        _, headers = await send(service, form(image_file=photo, type=kind))
        assert headers["X-Type"] == said


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"image_file": None}, "missing_source"),
        ({"image_file": b""}, "missing_source"),
        ({"image_file": None, "image_file_b64": "", "image_url": " "}, "missing_source"),
        ({"image_url": "https://a.example/p"}, "multiple_sources"),
        ({"image_file_b64": "aGFsbG8="}, "multiple_sources"),
        ({"bg_color": "red", "bg_image_file": b"x"}, "multiple_bg_sources"),
        ({"bg_color": "red", "bg_image_url": "https://a.example/p"}, "multiple_bg_sources"),
        ({"bg_image_file": b"x", "bg_image_url": "https://a.example/p"}, "multiple_bg_sources"),
        ({"image_file": b"no picture at all"}, "invalid_file_type"),
        ({"image_file": encoded()[:200]}, "failed_to_read_image"),
        ({"image_file": None, "image_file_b64": "???"}, "failed_to_read_image"),
        ({"image_file": encoded(3000, 1)}, "resolution_too_high"),
        ({"image_file": None, "image_url": "https://a.example/p"}, "invalid_image_url"),
        ({"bg_image_url": "https://a.example/p"}, "invalid_bg_image_url"),
        ({"roi": "0px 0px 1000px 10px"}, "roi_exceeds_bounds"),
        ({"roi": "10px 10px 10px 20px"}, "roi_region_empty"),
        ({"roi": "everything"}, "invalid_roi"),
        ({"size": "huge"}, "invalid_size"),
        ({"format": "gif"}, "invalid_format"),
        ({"format": "zip", "bg_color": "red"}, "invalid_format"),
        ({"channels": "rgb"}, "invalid_channels"),
        ({"crop_margin": "60%"}, "invalid_crop_margin"),
        ({"scale": "5%"}, "invalid_scale"),
        ({"position": "left"}, "invalid_position"),
        ({"bg_color": "no colour"}, "invalid_bg_color"),
        ({"semitransparency": "maybe"}, "invalid_semitransparency"),
    ],
)  # fmt: skip
async def test_every_wrong_request_has_its_code(
    start: Start, photo: bytes, fields: dict[str, Any], code: str
) -> None:
    service = await start(max_pixels=2500, warmup_size=32)
    given = {name: value for name, value in ({"image_file": photo} | fields).items() if value is not None}
    body, headers = await send(service, form(**given), status=400)
    assert code_in(body) == code
    assert headers["X-RateLimit-Limit"] == "17"
    for secret in (b"a.example", b"Traceback", b"PIL"):
        assert secret not in body


async def test_a_wall_has_no_foreground(start: Start, photo: bytes) -> None:
    engine = ScriptedEngine()
    service = await start(engine)
    engine.confidence = 0.0
    assert await error(service, form(image_file=photo)) == "unknown_foreground"


async def test_empty_fields_count_as_absent_and_unknown_ones_are_passed_over(
    start: Start, photo: bytes
) -> None:
    service = await start()
    empty = dict.fromkeys(
        ("size", "format", "roi", "crop", "crop_margin", "scale", "position", "bg_color", "type"), ""
    )
    expected, _ = await send(service, form(image_file=photo))
    assert (await send(service, form(image_file=photo, bg_image_file=b"", **empty)))[0] == expected
    assert (await send(service, form(image_file=photo, utf8="x", extra=b"a file")))[0] == expected
    text = base64.b64encode(photo).decode()
    for more in ({"scale": None, "crop": False, "add_shadow": None}, {"nested": {"a": [1]}, "number": 1.5}):
        assert (await send(service, json={"image_file_b64": text} | more))[0] == expected


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        ("text/plain", b"hello", "missing_source"),
        ("image/png", b"hello", "missing_source"),
        ("application/json", b"{}", "missing_source"),
        ("application/json", b"[1]", "bad_request"),
        ("application/json", b"{", "bad_request"),
        ("application/json", b"[" * 100_000, "bad_request"),
        ("application/json", b'{"image_file_b64": "\\ud800"}', "failed_to_read_image"),
        ("application/json", b'{"size": "\\ud800"}', "bad_request"),
        ("application/x-www-form-urlencoded", b"a&" * 100, "bad_request"),
        ("application/x-www-form-urlencoded", b"size=%ff", "bad_request"),
        ("application/x-www-form-urlencoded", b"x=" + b"a" * 10_000, "bad_request"),
        ("multipart/form-data", b"nothing", "bad_request"),
        ("multipart/form-data; boundary=x", b"nothing", "bad_request"),
        ("multipart/mixed; boundary=x", b"nothing", "missing_source"),
    ],
)
async def test_a_body_that_says_nothing_is_refused(
    start: Start, content_type: str, body: bytes, code: str
) -> None:
    service = await start()
    assert await error(service, body, headers={"Content-Type": content_type}) == code


async def test_a_body_without_bytes_or_compressed_is_refused(start: Start) -> None:
    service = await start()
    assert await error(service) == "missing_source"
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert await error(service, b"{}", headers=headers) == "invalid_file_type"


async def test_a_picture_is_held_to_the_limit_in_every_kind_of_body(start: Start, photo: bytes) -> None:
    service = await start(max_upload_bytes=len(photo))
    for body in bodies(photo):
        await send(service, **body)
    await send(service, form(image_file=photo, bg_image_file=photo))
    for body in bodies(photo + b"0"):
        assert await error(service, **body) == "file_too_large"
    await error(service, form(image_file=photo, bg_image_file=photo + b"0"))
    long = {"Content-Type": "application/json", "Content-Length": str(10**9)}
    assert await error(service, b"{}", headers=long) == "file_too_large"


async def test_base64_may_be_dressed_as_senders_dress_it(start: Start, photo: bytes) -> None:
    service = await start()
    expected, _ = await send(service, form(image_file=photo))
    text = base64.b64encode(photo).decode()
    for dressed in (
        f"data:image/png;base64,{text}",
        "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76)) + "\n",
        text.rstrip("="),
        base64.urlsafe_b64encode(photo).decode(),
        text.replace("/", "\\/"),
    ):
        body = json.dumps({"image_file_b64": dressed}).replace("\\\\/", "\\/").encode()
        assert (await send(service, body, headers={"Content-Type": "application/json"}))[0] == expected
    unescaped = f"image_file_b64={text}".encode()  # as `curl -d` sends it
    urlencoded = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await send(service, unescaped, headers=urlencoded))[0] == expected


async def test_a_wrong_key_is_403_and_a_right_one_opens(start: Start, photo: bytes) -> None:
    service = await start(api_keys=["k" * 16])
    for headers in ({}, {"X-Api-Key": "wrong"}):
        assert await error(service, form(image_file=photo), status=403, headers=headers) == "auth_failed"
        async with service.client.get("/v1.0/account", headers=headers) as response:
            assert (response.status, code_in(await response.read())) == (403, "auth_failed")
    await send(service, form(image_file=photo), headers={"X-Api-Key": "k" * 16})
    assert service.value("rejections_total", reason="auth") == 4


async def test_the_account_has_credits(start: Start) -> None:
    service = await start()
    async with service.client.get("/v1.0/account") as response:
        attributes = (await response.json())["data"]["attributes"]
    assert set(attributes["credits"]) == {"total", "subscription", "payg", "enterprise"}
    assert attributes["credits"]["total"] > 0
    assert set(attributes["api"]) == {"free_calls", "sizes"}


async def test_a_full_queue_is_429_with_a_whole_number_of_seconds(start: Start, photo: bytes) -> None:
    engine, hold = ScriptedEngine(), Hold()
    service = await start(engine, queue_size=1)
    engine.on_infer = hold
    busy = [asyncio.create_task(send(service, form(image_file=photo))) for _ in range(2)]
    await service.until(lambda: service.admission.full)
    body, headers = await send(service, form(image_file=photo), status=429)
    assert code_in(body) == "rate_limit_exceeded"
    assert int(headers["Retry-After"]) >= 1
    assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("2", "0")
    hold.release.set()
    await asyncio.gather(*busy)


async def test_a_service_that_cannot_serve_says_so_in_the_same_envelope(start: Start, photo: bytes) -> None:
    engine = ScriptedEngine()

    def fail() -> None:
        raise WeightsUnavailable("none")

    engine.on_load = fail
    service = await start(engine, wait=False)
    await service.until(lambda: service.parts.supervisor.snapshot().state == "load_failed")
    body, headers = await send(service, form(image_file=photo), status=503)
    assert code_in(body) == "unavailable"
    assert int(headers["Retry-After"]) >= 1


async def test_a_device_that_fails_a_deadline_that_passes_and_a_bug_have_the_envelope(
    start: Start, photo: bytes
) -> None:
    engine = ScriptedEngine()
    service = await start(engine, request_timeout=0.5)

    def fail(_: RGB) -> Any:
        raise DeviceError("lost", sticky=False)

    engine.on_infer = fail
    assert await error(service, form(image_file=photo), status=503) == "unavailable"
    hold = Hold()
    engine.on_infer = hold
    assert await error(service, form(image_file=photo), status=504) == "deadline_exceeded"
    hold.release.set()


async def test_wrong_methods_and_paths_below_have_the_envelope(start: Start) -> None:
    service = await start()
    async with service.client.get(PATH) as response:
        assert (response.status, code_in(await response.read())) == (405, "method_not_allowed")
        assert response.headers["Allow"] == "POST"
    async with service.client.get("/v1.0/improve") as response:
        assert (response.status, code_in(await response.read())) == (404, "not_found")


async def test_pages_of_allowed_origins_can_read_every_header(start: Start, photo: bytes) -> None:
    service = await start(cors_origins="https://shop.example")
    origin = {"Origin": "https://shop.example"}
    for data, status in ((form(image_file=photo), 200), (form(), 400)):
        _, headers = await send(service, data, status=status, headers=origin)
        exposed = {name.strip() for name in headers["Access-Control-Expose-Headers"].split(",")}
        theirs = {
            name
            for name in headers
            if name.startswith(("X-Ra", "X-Cr", "X-Wi", "X-He", "X-Ty", "X-Fore", "Retry"))
        }
        assert theirs <= exposed


def remote(host: RemoteHost, *names: str) -> RemotePictures:
    resolver = Resolver()
    resolver.port = host.port
    return RemotePictures(
        names, resolver=resolver, allowed=lambda address: str(address) == LOOPBACK or is_public(address)
    )


async def test_a_picture_and_a_background_by_address_from_a_listed_host(start: Start, photo: bytes) -> None:
    async with RemoteHost({"/p.png": photo, "/none": b"", "/text": b"no picture"}) as host:
        service = await start(remote_pictures=remote(host, "a.example"))
        url = "http://a.example/p.png"
        expected, _ = await send(service, form(image_file=photo))
        assert (await send(service, json={"image_url": url}))[0] == expected
        assert (await send(service, form(image_url=url)))[0] == expected
        body, _ = await send(service, form(image_url=url, bg_image_url=url))
        assert opened(body).format == "JPEG"
        for given, code in (
            ({"image_url": "http://b.example/p.png"}, "invalid_image_url"),
            ({"image_url": "http://127.0.0.1/p.png"}, "invalid_image_url"),
            ({"image_url": "http://a.example/none"}, "failed_image_download"),
            ({"image_url": "http://a.example/missing"}, "failed_image_download"),
            ({"image_url": "http://a.example/text"}, "invalid_file_type"),
            ({"image_url": url, "bg_image_url": "http://b.example/p.png"}, "invalid_bg_image_url"),
            ({"image_url": url, "bg_image_url": "http://a.example/missing"}, "failed_bg_download"),
        ):
            assert await error(service, json=given) == code
        assert service.value("rejections_total", reason="url") == 6


async def test_a_host_that_does_not_send_is_given_the_time_of_an_upload(start: Start) -> None:
    async def stall(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"\x89PNG")
        await asyncio.Event().wait()
        return response

    async with RemoteHost({"/p": stall}) as host:
        service = await start(remote_pictures=remote(host, "a.example"), read_timeout=0.3)
        assert await error(service, json={"image_url": "http://a.example/p"}) == "failed_image_download"
        await service.until(lambda: service.admission.taken == 0)


async def test_a_picture_by_address_is_refused_by_its_header_before_the_rest_has_come(start: Start) -> None:
    photo = encoded(3000, 1)

    async def begin(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(photo[:64])
        await asyncio.Event().wait()
        return response

    async with RemoteHost({"/p": begin}) as host:
        service = await start(remote_pictures=remote(host, "a.example"), max_pixels=2500, warmup_size=32)
        assert await error(service, json={"image_url": "http://a.example/p"}) == "resolution_too_high"


async def test_a_place_is_taken_before_the_body_and_given_back_after_every_end(
    start: Start, photo: bytes
) -> None:
    engine, hold = ScriptedEngine(), Hold()
    service = await start(engine, queue_size=1)
    engine.on_infer = hold
    busy = [asyncio.create_task(send(service, form(image_file=photo))) for _ in range(2)]
    await service.until(lambda: service.admission.full)

    async def body() -> Any:
        yield b"--x\r\n"
        raise AssertionError("the body was asked for")

    headers = {"Content-Type": "multipart/form-data; boundary=x", "Expect": "100-continue"}
    await send(service, body(), status=429, headers=headers)
    hold.release.set()
    await asyncio.gather(*busy)
    for bad in bodies(b"no picture"):
        await error(service, **bad)
    assert service.admission.taken == 0


async def test_a_host_that_is_slow_loses_its_place_when_the_service_is_full(
    start: Start, photo: bytes
) -> None:
    async def stall(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(photo[:4])
        await asyncio.Event().wait()
        return response

    async with RemoteHost({"/p": stall}) as host:
        service = await start(
            queue_size=1, remote_pictures=remote(host, "a.example"), slow_clients=SlowClients(min_age=0.01)
        )
        slow = [asyncio.create_task(send_any(service, "http://a.example/p")) for _ in range(2)]
        await service.until(lambda: len(host.requests) == 2)
        await asyncio.sleep(0.02)
        await send(service, form(image_file=photo))
        done, waiting = await asyncio.wait(slow, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [400]
        for task in waiting:
            task.cancel()


async def send_any(service: Service, address: str) -> int:
    async with service.client.post(PATH, json={"image_url": address}) as response:
        return response.status


async def test_work_on_a_body_that_takes_too_long_or_finds_no_memory_has_words(
    start: Start, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await start(request_timeout=0.2)
    release = threading.Event()
    text = {"image_file_b64": base64.b64encode(photo).decode()}

    def slow(*_: object) -> bytes:
        release.wait(20)
        return photo

    def hungry(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(reading.base64, "b64decode", lambda *_, **__: slow())
    assert await error(service, json=text, status=504) == "deadline_exceeded"
    release.set()
    monkeypatch.setattr(reading.base64, "b64decode", lambda *_, **__: hungry())
    assert await error(service, json=text, status=503) == "unavailable"
    await service.until(lambda: service.admission.taken == 0)
