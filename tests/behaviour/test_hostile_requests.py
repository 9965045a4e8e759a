"""Hostile requests: each is refused or served, nothing leaks, and the next client notices nothing."""

from __future__ import annotations

import asyncio
import encodings
import gzip
import io
import json
import logging
import socket
import struct
import warnings
import zlib
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.support import photos
from tests.support.examples import examples
from tests.support.photos import encoded
from tests.support.raw_http import chunked, exchange, head
from tests.support.running_service import Service, Start

FORM = "Content-Type: multipart/form-data; boundary=x"
PICTURE = b'Content-Disposition: form-data; name="image"; filename="a.png"'


def part(headers: bytes, body: bytes = b"") -> bytes:
    return b"--x\r\n" + headers + b"\r\n\r\n" + body + b"\r\n"


async def refusal(service: Service, sent: bytes) -> tuple[int, str]:
    """Status and code of the one answer. Afterwards the service must serve the next picture."""
    [answer] = await exchange(service, sent)
    code = json.loads(answer.body)["error"]["code"] if answer.status != 200 else ""
    assert (await service.post(encoded()))[0] == 200
    await service.until(lambda: service.admission.taken == 0)
    return answer.status, code


# -- forms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "status"),
    [
        (part(b"Content-Type: multipart/mixed; boundary=y", b"--y\r\n\r\nabc\r\n--y--") + b"--x--\r\n", 400),
        (part(b"Content-Type: multipart/mixed") * 3 + b"--x--\r\n", 400),
        (part(PICTURE, b"abc") * 2 + b"--x--\r\n", 400),
        (part(b'Content-Disposition: form-data; name="output"', b"mask") * 2 + b"--x--\r\n", 400),
        (part(b'Content-Disposition: form-data; name=""', b"mask") + b"--x--\r\n", 400),
        (part(b'Content-Disposition: form-data; name="a"', b"b") * 17 + b"--x--\r\n", 400),
        (part(b'Content-Disposition: form-data; name="output"', b"m" * 2000) + b"--x--\r\n", 400),
        (part(b'Content-Disposition: form-data; name="output"', b"\xff\xfe") + b"--x--\r\n", 400),
        (part(PICTURE + b"\r\nContent-Encoding: gzip", gzip.compress(b"abc")) + b"--x--\r\n", 400),
        (part(PICTURE + b"\r\nContent-Transfer-Encoding: base64", b"YWJj") + b"--x--\r\n", 400),
        (part(b"X: " + b"y" * 20_000) + b"--x--\r\n", 400),
        (part(b"\r\n".join(b"X-%d: y" % i for i in range(500))) + b"--x--\r\n", 400),
        (part(b"no colon at all") + b"--x--\r\n", 400),
        (b"--another\r\n" + PICTURE + b"\r\n\r\nabc\r\n--another--\r\n", 400),
        (b"--x--\r\n", 400),
        (part(PICTURE, b"abc"), 400),  # no end
        (part(b'Content-Disposition: form-data; name="_charset_"', b"utf-99") + b"--x--\r\n", 400),
        (part(b'Content-Disposition: form-data; name="\xc3\xa9"', b"x") + b"--x--\r\n", 400),
        (b"preamble\r\n" + part(PICTURE, encoded()) + b"--x--\r\nepilogue", 200),
    ],
)  # fmt: skip
async def test_a_form_that_is_not_one_picture_and_known_fields_is_refused(
    start: Start, form: bytes, status: int
) -> None:
    service = await start()
    assert (await refusal(service, head(len(form), FORM) + form))[0] == status


@pytest.mark.parametrize("boundary", ["", '""', "y" * 71, "\xe9", '"y'])
async def test_a_form_with_an_invalid_boundary_is_400(start: Start, boundary: str) -> None:
    service = await start()
    form = part(PICTURE, b"abc") + b"--x--\r\n"
    declared = f"Content-Type: multipart/form-data; boundary={boundary}"
    assert await refusal(service, head(len(form), declared) + form) == (400, "bad_request")


async def test_bytes_outside_the_parts_of_a_form_count_towards_the_limit(start: Start) -> None:
    """The body is streamed, so only its length as it arrives can show that it is too long."""
    service = await start(max_upload_bytes=10_000)
    preamble = b"not yet\r\n" * 100_000
    sent = head(None, FORM, "Transfer-Encoding: chunked") + chunked(preamble)
    assert await refusal(service, sent) == (413, "too_large")


@pytest.mark.filterwarnings("default::aiohttp.BadContentDispositionHeader")
async def test_a_header_that_a_client_got_wrong_is_not_remembered(start: Start) -> None:
    """Python keeps every text of a warning for ever, so clients could fill the memory with such headers."""
    service = await start()
    with warnings.catch_warnings(record=True) as caught:
        form = part(b"Content-Disposition: form-data; name=secret-4711; =") + b"--x--\r\n"
        assert (await refusal(service, head(len(form), FORM) + form))[0] == 400
    assert not caught


@pytest.mark.parametrize(
    "parameter", ["name*={}''%61", "name*0*={}''%61", "name=a; filename*={}''%61", "name*=\"{}''a\""]
)
async def test_a_character_set_that_a_client_made_up_is_not_remembered(start: Start, parameter: str) -> None:
    """Python keeps every name of a codec for ever, so clients could fill the memory with such names."""
    service = await start()
    before = set(encodings._cache)  # type: ignore[attr-defined]
    for number in range(20):
        disposition = parameter.format(f"madeup{number}")
        form = part(f"Content-Disposition: form-data; {disposition}".encode()) + b"--x--\r\n"
        assert (await refusal(service, head(len(form), FORM) + form))[0] == 400
    assert not [name for name in set(encodings._cache) - before if "madeup" in name]  # type: ignore[attr-defined]


async def test_a_name_in_utf_8_is_understood(start: Start) -> None:
    service = await start()
    form = (
        part(b"Content-Disposition: form-data; name=image; filename*=UTF-8''f%C3%BC.png", encoded())
        + b"--x--\r\n"
    )
    assert (await refusal(service, head(len(form), FORM) + form))[0] == 200


@pytest.mark.parametrize(
    "accept",
    ["application/openmetrics-text;version=x", "application/openmetrics-text;version=\xff;q=zz", "*/*;q="],
)
async def test_a_scraper_that_asks_for_nonsense_gets_the_text(start: Start, accept: str) -> None:
    service = await start()
    async with service.client.get("/metrics", headers={"Accept": accept}) as response:
        assert response.status == 200
        assert "inspyrenet_warmup_success" in await response.text()


# -- bodies --------------------------------------------------------------------------------------------------


@cache
def bomb() -> bytes:
    """A hundred megabytes of zeros in a hundred kilobytes."""
    return gzip.compress(bytes(100_000_000), 9)


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "br", "zstd", "gzip, gzip", "unknown"])
async def test_a_compressed_body_is_415_and_never_inflated(
    start: Start, coding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiohttp.compression_utils import ZLibDecompressor

    def inflate(*_: Any, **__: Any) -> None:
        raise AssertionError("inflated")

    monkeypatch.setattr(ZLibDecompressor, "decompress_sync", inflate)
    service = await start()
    [answer] = await exchange(service, head(len(bomb()), f"Content-Encoding: {coding}") + bomb())
    assert answer.status == 415
    assert answer.headers["accept-encoding"] == "identity"
    assert (await service.post(encoded()))[0] == 200


async def test_a_chunked_body_needs_no_length(start: Start) -> None:
    service = await start()
    picture = encoded()
    sent = head(None, "Transfer-Encoding: chunked")
    [whole] = await exchange(service, sent + chunked(picture))
    [pieces] = await exchange(service, sent + chunked(*(picture[i : i + 1] for i in range(len(picture)))))
    assert whole.status == pieces.status == 200
    assert whole.body == pieces.body


@pytest.mark.parametrize(
    "body",
    [b"zz\r\nabc\r\n", b"-1\r\nabc\r\n", b"5\r\nabc\r\n0\r\n\r\n", b"3\r\nabcX", b"\r\n", b"ffffffffffffffffff\r\n"],
)  # fmt: skip
async def test_broken_chunks_are_400_and_end_the_connection(start: Start, body: bytes) -> None:
    service = await start()
    sent = head(None, "Transfer-Encoding: chunked") + body + head(None, path="/livez", method="GET")
    answers = await exchange(service, sent, answers=3)
    assert [answer.status for answer in answers][:1] == [400]
    assert 200 not in [answer.status for answer in answers], "what follows broken framing is no request"
    assert (await service.post(encoded()))[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        ["Transfer-Encoding: chunked", "Content-Length: 5"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: -5"],
        ["Content-Length: +5"],
        ["Content-Length: 5, 5"],
        ["Content-Length: 99999999999999999999999"],
        ["Transfer-Encoding: gzip"],
        ["Transfer-Encoding: chunked, chunked"],
        ["Transfer-Encoding : chunked"],
    ],
)
async def test_a_body_with_two_possible_ends_is_refused(start: Start, headers: list[str]) -> None:
    """Otherwise a proxy and the service could disagree about where it ends: request smuggling."""
    service = await start()
    [answer] = await exchange(service, head(None, *headers) + b"0\r\n\r\n")
    assert answer.status in {400, 413}
    assert (await service.post(encoded()))[0] == 200


# -- connections ---------------------------------------------------------------------------------------------


async def test_pipelined_requests_are_answered_in_order(start: Start) -> None:
    service = await start()
    picture, small = encoded(), encoded(8, 8)
    sent = b"".join(
        [
            head(len(picture)) + picture,
            head(None, path="/livez", method="GET"),
            head(len(b"junk")) + b"junk",
            head(len(small), path="/process?output=mask") + small,
        ]
    )
    answers = await exchange(service, sent, answers=4)
    assert [answer.status for answer in answers] == [200, 200, 415, 200]
    with Image.open(io.BytesIO(answers[3].body)) as image:
        assert (image.mode, image.size) == ("L", (8, 8))


async def test_thousands_of_pipelined_requests_are_not_taken_in_at_once(start: Start) -> None:
    service = await start()
    one = head(None, path="/livez", method="GET")
    answers = await exchange(service, one * 3000, answers=3000)
    assert {answer.status for answer in answers} == {200}
    assert len(answers) == 3000


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS to a plain port
        b"GET / HTTP/1.1\r\nX-Api-Key: secret-4711\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header secret-4711\r\n\r\n",
        b"GET /\xff\xfe HTTP/9.9\r\n\r\n",
        b"secret-4711\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: secret-4711\r\n\r\n",
    ],
)
async def test_malformed_http_is_400_and_its_content_stays_out_of_the_log(
    start: Start, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    service = await start()
    with caplog.at_level(logging.DEBUG):
        [answer] = await exchange(service, sent)
    assert answer.status == 400
    for leak in (b"Traceback", b"/site-packages", b'File "'):
        assert leak not in answer.body
    assert "4711" not in caplog.text
    assert "Traceback" not in caplog.text


TARGETS = [
    "//process", "/process/", "/process%00", "/%70rocess", "/static/..%2fsettings.py", "/static/%2e%2e/app.py",
    "http://example.com/process", "*", "/process?%ff=%fe", "/process?" + "&" * 2000, "/process?a[b]=c;d",
    "/process?output=%00", "/process?output=mask%0d%0aX-Evil:1", "/?output=file:///etc/passwd", "/static/",
    "/.git/config", "/;x", "/%", "/\u00e9",
]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST", "TRACE", "CONNECT", "OPTIONS", "HEAD", "X"])
async def test_odd_addresses_and_methods_never_get_a_5xx(start: Start, method: str) -> None:
    service = await start()
    for target in TARGETS:
        for more in (["Connection: close"], ["Upgrade: websocket", "Connection: upgrade"]):
            sent = head(None if method == "HEAD" else 0, *more, path=target, method=method)
            [answer] = await exchange(service, sent, bodies=method != "HEAD")
            assert answer.status < 500, target
            assert "x-evil" not in answer.headers, target


# -- pictures ------------------------------------------------------------------------------------------------


def endless_gif(frames: int) -> bytes:
    image = Image.fromarray(photos.photograph(8, 8))
    out = io.BytesIO()
    more = [Image.new("RGB", (8, 8), (i % 256, i // 256, 0)) for i in range(frames)]
    image.save(out, "GIF", save_all=True, append_images=more, duration=10)
    return out.getvalue()


def endless_apng(frames: int) -> bytes:
    small = photos.save(photos.photograph(8, 8), "PNG")
    control = photos.png_chunk(b"acTL", struct.pack(">II", frames, 0))
    frame = zlib.compress(bytes(8 * 25))
    more = b"".join(
        photos.png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", 2 * i, 8, 8, 0, 0, 1, 10, 0, 0))
        + photos.png_chunk(b"fdAT", struct.pack(">I", 2 * i + 1) + frame)
        for i in range(frames)
    )
    return small[:33] + control + small[33:-12] + more + small[-12:]


@pytest.mark.parametrize("make", [endless_gif, endless_apng])
async def test_the_first_of_thousands_of_frames_is_served(start: Start, make: Any) -> None:
    service = await start()
    status, body, headers = await service.post(make(3000), "/process?output=mask")
    assert status == 200
    decode = next(part for part in headers["Server-Timing"].split(", ") if part.startswith("decode"))
    assert float(decode.partition("dur=")[2]) < 2000
    with Image.open(io.BytesIO(body)) as image:
        assert image.size == (8, 8)


@pytest.mark.parametrize("name", sorted(photos.FORMATS))
async def test_a_file_cut_short_at_any_64th_byte_is_refused_and_affects_no_other_request(
    start: Start, name: str
) -> None:
    service = await start()
    data = photos.save(photos.photograph(48, 32), name)
    before = await service.post(data)
    assert before[0] == 200
    for end in range(64, len(data), 64):
        status, _, _ = await service.post(data[:end])
        # Without its last few bytes a file can still be complete: they may be padding.
        assert status in ({415, 422} if end < len(data) - 64 else {200, 415, 422}), end
    assert (await service.post(data))[:2] == before[:2]
    assert service.admission.taken == 0


# -- random bytes -------------------------------------------------------------------------------------------

_WORDS = st.sampled_from(
    [
        b"POST /process HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n", b"Content-Length: 40\r\n",
        b"Transfer-Encoding: chunked\r\n", b"Content-Type: image/png\r\n", b"Expect: 100-continue\r\n",
        b"Content-Type: multipart/form-data; boundary=x\r\n", b"--x\r\n", b"--x--\r\n", PICTURE + b"\r\n",
        b'Content-Disposition: form-data; name="output"\r\n', b"5\r\nhello\r\n", b"0\r\n\r\n", b"?output=mask",
        b"X-Api-Key: k\r\n", b"Content-Encoding: gzip\r\n", b"Connection: close\r\n", b"Upgrade: h2c\r\n",
        *(photos.save(photos.photograph(8, 8), name) for name in sorted(photos.FORMATS)),
    ]
)  # fmt: skip
_BYTES = st.lists(st.one_of(_WORDS, _WORDS, st.binary(max_size=30)), max_size=14).map(b"".join)
_HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["Content-Type", "Content-Encoding", "Expect", "X-Request-Id", "Authorization", "Accept"]),
        st.one_of(
            st.sampled_from(["multipart/form-data; boundary=x", "image/png", "100-continue", "gzip", ";", "a/b;c"]),
            st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20),
        ),
    ),
    max_size=4,
)  # fmt: skip


async def test_random_bytes_never_get_a_5xx(start: Start) -> None:
    service = await start(read_timeout=0.3)
    host, port = service.client.host, service.client.port
    control = await service.post(encoded())

    def send(data: bytes) -> list[bytes]:
        with socket.create_connection((host, port), timeout=10) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            try:
                while chunk := connection.recv(1 << 16):
                    received += chunk
            except ConnectionError:
                pass
        return [line for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]

    @given(_BYTES)
    @settings(max_examples=examples(400), deadline=None, suppress_health_check=list(HealthCheck))
    def any_bytes(data: bytes) -> None:
        assert not [line for line in send(data) if line[9:10] == b"5"]

    @given(_HEADERS, _BYTES)
    @settings(max_examples=examples(400), deadline=None, suppress_health_check=list(HealthCheck))
    def any_body(headers: list[tuple[str, str]], data: bytes) -> None:
        lines = [f"{name}: {value}" for name, value in headers]
        assert not [line for line in send(head(len(data), *lines) + data) if line[9:10] == b"5"]

    await asyncio.to_thread(any_bytes)
    await asyncio.to_thread(any_body)
    assert (await service.post(encoded()))[:2] == control[:2]
    await service.until(lambda: service.admission.taken == 0)
    assert service.value("http_requests_total", method="POST", route="/process", code="500") == 0
