"""Reads the body of a request to ``/process`` or ``/api/remove``: the picture and its parameters.

The handler calls ``check_headers`` before it takes a place, and ``read`` after that. Size, time and the number of
parts must stay bounded, and nothing in a body may make Python remember it after the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from io import BytesIO

from aiohttp import HttpVersion11, hdrs, web

from service.errors import BadRequest, BodyTimeout, TooLarge, UnsupportedType
from service.http import parameters
from service.http.header_watch import HeaderWatch
from service.http.multipart import MALFORMED, Form, Part
from service.imaging.header import Header
from service.inference.pipeline import EncodedPicture

IMAGE_FIELDS = ("image", "file", "image_file")
"""Names of the file part, in the order in which they are documented."""

BACKGROUND_FIELD = "background"
"""Name of the file part that ``output=background`` puts behind the foreground."""

MULTIPART_OVERHEAD = 64 * 1024
"""Boundaries, part headers and parameters may add this much to the picture."""

MAX_PARTS = 64
MAX_FIELD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Body:
    """What a client sent."""

    image: EncodedPicture
    fields: tuple[tuple[str, str], ...]
    """Form fields other than the pictures, in order, duplicates kept."""
    background: EncodedPicture | None = None
    """The second picture, if the form has one."""


def is_multipart(request: web.BaseRequest) -> bool:
    """Whether the headers declare a body with parts."""
    return request.content_type.startswith("multipart/")


def check_headers(request: web.BaseRequest, max_upload_bytes: int) -> None:
    """Refuse a request whose body need not be read to know that it is wrong.

    Raises:
        TooLarge: the declared length is over the limit.
        UnsupportedType: the declared type cannot hold a picture, or the body is compressed.
        BadRequest: the body is declared empty.
    """
    content_type = request.content_type
    if content_type.startswith("multipart/"):
        if content_type != "multipart/form-data":
            raise UnsupportedType(
                "A multipart body must be multipart/form-data, with a file part called "
                f"{_either(IMAGE_FIELDS)}."
            )
        limit = max_upload_bytes + MULTIPART_OVERHEAD
    else:
        limit = max_upload_bytes
        if not content_type.startswith("image/") and content_type != "application/octet-stream":
            raise UnsupportedType(
                f"Send the image as multipart/form-data with a file part called {_either(IMAGE_FIELDS)}, or send its "
                "bytes with a Content-Type of image/* or application/octet-stream."
            )
    check_encoding(request)
    length = request.content_length
    if length is not None and length > limit:
        raise _too_large(max_upload_bytes)
    if length == 0 or not request.can_read_body:
        raise BadRequest("The body is empty. Send an image file.")


def check_encoding(request: web.BaseRequest) -> None:
    """Refuse a compressed body.

    Image files are compressed already. A second compression only helps to send a decompression bomb.

    Raises:
        UnsupportedType: the body has a ``Content-Encoding``.
    """
    if request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower() not in {"", "identity"}:
        raise UnsupportedType(
            "The body has a Content-Encoding. Send the image file without one.",
            headers={hdrs.ACCEPT_ENCODING: "identity"},
        )


async def send_continue(request: web.Request) -> None:
    """Answer ``Expect: 100-continue``. Call it once every check that needs no body has passed.

    HTTP/1.0 knows no interim answer.
    """
    wanted = request.version >= HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue"
    if wanted and not request.content.is_eof():
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


async def read(
    request: web.Request,
    *,
    max_upload_bytes: int,
    deadline: asyncio.Timeout,
    on_header: Callable[[Header], None] = lambda _: None,
    text_fields: Collection[str] | None = None,
) -> Body:
    """Read the whole body.

    Args:
        request: its headers have passed ``check_headers``.
        max_upload_bytes: limit on the picture, or on both pictures together.
        deadline: when the body must be complete; not yet entered.
        on_header: called with what the picture's first bytes say, as soon as they are there, and again if more of them
            say more. What it raises ends the reading.
        text_fields: names of the fields whose text is read. All others are ignored: their text is returned as "", and
            there is no second picture. If not given, the text of every field is read, a part called ``background`` is
            the second picture, and a file part with an unknown name is refused.

    Raises:
        BadRequest: the body is empty, malformed, or has no picture or more than one.
        BodyTimeout: the body did not arrive in time.
        TooLarge: the body is longer than the limit.
    """
    watch = HeaderWatch(on_header)
    try:
        async with deadline:
            if is_multipart(request):
                return await _read_form(request, max_upload_bytes, watch, text_fields)
            return Body(EncodedPicture(await _read_raw(request, max_upload_bytes, watch)), ())
    except TimeoutError:
        raise too_slow() from None
    except MALFORMED as error:
        raise malformed() from error


def malformed() -> BadRequest:
    """The error for a body that cannot be taken apart."""
    return BadRequest("The body is malformed. It does not match its Content-Type or its boundary.")


def too_slow() -> BodyTimeout:
    """The error for a body that did not arrive in time, or whose transfer was evicted for being slow."""
    return BodyTimeout(
        "The body did not arrive in time. When the service is full, it ends the slowest uploads first."
    )


async def _read_raw(request: web.Request, max_upload_bytes: int, watch: HeaderWatch) -> bytes:
    buffer = BytesIO()  # takes small pieces well, and getvalue() makes no copy
    while chunk := await request.content.readany():
        if buffer.tell() + len(chunk) > max_upload_bytes:
            raise _too_large(max_upload_bytes)
        buffer.write(chunk)
        watch.look(buffer)
    if not buffer.tell():
        raise BadRequest("The body is empty. Send an image file.")
    return buffer.getvalue()


class _FormPictures:
    """The pictures of a form; their bytes are bounded together.

    An empty part is no picture: browsers send one for a file that was not chosen.
    """

    def __init__(self, max_upload_bytes: int, watch: HeaderWatch) -> None:
        self._left = max_upload_bytes
        self._too_large = _too_large(max_upload_bytes)
        self._watch = watch
        self._image: bytes | None = None
        self._background: bytes | None = None

    async def read_image(self, part: Part) -> None:
        content = await self._read(part, self._watch)
        if self._image and content:
            raise BadRequest(
                f"The form has more than one image. Send one file part called {_either(IMAGE_FIELDS)}."
            )
        self._image = self._image or content

    async def read_background(self, part: Part) -> None:
        content = await self._read(part, None)
        if self._background and content:
            raise BadRequest("The form has more than one background. Send one file part of that name.")
        self._background = self._background or content

    async def _read(self, part: Part, watch: HeaderWatch | None) -> bytes:
        data = await part.read(self._left, self._too_large, watch)
        self._left -= len(data)
        return data

    def with_fields(self, fields: list[tuple[str, str]]) -> Body:
        if self._image is None:
            raise BadRequest(f"The form has no image. Send one file part called {_either(IMAGE_FIELDS)}.")
        if not self._image:
            raise BadRequest("The image in the form is empty. Send an image file.")
        background = EncodedPicture(self._background) if self._background else None
        return Body(EncodedPicture(self._image), tuple(fields), background)


async def _read_form(
    request: web.Request, max_upload_bytes: int, watch: HeaderWatch, text_fields: Collection[str] | None
) -> Body:
    pictures = _FormPictures(max_upload_bytes, watch)
    fields: list[tuple[str, str]] = []
    form = Form(
        request,
        max_bytes=max_upload_bytes + MULTIPART_OVERHEAD,
        max_parts=MAX_PARTS,
        too_large=_too_large(max_upload_bytes),
    )
    part = await form.next_part()
    if part is None:
        raise BadRequest(f"The form is empty. Send a file part called {_either(IMAGE_FIELDS)}.")
    while part is not None:
        if part.name in IMAGE_FIELDS:
            await pictures.read_image(part)
        elif text_fields is not None and part.name not in text_fields:
            await part.skip()
            fields.append((part.name, ""))
        elif part.name == BACKGROUND_FIELD:
            await pictures.read_background(part)
        elif part.is_file:
            raise BadRequest(
                f"The form has a file part with another name. The file part must be called {_either(IMAGE_FIELDS)}; "
                f"a second picture, {BACKGROUND_FIELD!r}."
            )
        elif part.name not in parameters.IGNORED_FIELDS:
            fields.append((part.name, await part.read_text(MAX_FIELD_BYTES)))
        part = await form.next_part()
    return pictures.with_fields(fields)


def _too_large(max_upload_bytes: int) -> TooLarge:
    return TooLarge(
        f"The image file is larger than the limit of {max_upload_bytes} bytes. A second picture counts as well."
    )


def _either(names: Iterable[str]) -> str:
    *most, last = (f"'{name}'" for name in names)
    return f"{', '.join(most)} or {last}"
