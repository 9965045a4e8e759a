"""API keys, origins, and what answers and the log must not contain."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from tests.support.photos import encoded
from tests.support.raw_http import exchange, head
from tests.support.running_service import Start
from tests.support.scripted_engine import ScriptedEngine

SHOP = "https://shop.example"
PICTURE = {"Content-Type": "image/png"}


async def test_keys_are_rotated_through_the_file_without_a_restart(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    await asyncio.to_thread(file.write_text, "# of the shop\nold  # until Monday\n\n")
    service = await start(api_keys_file=file)

    async def opens(key: str) -> bool:
        status = (await service.post(encoded(), headers=PICTURE | {"X-Api-Key": key}))[0]
        assert status in {200, 401}
        return status == 200

    assert await opens("old")
    for text, good, bad in [
        ("old\nnew\n", ["old", "new"], ["none"]),
        ("new\n", ["new"], ["old"]),
        ("abc\n", ["abc"], ["new"]),  # as long as before, and within the same tick of the clock
        ("", [], ["abc", "", "#"]),
    ]:
        await asyncio.to_thread(file.write_text, text)
        assert [await opens(key) for key in good] == [True] * len(good)
        assert [await opens(key) for key in bad] == [False] * len(bad)


async def test_a_file_of_keys_that_is_gone_admits_no_key(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    await asyncio.to_thread(file.write_text, "key\n")
    service = await start(api_keys_file=file)
    headers = PICTURE | {"X-Api-Key": "key"}
    assert (await service.post(encoded(), headers=headers))[0] == 200
    await asyncio.to_thread(file.unlink)
    status, body, _ = await service.post(encoded(), headers=headers)
    assert status == 503
    assert str(tmp_path).encode() not in body
    await asyncio.to_thread(file.write_text, "key\n")
    assert (await service.post(encoded(), headers=headers))[0] == 200


async def test_the_key_is_checked_before_anything_is_taken_or_read(start: Start) -> None:
    service = await start(api_keys="key")
    [answer] = await exchange(service, head(20_000_000, "Expect: 100-continue"))
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert service.admission.taken == 0


@pytest.mark.parametrize("origins", [SHOP, "*"])
async def test_a_cut_out_an_error_and_a_preflight_carry_the_origin(start: Start, origins: str) -> None:
    service = await start(cors_origins=origins)
    allowed = SHOP if origins == SHOP else "*"
    for path, method, status in [
        ("/process", "POST", 200),
        ("/process?x=y", "POST", 400),
        ("/warmup", "GET", 200),
        ("/none", "GET", 404),
    ]:
        async with service.client.request(
            method, path, data=encoded() if method == "POST" else None, headers=PICTURE | {"Origin": SHOP}
        ) as response:
            assert response.status == status
            assert response.headers["Access-Control-Allow-Origin"] == allowed
            exposed = response.headers["Access-Control-Expose-Headers"]
            for name in ("Retry-After", "X-Request-Id", "X-Engine", "X-Weights", "Server-Timing"):
                assert name in exposed
            assert ("Origin" in response.headers.get("Vary", "")) == (allowed == SHOP)
            assert "Access-Control-Allow-Credentials" not in response.headers
    preflight = {
        "Origin": SHOP,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-api-key",
    }
    async with service.client.options("/process", headers=preflight) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == allowed
        assert "X-Api-Key" in response.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://shop.example.evil.example", "http://shop.example", ""]
)
async def test_another_origin_gets_no_cors_header(start: Start, origin: str) -> None:
    service = await start(cors_origins=SHOP)
    async with service.client.options(
        "/process", headers={"Origin": origin, "Access-Control-Request-Method": "POST"}
    ) as response:
        assert response.status == 405
        assert "Access-Control-Allow-Origin" not in response.headers
    status, _, headers = await service.post(encoded(), headers=PICTURE | {"Origin": origin})
    assert status == 200
    assert "Access-Control-Allow-Origin" not in headers


async def test_answers_have_no_cors_header_unless_origins_are_configured(start: Start) -> None:
    service = await start()
    _, _, headers = await service.post(encoded(), headers=PICTURE | {"Origin": SHOP})
    assert not [name for name in headers if name.lower().startswith("access-control")]


async def test_pages_run_only_their_own_scripts_and_refuse_to_be_framed(start: Start) -> None:
    service = await start()
    for path in ("/", "/docs", "/static/app.js"):
        async with service.client.get(path) as response:
            if response.status == 404:
                continue
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert response.headers["Referrer-Policy"] == "no-referrer"


async def test_answers_do_not_name_the_software_behind_them(start: Start) -> None:
    service = await start()
    for path in ("/", "/livez", "/readyz", "/warmup", "/metrics", "/none", "/process", "/openapi.json"):
        async with service.client.get(path) as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Server"] == "inspyrenet-api"
    status, _, headers = await service.post(encoded())
    assert (status, headers["Server"]) == (200, "inspyrenet-api")


async def test_an_address_in_a_request_is_never_fetched(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await start()
    reached: list[object] = []
    loop = asyncio.get_running_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(writer)
        writer.close()

    trap = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{trap.sockets[0].getsockname()[1]}/"
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{address}"/></svg>'
    requests = [
        service.post(address.encode()),
        service.post(svg.encode()),
        service.post(encoded(), f"/process?image={address}"),
        service.post(encoded(), f"/process?output={address}"),
        service.post(encoded(), headers=PICTURE | {"Referer": address, "X-Forwarded-Host": address}),
        service.post(encoded(), headers=PICTURE | {"Content-Location": address, "Origin": address}),
    ]
    statuses = [(await request)[0] for request in requests]
    assert statuses == [415, 415, 400, 400, 200, 200]
    for field in ("image_url", "bg_image_url"):
        async with service.client.post("/v1.0/removebg", json={field: address}) as response:
            assert response.status == 400
    async with service.client.get("/api/remove", params={"url": address}) as response:
        assert response.status == 400
    await asyncio.sleep(0)
    assert not reached
    trap.close()
    assert loop is asyncio.get_running_loop()


async def test_the_log_contains_nothing_that_a_client_sent(
    start: Start, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "secret4711"
    engine = ScriptedEngine()
    service = await start(engine, api_keys="key")
    form = (
        f'--x\r\nContent-Disposition: form-data; name="{secret}"; filename="{secret}"\r\n\r\n{secret}\r\n--x--\r\n'
    ).encode()
    with caplog.at_level(logging.DEBUG):
        for sent in [
            head(6, f"X-Api-Key: {secret}") + b"abcdef",
            head(6, f"Authorization: Bearer {secret}") + b"abcdef",
            head(6, "X-Api-Key: key", path=f"/process?{secret}={secret}") + b"abcdef",
            head(6, "X-Api-Key: key", f"Cookie: {secret}", f"User-Agent: {secret}") + b"abcdef",
            head(len(form), "X-Api-Key: key", "Content-Type: multipart/form-data; boundary=x") + form,
            head(10, "X-Api-Key: key") + secret.encode(),
            head(0, path=f"/{secret}", method="GET"),
            head(0, f"X-Request-Id: <{secret}>", path="/warmup"),
        ]:
            [answer] = await exchange(service, sent)
            assert answer.status < 500

        def fail(_: object) -> object:
            raise ZeroDivisionError

        engine.on_infer = fail  # type: ignore[assignment]
        picture = encoded()
        headers = f"X-Api-Key: key\r\nX-Secret: {secret}"
        [answer] = await exchange(service, head(len(picture), headers) + picture)
        assert answer.status == 500
    assert secret not in caplog.text
    assert secret not in "".join(capsys.readouterr())
