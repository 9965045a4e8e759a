"""Every row of the table of status codes in the README, over a real connection."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from aiohttp import FormData
from PIL import Image

from service.engines.protocol import RGB, Alpha, DeviceError, EngineInfo, OutOfMemory, WeightsUnavailable
from tests.support import heic_files, photos
from tests.support.photos import encoded
from tests.support.running_service import Service, Start
from tests.support.scripted_engine import WEIGHTS_HASH, Hold, ScriptedEngine
from tests.support.waiting import until

RAW = {"Content-Type": "application/octet-stream"}

TURNED_HEIC = heic_files.grid((b"irot", b"\3"))


def error_of(body: bytes) -> dict[str, Any]:
    answer = json.loads(body)
    assert set(answer) == {"error"}
    assert set(answer["error"]) == {"code", "message", "request_id"}
    error: dict[str, Any] = answer["error"]
    for leak in ("Traceback", "/site-packages", "PIL", "aiohttp", 'File "'):
        assert leak not in error["message"]
    return error


def form(**fields: Any) -> FormData:
    data = FormData(default_to_multipart=True)
    for name, value in fields.items():
        if isinstance(value, bytes):
            data.add_field(name, value, filename="photo.png", content_type="image/png")
        else:
            data.add_field(name, value)
    return data


@pytest.mark.parametrize("field", ["image", "file", "image_file"])
async def test_a_form_with_a_picture_gets_a_cut_out_of_its_size(
    start: Start, photo: bytes, field: str
) -> None:
    service = await start()
    status, body, headers = await service.post(form(**{field: photo}), headers={})
    assert status == 200
    assert headers["Content-Type"] == "image/png"
    assert headers["X-Engine"] == "inspyrenet"
    assert headers["X-Weights"] == WEIGHTS_HASH.removeprefix("sha256:")[:12]
    assert headers["X-Request-Id"]
    assert {part.split(";")[0].strip() for part in headers["Server-Timing"].split(",")} == {
        "queue", "decode", "infer", "compose", "encode",
    }  # fmt: skip
    with Image.open(io.BytesIO(body)) as image:
        assert (image.mode, image.size) == ("RGBA", (40, 30))


async def test_an_answer_names_the_engine_and_the_weights_that_made_it_and_not_what_came_after(
    start: Start, photo: bytes
) -> None:
    class Replaced(ScriptedEngine):
        """Another engine takes its place while a client's picture is being composed."""

        replacement: EngineInfo | None = None

        def foreground(self, image: RGB, alpha: Alpha) -> RGB:
            if self.replacement is not None:
                self.name, self.info = self.replacement.engine, self.replacement
            return image

    scripted = Replaced()
    service = await start(scripted)
    assert scripted.info is not None
    scripted.replacement = replace(scripted.info, engine="u2netp", weights_hash="sha256:ffffffffffffffff")
    for engine, weights in (("inspyrenet", "0123456789ab"), ("u2netp", "ffffffffffff")):
        status, _, headers = await service.post(photo)
        assert (status, headers["X-Engine"], headers["X-Weights"]) == (200, engine, weights)


@pytest.mark.parametrize(
    "content_type", ["image/png", "image/jpeg", "image/whatever", "application/octet-stream"]
)
async def test_raw_bytes_of_any_claimed_image_type_get_a_cut_out(
    start: Start, photo: bytes, content_type: str
) -> None:
    service = await start()
    status, _, _ = await service.post(photo, headers={"Content-Type": content_type})
    assert status == 200


@pytest.mark.parametrize("content_type", ["image/heic", "image/heif", "application/octet-stream"])
async def test_an_iphones_picture_gets_a_cut_out_of_its_upright_size(start: Start, content_type: str) -> None:
    service = await start()
    status, body, _ = await service.post(TURNED_HEIC, headers={"Content-Type": content_type})
    assert status == 200
    with Image.open(io.BytesIO(body)) as image:
        assert image.size == (64, 96)


@pytest.mark.parametrize(
    ("query", "fields", "content_type", "mode"),
    [
        ("?output=mask", {}, "image/png", "L"),
        ("?output=white&format=jpeg", {}, "image/jpeg", "RGB"),
        ("", {"output": "%23ff0000".replace("%23", "#"), "format": "webp"}, "image/webp", "RGB"),
        ("?format=jpeg", {"output": "blur"}, "image/jpeg", "RGB"),
        ("?threshold=0.5&reverse=true", {}, "image/png", "RGBA"),
        ("?output=overlay&format=avif", {}, "image/avif", "RGB"),
    ],
)
async def test_parameters_come_by_query_or_by_form(
    start: Start, photo: bytes, query: str, fields: dict[str, str], content_type: str, mode: str
) -> None:
    service = await start()
    status, body, headers = await service.post(form(image=photo, **fields), f"/process{query}", headers={})
    assert (status, headers["Content-Type"]) == (200, content_type)
    with Image.open(io.BytesIO(body)) as image:
        assert image.mode == mode


BAD_BODIES: list[tuple[str, Any, dict[str, str], int, str]] = [
    ("empty raw body", b"", RAW, 400, "bad_request"),
    ("no type, no body", None, {}, 400, "bad_request"),
    ("form without a picture", lambda p: form(output="mask"), {}, 400, "bad_request"),
    ("form with two pictures", lambda p: form(image=p, file=p), {}, 400, "bad_request"),
    ("form with an empty picture", lambda p: form(image=b""), {}, 400, "bad_request"),
    ("file under another name", lambda p: form(photo=p), {}, 400, "bad_request"),
    (
        "malformed multipart",
        b"this is no multipart at all",
        {"Content-Type": "multipart/form-data; boundary=xyz"},
        400,
        "bad_request",
    ),
    ("multipart without boundary", b"--x--", {"Content-Type": "multipart/form-data"}, 400, "bad_request"),
    (
        "truncated multipart",
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\nabc',
        {"Content-Type": "multipart/form-data; boundary=x"},
        400,
        "bad_request",
    ),
    (
        "nameless part",
        b"--x\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--x--\r\n",
        {"Content-Type": "multipart/form-data; boundary=x"},
        400,
        "bad_request",
    ),
    ("other multipart", b"--x--", {"Content-Type": "multipart/mixed; boundary=x"}, 415, "unsupported_type"),
    (
        "a form without files",
        b"a=b",
        {"Content-Type": "application/x-www-form-urlencoded"},
        415,
        "unsupported_type",
    ),
    ("text", b"hello, this is no picture", RAW, 415, "unsupported_type"),
    (
        "svg",
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        {"Content-Type": "image/svg+xml"},
        415,
        "unsupported_type",
    ),
    ("a format off the list", encoded(file_format="PPM"), RAW, 415, "unsupported_type"),
    ("truncated picture", encoded()[:-40], RAW, 422, "undecodable"),
    ("too many pixels", photos.png_claiming(100_000, 100_000), RAW, 422, "bad_dimensions"),
    ("zero-sized", photos.png_claiming(0, 10), RAW, 422, None),  # type: ignore[list-item]
    ("data that its header belies", photos.png_claiming(100, 100), RAW, 422, "undecodable"),
    ("a compressed body", gzip.compress, RAW | {"Content-Encoding": "gzip"}, 415, "unsupported_type"),
]


@pytest.mark.parametrize(
    ("name", "body", "headers", "status", "code"), BAD_BODIES, ids=[row[0] for row in BAD_BODIES]
)
async def test_a_bad_body_gets_its_status_and_its_code(
    start: Start, photo: bytes, name: str, body: Any, headers: dict[str, str], status: int, code: str | None
) -> None:
    service = await start()
    got, answer, _ = await service.post(body(photo) if callable(body) else body, headers=headers)
    error = error_of(answer)
    assert (got, error["code"]) == (status, code or error["code"])
    assert service.value("http_requests_total", method="POST", route="/process", code=str(status)) == 1
    assert (await service.post(photo))[0] == 200


@pytest.mark.parametrize(
    "query",
    [
        "output=png", "output=rgb", "output=map", "output=../../etc/passwd.png", "output=%23ff00", "format=bmp",
        "format=jpeg", "threshold=2", "threshold=nan", "threshold=x", "threshold=", "reverse=maybe", "nonsense=1",
        "output=mask&output=rgba",
    ],
)  # fmt: skip
async def test_a_bad_parameter_is_400_before_the_body_is_read(start: Start, query: str) -> None:
    service = await start()
    status, body, _ = await service.post(b"not even a picture", f"/process?{query}")
    assert (status, error_of(body)["code"]) == (400, "bad_parameter")
    assert service.value("rejections_total", reason="parameter") == 1


async def test_a_parameter_in_query_and_form_is_a_duplicate(start: Start, photo: bytes) -> None:
    service = await start()
    status, body, _ = await service.post(form(image=photo, output="mask"), "/process?output=mask", headers={})
    assert (status, error_of(body)["code"]) == (400, "bad_parameter")


async def test_a_side_too_long_for_the_format_is_422(start: Start) -> None:
    service = await start()
    status, body, _ = await service.post(encoded(16_384, 1), "/process?format=webp")
    assert (status, error_of(body)["code"]) == (422, "bad_dimensions")
    assert isinstance(service.engine, ScriptedEngine)
    assert (16_384, 1) not in service.engine.seen


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Api-Key": "wrong"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic secret"},
        {"X-Api-Key": "sécret"},
    ],
)
async def test_a_request_without_a_valid_key_is_401_and_says_how_to_send_one(
    start: Start, photo: bytes, headers: dict[str, str]
) -> None:
    service = await start(api_keys="secret,other")
    status, body, answered = await service.post(photo, headers=RAW | headers)
    assert (status, error_of(body)["code"]) == (401, "unauthorized")
    assert answered["WWW-Authenticate"].startswith("Bearer")
    assert service.value("rejections_total", reason="auth") == 1


@pytest.mark.parametrize("headers", [{"X-Api-Key": "secret"}, {"Authorization": "bearer other"}])
async def test_every_configured_key_is_valid_and_other_paths_need_none(
    start: Start, photo: bytes, headers: dict[str, str]
) -> None:
    service = await start(api_keys="secret,other")
    assert (await service.post(photo, headers=RAW | headers))[0] == 200
    for path in ("/warmup", "/readyz", "/livez", "/metrics", "/", "/openapi.json", "/docs"):
        async with service.client.get(path) as response:
            assert response.status == 200, path


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nothing", 404, None),
        ("POST", "/nothing", 404, None),
        ("GET", "/static/../settings.py", 404, None),
        ("GET", "/process", 405, "POST"),
        ("DELETE", "/process", 405, "POST"),
        ("PUT", "/warmup", 405, "GET,HEAD,POST"),
        ("POST", "/livez", 405, "GET,HEAD"),
        ("PATCH", "/readyz", 405, "GET,HEAD"),
    ],
)
async def test_unknown_paths_are_404_and_wrong_methods_405(
    start: Start, method: str, path: str, status: int, allow: str | None
) -> None:
    service = await start()
    async with service.client.request(method, path) as response:
        assert response.status == status
        assert response.headers.get("Allow") == allow
        error_of(await response.read())
    counted = {"GET": "GET", "POST": "POST"}.get(method, "other")
    route = path if status == 405 else "other"
    assert service.value("http_requests_total", method=counted, route=route, code=str(status)) == 1


async def test_a_body_that_does_not_arrive_in_time_is_408(start: Start) -> None:
    service = await start(read_timeout=0.2)

    async def trickle() -> Any:
        for _ in range(1000):
            yield b"x"
            await asyncio.sleep(0.02)

    status, body, _ = await service.post(trickle())
    assert (status, error_of(body)["code"]) == (408, "body_timeout")
    await service.until(lambda: service.admission.taken == 0)


async def raw_exchange(service: Service, request: bytes, *, body: bytes = b"") -> bytes:
    """Send bytes on a connection of their own, and return what arrives until the first answer has ended."""
    reader, writer = await asyncio.open_connection(service.client.host, service.client.port)
    writer.write(request)
    await writer.drain()
    answer = b""
    async with asyncio.timeout(20):
        while b"\r\n\r\n" not in answer:
            answer += await reader.read(65536)
        if answer.startswith(b"HTTP/1.1 100"):
            writer.write(body)
            answer += await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return answer


async def test_an_oversized_declaration_is_413_before_any_body_is_asked_for(start: Start) -> None:
    service = await start(max_upload_bytes=1000)
    answer = await raw_exchange(
        service,
        b"POST /process HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1001\r\n"
        b"Expect: 100-continue\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"100 Continue" not in answer


async def test_an_acceptable_declaration_is_invited(start: Start, photo: bytes) -> None:
    service = await start()
    answer = await raw_exchange(
        service,
        b"POST /process HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n"
        b"Expect: 100-continue\r\n\r\n" % len(photo),
        body=photo,
    )
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")


@pytest.mark.parametrize("as_form", [False, True])
async def test_a_body_that_streams_past_the_limit_is_413(start: Start, as_form: bool) -> None:
    service = await start(max_upload_bytes=100_000)

    async def chunks() -> Any:
        if as_form:
            yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        for _ in range(20):
            yield b"x" * 10_000

    content_type = "multipart/form-data; boundary=x" if as_form else "image/png"
    status, body, _ = await service.post(chunks(), headers={"Content-Type": content_type})
    assert (status, error_of(body)["code"]) == (413, "too_large")


async def test_a_request_beyond_the_last_place_is_429_with_retry_after(start: Start, photo: bytes) -> None:
    engine, hold = ScriptedEngine(), Hold()
    service = await start(engine, queue_size=1)
    engine.on_infer = hold
    tasks = [asyncio.create_task(service.post(photo)) for _ in range(2)]
    await service.until(lambda: service.admission.taken == 2)
    status, body, headers = await service.post(photo)
    assert (status, error_of(body)["code"]) == (429, "queue_full")
    assert int(headers["Retry-After"]) >= 1
    assert service.value("rejections_total", reason="queue_full") == 1
    hold.release.set()
    assert [(await task)[0] for task in tasks] == [200, 200]
    assert service.admission.taken == 0


async def test_a_request_is_504_at_its_deadline_and_its_place_comes_back_with_the_thread(
    start: Start, photo: bytes
) -> None:
    engine, hold = ScriptedEngine(), Hold()
    service = await start(engine, request_timeout=0.3)
    engine.on_infer = hold
    status, body, _ = await service.post(photo)
    assert (status, error_of(body)["code"]) == (504, "deadline_exceeded")
    assert service.admission.taken == 1, "the thread still works for the request"
    hold.release.set()
    await service.until(lambda: service.admission.taken == 0)
    assert (await service.post(photo))[0] == 200


async def test_out_of_memory_is_503_for_that_request_alone(start: Start, photo: bytes) -> None:
    engine = ScriptedEngine()
    service = await start(engine)
    usual = engine.on_infer

    def fail(_: Any) -> Any:
        engine.on_infer = usual
        raise OutOfMemory("tried to allocate 20 GiB at 0xdeadbeef")

    engine.on_infer = fail
    status, body, headers = await service.post(photo)
    assert (status, error_of(body)["code"]) == (503, "unavailable")
    assert "0xdeadbeef" not in body.decode()
    assert headers["Retry-After"]
    assert service.value("device_errors_total", kind="oom") == 1
    assert (await service.post(photo))[0] == 200


async def test_a_sticky_device_error_is_503_and_unready_at_once(start: Start, photo: bytes) -> None:
    engine = ScriptedEngine()
    service = await start(engine)

    def fail(_: Any) -> Any:
        raise DeviceError("CUDA error: an illegal memory access was encountered", sticky=True)

    engine.on_infer = fail
    assert (await service.post(photo))[0] == 503
    async with service.client.get("/readyz") as response:
        assert response.status == 503
    assert (await service.post(photo))[0] == 503
    assert service.value("device_errors_total", kind="sticky") == 1
    assert service.value("ready") == 0


async def test_an_invalid_mask_is_503_and_never_a_picture(start: Start, photo: bytes) -> None:
    engine = ScriptedEngine()
    service = await start(engine)
    engine.on_infer = lambda image: np.full(image.shape[:2], np.nan, np.float32)
    status, body, _ = await service.post(photo)
    assert (status, error_of(body)["code"]) == (503, "unavailable")


async def test_a_request_is_503_with_retry_after_while_the_load_has_failed(
    start: Start, photo: bytes
) -> None:
    engine = ScriptedEngine()

    def fail() -> None:
        raise WeightsUnavailable("no weights at /x")

    engine.on_prepare = fail
    service = await start(engine, wait=False)

    async def refused() -> bool:
        status, body, headers = await service.post(photo)
        if status == 503:
            assert error_of(body)["code"] == "unavailable"
            assert headers["Retry-After"]
        return status == 503

    await until(refused)


async def test_a_bug_is_500_and_its_message_stays_inside(start: Start, photo: bytes) -> None:
    engine = ScriptedEngine()
    service = await start(engine)

    def fail(_: Any) -> Any:
        raise ZeroDivisionError("secret internals")

    engine.on_infer = fail
    status, body, _ = await service.post(photo)
    assert (status, error_of(body)["code"]) == (500, "internal")
    assert "secret internals" not in body.decode()


async def test_a_harmless_request_id_is_kept_and_any_other_replaced(start: Start) -> None:
    service = await start()
    async with service.client.get("/nothing", headers={"X-Request-Id": "abc-123"}) as response:
        assert response.headers["X-Request-Id"] == "abc-123"
        assert error_of(await response.read())["request_id"] == "abc-123"
    async with service.client.get("/nothing", headers={"X-Request-Id": "<script>"}) as response:
        assert response.headers["X-Request-Id"] != "<script>"


async def test_cors_headers_stand_on_errors_and_preflights(start: Start) -> None:
    service = await start(cors_origins="https://shop.example")
    headers = RAW | {"Origin": "https://shop.example"}
    async with service.client.post("/process?nonsense=1", data=b"x", headers=headers) as response:
        assert response.status == 400
        assert response.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert "X-Request-Id" in response.headers["Access-Control-Expose-Headers"]
    async with service.client.options(
        "/process", headers={"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    ) as response:
        assert response.status == 204
        assert "POST" in response.headers["Access-Control-Allow-Methods"]
    async with service.client.post(
        "/process", data=b"x", headers=RAW | {"Origin": "https://evil.example"}
    ) as response:
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("path", ["/livez", "/warmup", "/process", "/nothing"])
async def test_an_unknown_expectation_gets_an_answer(start: Start, path: str) -> None:
    service = await start()
    method = "POST" if path == "/process" else "GET"
    answer = await raw_exchange(
        service, f"{method} {path} HTTP/1.1\r\nHost: x\r\nExpect: tea\r\nContent-Length: 0\r\n\r\n".encode()
    )
    assert answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4"))
    assert b"x-request-id" in answer.lower()


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/warmup", "/", "/v1.0/account"])
@pytest.mark.parametrize("expect", [b"\xd8", b"bananas", b"100-continue"])
async def test_an_odd_expect_header_is_ignored(start: Start, path: str, expect: bytes) -> None:
    service = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.client.port)
    writer.write(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: x\r\nExpect: " + expect + b"\r\n\r\n")
    async with asyncio.timeout(10):
        status = await reader.readline()
    writer.close()
    assert status.split()[1] == b"200"
