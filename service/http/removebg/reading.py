"""Reads the bodies of remove.bg's contract: forms with files, urlencoded forms and JSON.

``contract`` calls it while the request holds a place. A body may hold one picture in base64, which takes a third more
than its bytes, and a form a second picture for the background. So this route has a limit of its own, and every decoded
picture is held to the limit on pictures.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from dataclasses import dataclass, field
from io import BytesIO
from urllib.parse import unquote_to_bytes

from aiohttp import web

from service.errors import BadRequest, TooLarge
from service.http import body
from service.http.header_watch import HeaderWatch
from service.http.multipart import MALFORMED, Form
from service.http.picture_request import PictureRequest
from service.http.removebg.errors import RemoveBgError, two_backgrounds

FORM = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
JSON = "application/json"

PICTURE, BASE64, ADDRESS = "image_file", "image_file_b64", "image_url"
BACKGROUND, BACKGROUND_ADDRESS = "bg_image_file", "bg_image_url"

MAX_FIELDS = 64
MAX_FIELD_BYTES = 8192
MAX_JSON_SIGNS = 1024
"""Brackets and commas in JSON. Each begins a value, and a value takes up to a hundred times the memory of its text."""
ESCAPED_BYTES = 3
"""Of a byte in percent-encoding."""
PIECE_BYTES = 64 * 1024
OVERHEAD = 256 * 1024
"""Boundaries, part headers and fields may add this much to the pictures."""


@dataclass(slots=True)
class Received:
    """What a body holds."""

    fields: dict[str, str] = field(default_factory=dict)
    """Short fields; of a name that comes twice, the last one."""
    pictures: dict[str, bytes] = field(default_factory=dict)
    """``PICTURE`` and ``BACKGROUND``; never empty."""
    base64: bytes = b""
    """As it came."""


def encoded_limit(max_picture_bytes: int) -> int:
    """The most bytes that a picture in base64 may take in a body.

    Base64 takes a third more. Line breaks, and the signs that JSON or an urlencoded form writes longer, add a little.
    """
    return max_picture_bytes * 3 // 2 + OVERHEAD


def check_head(http: web.Request, max_picture_bytes: int) -> None:
    """Refuse a request whose body need not be read to know that it is wrong.

    Raises:
        RemoveBgError: the body has no picture, by its type or its length.
        TooLarge: the declared length is over the limit.
        UnsupportedType: the body is compressed.
    """
    body.check_encoding(http)
    if (
        http.content_length == 0
        or not http.can_read_body
        or http.content_type not in (FORM, URLENCODED, JSON)
    ):
        raise missing_source()
    limit = encoded_limit(max_picture_bytes)
    if http.content_type == FORM:
        limit += max_picture_bytes
    if http.content_length is not None and http.content_length > limit:
        raise too_large(max_picture_bytes)


async def read(request: PictureRequest, deadline: asyncio.Timeout, *, max_picture_bytes: int) -> Received:
    """Read the whole body.

    Args:
        request: its headers have passed ``check_head``.
        deadline: when the body must be complete; not yet entered.
        max_picture_bytes: of each picture, once it is decoded.

    Raises:
        BadRequest: the body is malformed.
        BodyTimeout: it did not arrive in time.
        TooLarge: it, or a picture in it, is too large.
        RemoveBgError: there is more than one picture.
    """
    http = request.http
    try:
        async with deadline:
            if http.content_type == FORM:
                return await _read_form(request, max_picture_bytes)
            whole = await _read_whole(http, max_picture_bytes)
    except TimeoutError:
        raise body.too_slow() from None
    except MALFORMED as error:
        raise body.malformed() from error
    parse = _parse_json if http.content_type == JSON else _parse_urlencoded
    return await request.beside_loop(lambda: parse(whole))


async def _read_form(request: PictureRequest, max_picture_bytes: int) -> Received:
    received = Received()
    encoded = encoded_limit(max_picture_bytes)
    form = Form(
        request.http,
        max_bytes=encoded + max_picture_bytes,
        max_parts=MAX_FIELDS,
        too_large=too_large(max_picture_bytes),
    )
    while (part := await form.next_part()) is not None:
        if part.name in (PICTURE, BACKGROUND):
            watch = HeaderWatch(request.header_read) if part.name == PICTURE else None
            content = await part.read(max_picture_bytes, too_large(max_picture_bytes), watch)
            if content and part.name in received.pictures:
                raise more_than_one(part.name)
            if content:  # without a chosen file, browsers send an empty one
                received.pictures[part.name] = content
        elif part.name == BASE64:
            received.base64 = await part.read(encoded, too_large(max_picture_bytes)) or received.base64
        elif part.is_file:
            await part.skip()
        else:
            received.fields[part.name] = await part.read_text(MAX_FIELD_BYTES)
    return received


async def _read_whole(http: web.Request, max_picture_bytes: int) -> bytes:
    limit = encoded_limit(max_picture_bytes)
    buffer = BytesIO()
    while chunk := await http.content.readany():
        if buffer.tell() + len(chunk) > limit:
            raise too_large(max_picture_bytes)
        buffer.write(chunk)
    return buffer.getvalue()


def _parse_urlencoded(whole: bytes) -> Received:
    received = Received()
    pairs = whole.split(b"&", MAX_FIELDS)
    if len(pairs) > MAX_FIELDS:
        raise _too_many_fields()
    for pair in pairs:
        name, _, value = pair.partition(b"=")
        if name == BASE64.encode():
            received.base64 = _unquote(value) or received.base64  # some senders do not escape its plus signs
        elif max(len(name), len(value)) > ESCAPED_BYTES * MAX_FIELD_BYTES:
            raise _field_too_long()
        else:
            _store(received, _unquote(name), _unquote(value.replace(b"+", b" ")))
    return received


def _unquote(text: bytes) -> bytes:
    """Decode percent-encoding, piece by piece: ``unquote_to_bytes`` takes a hundred times the memory of its text."""
    decoded = bytearray()
    start = 0
    while start < len(text):
        end = start + PIECE_BYTES
        escape = text.find(b"%", end - ESCAPED_BYTES + 1, end)  # do not cut it
        end = escape if escape > start else end
        decoded += unquote_to_bytes(text[start:end])
        start = end
    return bytes(decoded)


def _parse_json(whole: bytes) -> Received:
    if sum(map(whole.count, (b"[", b"{", b","))) > MAX_JSON_SIGNS:
        raise BadRequest(f"The JSON has more than {MAX_JSON_SIGNS} brackets and commas.")
    try:
        given = json.loads(whole)
    except (ValueError, RecursionError):
        raise BadRequest("The body is not valid JSON in UTF-8.") from None
    if not isinstance(given, dict):
        raise BadRequest("The body must be a JSON object with the fields of the request.")
    if len(given) > MAX_FIELDS:
        raise _too_many_fields()
    received = Received()
    for name, value in given.items():
        if isinstance(value, str):
            _store(received, _utf8(name), _utf8(value))
        elif isinstance(
            value, bool | int | float
        ):  # null counts as absent, lists and objects have no meaning
            _store(received, _utf8(name), str(value).lower().encode())
    return received


def _utf8(text: str) -> bytes:
    return text.encode(errors="surrogatepass")  # JSON may hold half a character


def _store(received: Received, name: bytes, value: bytes) -> None:
    if name == BASE64.encode():
        received.base64 = value or received.base64
        return
    if len(name) > MAX_FIELD_BYTES or len(value) > MAX_FIELD_BYTES:
        raise _field_too_long()
    try:
        received.fields[name.decode()] = value.decode()
    except UnicodeDecodeError:
        raise BadRequest("A field is not UTF-8 text.") from None


def _too_many_fields() -> BadRequest:
    return BadRequest(f"The body has more than {MAX_FIELDS} fields.")


def _field_too_long() -> BadRequest:
    return BadRequest(
        f"A field is longer than {MAX_FIELD_BYTES} bytes. Send a picture as {PICTURE} in {FORM}, or as {BASE64}."
    )


def decode_base64(text: bytes, max_picture_bytes: int) -> bytes:
    """The bytes of a picture in base64.

    What senders do to base64 is undone: a data URL around it, line breaks in it, the alphabet for addresses, and
    missing padding.

    Raises:
        RemoveBgError: it is no base64.
        TooLarge: there are more than ``max_picture_bytes``.
    """
    text = text.strip()
    if text[:5].lower() == b"data:":
        text = text.partition(b",")[2]
    text = text.translate(bytes.maketrans(b"-_", b"+/"), b" \r\n\t").rstrip(b"=")
    if len(text) * 3 // 4 > max_picture_bytes:
        raise too_large(max_picture_bytes)
    try:
        picture = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        picture = b""
    if not picture:
        raise RemoveBgError("failed_to_read_image", f"The field {BASE64} is not a picture in base64.")
    return picture


def missing_source() -> RemoveBgError:
    """The error for a request without a picture."""
    return RemoveBgError(
        "missing_source",
        f"No picture was given. Give one of {PICTURE} (a file in {FORM}), {BASE64} or {ADDRESS}.",
    )


def more_than_one(name: str) -> RemoveBgError:
    """The error for two pictures of one kind."""
    if name == BACKGROUND:
        return two_backgrounds()
    return RemoveBgError(
        "multiple_sources", f"More than one picture was given. Give one of {PICTURE}, {BASE64} and {ADDRESS}."
    )


def too_large(max_picture_bytes: int) -> TooLarge:
    """The error for a picture, or a body, that is too large."""
    return TooLarge(f"The picture is larger than the limit of {max_picture_bytes} bytes.")
