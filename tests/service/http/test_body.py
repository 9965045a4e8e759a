"""Bodies of requests: which are refused by their headers and which by their bytes, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from unittest import mock

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadRequest, BodyTimeout, ServiceError, TooLarge, UnsupportedType
from service.http import body
from service.http.parameters import IGNORED_FIELDS
from service.imaging.header import Header, read_header
from tests.support.photos import encoded
from tests.support.waiting import let_run

LIMIT = 1000
RAW = {"Content-Type": "image/png"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def part(headers: str, content: bytes = b"picture") -> bytes:
    return b"--x\r\nContent-Disposition: form-data; " + headers.encode() + b"\r\n\r\n" + content + b"\r\n"


def request(headers: dict[str, str], content: bytes = b"", *, ended: bool = True) -> web.Request:
    loop = asyncio.get_running_loop()
    stream = StreamReader(mock.create_autospec(BaseProtocol, instance=True), 1 << 16, loop=loop)
    if content:
        stream.feed_data(content)
    if ended:
        stream.feed_eof()
    return make_mocked_request("POST", "/process", headers, payload=stream)


async def read(
    headers: dict[str, str],
    content: bytes,
    *,
    seconds: float = 20,
    on_header: Callable[[Header], None] = lambda _: None,
    text_fields: Collection[str] | None = None,
) -> body.Body:
    return await body.read(
        request(headers, content, ended=seconds == 20),
        max_upload_bytes=LIMIT,
        deadline=asyncio.timeout(seconds),
        on_header=on_header,
        text_fields=text_fields,
    )


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        (RAW, None),
        ({"Content-Type": "application/octet-stream"}, None),
        (FORM, None),
        (RAW | {"Content-Length": str(LIMIT)}, None),
        (RAW | {"Content-Length": str(LIMIT + 1)}, TooLarge),
        (FORM | {"Content-Length": str(LIMIT + 1)}, None),
        (FORM | {"Content-Length": str(LIMIT + body.MULTIPART_OVERHEAD + 1)}, TooLarge),
        (RAW | {"Content-Length": "0"}, BadRequest),
        ({"Content-Type": "text/plain"}, UnsupportedType),
        ({"Content-Type": "multipart/mixed; boundary=x"}, UnsupportedType),
        (RAW | {"Content-Encoding": "gzip"}, UnsupportedType),
        (RAW | {"Content-Encoding": "identity"}, None),
    ],
)
async def test_headers_alone_can_be_enough_to_refuse(
    headers: dict[str, str], error: type[ServiceError] | None
) -> None:
    sent = request(headers, b"picture")
    if error is None:
        body.check_headers(sent, LIMIT)
        return
    with pytest.raises(error):
        body.check_headers(sent, LIMIT)


async def test_a_request_without_a_body_is_told_to_send_an_image() -> None:
    with pytest.raises(BadRequest, match=r"The body is empty\. Send an image file\."):
        body.check_headers(request(RAW), LIMIT)
    with pytest.raises(BadRequest, match=r"The body is empty\. Send an image file\."):
        await read(RAW, b"")


async def test_raw_bytes_are_the_picture() -> None:
    received = await read(RAW, b"picture")
    assert (received.image.take(), received.fields) == (b"picture", ())


async def test_the_fields_of_a_form_keep_their_order_and_their_duplicates() -> None:
    form = part('name="b"', b"1") + part('name="image"; filename="a.png"') + part('name="a"', b"2")
    form += part('name="b"', b"3") + b"--x--\r\n"
    received = await read(FORM, form)
    assert received.image.take() == b"picture"
    assert received.fields == (("b", "1"), ("a", "2"), ("b", "3"))


@pytest.mark.parametrize("first", ["image", "background"])
async def test_a_form_may_have_a_background_before_or_behind_its_picture(first: str) -> None:
    parts = {
        "image": part('name="image"; filename="a.png"'),
        "background": part('name="background"', b"second"),
    }
    last = ({"image", "background"} - {first}).pop()
    received = await read(FORM, parts[first] + parts[last] + b"--x--\r\n")
    assert received.image.take() == b"picture"
    assert received.background is not None
    assert received.background.take() == b"second"
    assert (await read(FORM, part('name="image"') + b"--x--\r\n")).background is None


async def test_empty_file_parts_of_inputs_without_a_chosen_file_are_ignored() -> None:
    unchosen = [part(f'name="{name}"; filename=""', b"") for name in ("image", "file", "background")]
    for parts in ([part('name="image_file"'), *unchosen], [*unchosen, part('name="image_file"')]):
        received = await read(FORM, b"".join(parts) + b"--x--\r\n")
        assert (received.image.take(), received.background) == (b"picture", None)


async def test_text_that_no_parameter_needs_may_be_long_and_a_background_may_be_anything() -> None:
    form = part('name="extras"', b"x" * (body.MAX_FIELD_BYTES + 1)) + part('name="background"', b"red") * 2
    form += part('name="om"', b"true") + part('name="image"') + b"--x--\r\n"
    received = await read(FORM, form, text_fields=("om",))
    assert received.fields == (("extras", ""), ("background", ""), ("background", ""), ("om", "true"))
    assert received.background is None


@pytest.mark.parametrize(("first", "second"), [("image", "background"), ("background", "image")])
async def test_both_pictures_together_are_bounded(first: str, second: str) -> None:
    def form(length: int) -> bytes:
        pictures = part(f'name="{first}"', b"x" * 600) + part(f'name="{second}"', b"x" * length)
        return pictures + b"--x--\r\n"

    await read(FORM, form(LIMIT - 600))
    with pytest.raises(TooLarge, match="second picture counts"):
        await read(FORM, form(LIMIT - 599))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (b"--x--\r\n", "The form is empty"),
        (part('name="a"') + b"--x--\r\n", "has no image"),
        (part('name="file"') * 2 + b"--x--\r\n", "more than one image"),
        (part('name="image"', b"") + b"--x--\r\n", "The image in the form is empty"),
        (part('name="image"') + part('name="background"') * 2 + b"--x--\r\n", "more than one background"),
        (part('name="background"') + b"--x--\r\n", "has no image"),
        (
            part('name="photo"; filename="a.png"') + b"--x--\r\n",
            "must be called 'image', 'file' or 'image_file'",
        ),
        (part('name="a"', b"x" * (body.MAX_FIELD_BYTES + 1)) + b"--x--\r\n", "longer than 1024 bytes"),
        (part('name="a"') * (body.MAX_PARTS + 1) + b"--x--\r\n", f"more than {body.MAX_PARTS} parts"),
        (part("name*=koi8-r''a") + b"--x--\r\n", "encoded in UTF-8"),
        (part('name="image"'), "malformed"),
        (b"not a form", "malformed"),
    ],
)
async def test_a_form_without_one_picture_and_plain_fields_is_refused(form: bytes, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        await read(FORM, form)


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        (RAW, bytes(LIMIT + 1)),
        (FORM, part('name="image"', bytes(LIMIT + 1)) + b"--x--\r\n"),
        (FORM, b"preamble\r\n" * 100_000),
    ],
    ids=["raw", "part", "outside the parts"],
)
async def test_a_body_that_is_longer_than_declared_is_too_large(
    headers: dict[str, str], content: bytes
) -> None:
    with pytest.raises(TooLarge, match=f"limit of {LIMIT} bytes"):
        await read(headers, content)


@pytest.mark.parametrize("headers", [RAW, FORM])
async def test_a_body_that_stops_is_a_timeout(headers: dict[str, str]) -> None:
    with pytest.raises(BodyTimeout):
        await read(headers, b"--x\r\n", seconds=0.01)


@pytest.mark.parametrize("headers", [RAW, FORM], ids=["raw", "form"])
async def test_the_header_of_the_picture_is_reported_once(headers: dict[str, str]) -> None:
    picture = encoded(20, 10)
    content = picture if headers is RAW else part('name="image"', picture) + b"--x--\r\n"
    found: list[Header] = []
    await read(headers, content, on_header=found.append)
    assert found == [Header("PNG", (20, 10))]


async def test_a_picture_that_comes_byte_by_byte_is_looked_at_a_few_times_only() -> None:
    picture, found = encoded(20, 10), list[Header]()
    sent = request(RAW, ended=False)
    reading = asyncio.create_task(
        body.read(sent, max_upload_bytes=LIMIT, deadline=asyncio.timeout(20), on_header=found.append)
    )
    with mock.patch("service.http.header_watch.read_header", wraps=read_header) as look:
        for at in range(len(picture)):
            sent.content.feed_data(picture[at : at + 1])
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        sent.content.feed_eof()
        await reading
    assert found == [Header("PNG", None), Header("PNG", (20, 10))]
    assert look.call_count <= 7


async def test_what_the_header_says_can_end_the_reading_before_the_body_is_there() -> None:
    def refuse(_: Header) -> None:
        raise TooLarge("no")

    sent = request(RAW, encoded(20, 10)[:40], ended=False)
    reading = asyncio.create_task(
        body.read(sent, max_upload_bytes=LIMIT, deadline=asyncio.timeout(20), on_header=refuse)
    )
    await let_run()
    assert reading.done()
    with pytest.raises(TooLarge):
        await reading


@pytest.mark.parametrize(
    "file_name",
    [
        "2*3=6.jpg",
        "a(1).jpg",
        '"2*3=6.jpg"',
        '""',
        "",
        '"\x00\x01\r\x7f.jpg"',
        '"\\"',
        '"caf\xe9.jpg"',
        "a;b=c",
        '"a"b"c"',
    ],
)
async def test_a_file_name_is_the_senders_business(file_name: str) -> None:
    form = b"--x\r\nContent-Disposition: form-data; name=image; filename=" + file_name.encode("latin-1")
    received = await read(FORM, form + b"\r\n\r\npicture\r\n--x--\r\n")
    assert received.image.take() == b"picture"


@given(st.binary(max_size=200))
def test_any_bytes_may_be_a_file_name(name: bytes) -> None:
    name = name.replace(b"\n", b"")  # it would end the header
    form = b'--x\r\nContent-Disposition: form-data; name="image"; filename="' + name
    received = asyncio.run(read(FORM, form + b'"\r\n\r\npicture\r\n--x--\r\n'))
    assert received.image.take() == b"picture"


@pytest.mark.parametrize("name", sorted(IGNORED_FIELDS))
async def test_a_field_that_browsers_and_frameworks_add_is_ignored(name: str) -> None:
    form = part(f'name="{name}"', b"\xe2\x9c\x93 \xff") + part('name="image"; filename="a"') + b"--x--\r\n"
    received = await read(FORM, form)
    assert received.image.take() == b"picture"
    assert received.fields == ()


async def test_a_form_is_read_to_its_end_even_behind_its_last_boundary() -> None:
    form = part('name="image"') + b"--x--\r\n" + b"epilogue\r\n" * 10
    sent = request(FORM, form)
    received = await body.read(sent, max_upload_bytes=LIMIT, deadline=asyncio.timeout(20))
    assert received.image.take() == b"picture"
    assert sent.content.at_eof()
