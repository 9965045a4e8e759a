"""Reads the body of a request to ``/process``: the picture and its parameters.

The handler calls ``check_headers`` before it takes a place, and ``read`` after that. Size, time and the number of
parts must stay bounded, and nothing in a body may make Python remember it after the request.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, cast

from aiohttp import BodyPartReader, HttpVersion11, MultipartReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from service.errors import BadRequest, BodyTimeout, TooLarge, UnsupportedType
from service.http import content_disposition, parameters
from service.http.content_disposition import Disposition, UnknownCharset
from service.imaging.header import HEADER_BYTES, Header, read_header
from service.inference.pipeline import EncodedPicture

if TYPE_CHECKING:
    from aiohttp import StreamReader

IMAGE_FIELDS = ("image", "file", "image_file")
"""Names of the file part, in the order in which they are documented."""

BACKGROUND_FIELD = "background"
"""Name of the file part that ``output=background`` puts behind the foreground."""

MULTIPART_OVERHEAD = 64 * 1024
"""Boundaries, part headers and parameters may add this much to the picture."""

MAX_PARTS = 16
MAX_FIELD_BYTES = 1024
CHUNK_BYTES = 256 * 1024

# aiohttp raises all of these for a malformed body, assertions included.
_MALFORMED = (
    HttpProcessingError,
    web.RequestPayloadError,
    ValueError,
    LookupError,
    RuntimeError,
    AssertionError,
)

_CONTROLS = bytes(b"_"[0] if (byte < 32 and byte != 9) or byte == 127 else byte for byte in range(256))
_PLAIN_ENCODINGS = {"", "identity", "binary", "7bit", "8bit"}


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
                "A multipart body must be multipart/form-data, with a file part called 'image'."
            )
        limit = max_upload_bytes + MULTIPART_OVERHEAD
    else:
        limit = max_upload_bytes
        if not content_type.startswith("image/") and content_type != "application/octet-stream":
            raise UnsupportedType(
                "Send the image as multipart/form-data with a file part called 'image', or send its bytes with "
                "a Content-Type of image/* or application/octet-stream."
            )
    if request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower() not in {"", "identity"}:
        # Image files are compressed already. A second compression only helps to send a decompression bomb.
        raise UnsupportedType(
            "The body has a Content-Encoding. Send the image file without one.",
            headers={hdrs.ACCEPT_ENCODING: "identity"},
        )
    length = request.content_length
    if length is not None and length > limit:
        raise _too_large(max_upload_bytes)
    if length == 0 or not request.can_read_body:
        raise BadRequest("The body is empty. Send an image file.")


async def send_continue(request: web.Request) -> None:
    """Answer ``Expect: 100-continue``. Call it once every check that needs no body has passed.

    HTTP/1.0 knows no interim answer.
    """
    wanted = request.version >= HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue"
    if wanted and not request.content.is_eof():
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


class _HeaderWatch:
    """Reads the picture's header as soon as enough of the picture has arrived.

    It looks again each time twice as many bytes are there: a body that comes byte by byte costs no more.
    """

    def __init__(self, on_header: Callable[[Header], None]) -> None:
        self._on_header = on_header
        self._next_look = 1
        self._reported: Header | None = None

    def look(self, buffer: BytesIO) -> None:
        """Call it with what has arrived of the picture; it raises what the caller of ``read`` wants raised."""
        if buffer.tell() < self._next_look:
            return
        self._next_look = 2 * buffer.tell()
        with buffer.getbuffer() as arrived:
            header = read_header(bytes(arrived[:HEADER_BYTES]))
        if header is not None and header != self._reported:
            self._reported = header
            self._on_header(header)
        if buffer.tell() >= HEADER_BYTES or (header is not None and header.size is not None):
            self._next_look = sys.maxsize


async def read(
    request: web.Request,
    *,
    max_upload_bytes: int,
    deadline: asyncio.Timeout,
    on_header: Callable[[Header], None] = lambda _: None,
) -> Body:
    """Read the whole body.

    Args:
        request: its headers have passed ``check_headers``.
        max_upload_bytes: limit on the picture, or on both pictures together.
        deadline: when the body must be complete; not yet entered.
        on_header: called with what the picture's first bytes say, as soon as they are there, and again if more of them
            say more. What it raises ends the reading.

    Raises:
        BadRequest: the body is empty, malformed, or has no picture or more than one.
        BodyTimeout: the body did not arrive in time.
        TooLarge: the body is longer than the limit.
    """
    watch = _HeaderWatch(on_header)
    try:
        async with deadline:
            if is_multipart(request):
                return await _read_form(request, max_upload_bytes, watch)
            return Body(EncodedPicture(await _read_raw(request, max_upload_bytes, watch)), ())
    except TimeoutError:
        raise too_slow() from None
    except _MALFORMED as error:
        raise BadRequest(
            "The body is malformed. It does not match its Content-Type or its boundary."
        ) from error


def too_slow() -> BodyTimeout:
    """The error for a body that did not arrive in time, or whose transfer was evicted for being slow."""
    return BodyTimeout(
        "The body did not arrive in time. When the service is full, it ends the slowest uploads first."
    )


async def _read_raw(request: web.Request, max_upload_bytes: int, watch: _HeaderWatch) -> bytes:
    buffer = BytesIO()  # takes small pieces well, and getvalue() makes no copy
    while chunk := await request.content.readany():
        if buffer.tell() + len(chunk) > max_upload_bytes:
            raise _too_large(max_upload_bytes)
        buffer.write(chunk)
        watch.look(buffer)
    if not buffer.tell():
        raise BadRequest("The body is empty. Send an image file.")
    return buffer.getvalue()


class _LimitedStream:
    """Has the methods of a stream that ``MultipartReader`` uses, and limits all bytes, those outside the parts too."""

    def __init__(self, content: StreamReader, limit: int, too_long: TooLarge) -> None:
        self.at_eof = content.at_eof
        self._content = content
        self._left = limit
        self._too_long = too_long

    async def read(self, n: int) -> bytes:
        return self._count(await self._content.read(n))

    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        line = self._count(await self._content.readline(max_line_length=max_line_length))
        if max_line_length is None:
            return line
        # A line of a part's header. aiohttp refuses control characters, but a file name may hold any byte.
        text = line.rstrip(b"\r\n")
        return text.translate(_CONTROLS) + line[len(text) :]

    def unread_data(self, data: bytes) -> None:
        self._left += len(data)
        self._content.unread_data(data)

    def _count(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise self._too_long
        return data


class _FormReader(MultipartReader):
    """Reads the name of each part itself: aiohttp must not see it.

    aiohttp gives up the name of a part with an unusual file name, and warns in the client's words. It looks up any
    character set that a client names, and Python keeps such names as long as the process runs. It takes a field called
    ``_charset_`` for its own.
    """

    disposition = Disposition(None, is_file=False)
    """Of the part that was fetched last."""

    async def fetch_next_part(self) -> MultipartReader | BodyPartReader:
        part = await super().fetch_next_part()
        if not isinstance(part, BodyPartReader):
            return part
        headers = part.headers.copy()
        try:
            self.disposition = content_disposition.parse(headers.pop(hdrs.CONTENT_DISPOSITION, ""))
        except UnknownCharset:
            raise BadRequest(
                "The name of a form part must be plain, or encoded in UTF-8 (RFC 8187, without continuations)."
            ) from None
        part.headers = type(part.headers)(headers)
        return part


class _FormPictures:
    """The pictures of a form; their bytes are bounded together."""

    def __init__(self, max_upload_bytes: int, watch: _HeaderWatch) -> None:
        self._left = max_upload_bytes
        self._too_large = _too_large(max_upload_bytes)
        self._watch = watch
        self._image: bytes | None = None
        self._background: bytes | None = None

    async def read_image(self, part: BodyPartReader) -> None:
        if self._image is not None:
            raise BadRequest("The form has more than one image. Send one file part called 'image'.")
        self._image = await self._read(part, self._watch)

    async def read_background(self, part: BodyPartReader) -> None:
        if self._background is not None:
            raise BadRequest("The form has more than one background. Send one file part of that name.")
        self._background = await self._read(part, None)

    async def _read(self, part: BodyPartReader, watch: _HeaderWatch | None) -> bytes:
        data = await _read_part(part, self._left, self._too_large, watch)
        self._left -= len(data)
        return data

    def with_fields(self, fields: list[tuple[str, str]]) -> Body:
        if self._image is None:
            raise BadRequest(f"The form has no image. Send one file part called {_either(IMAGE_FIELDS)}.")
        if not self._image:
            raise BadRequest("The image in the form is empty. Send an image file.")
        if self._background is None:
            return Body(EncodedPicture(self._image), tuple(fields))
        if not self._background:
            raise BadRequest(
                "The background in the form is empty. Send an image file, or leave the part out."
            )
        return Body(EncodedPicture(self._image), tuple(fields), EncodedPicture(self._background))


async def _read_form(request: web.Request, max_upload_bytes: int, watch: _HeaderWatch) -> Body:
    pictures = _FormPictures(max_upload_bytes, watch)
    fields: list[tuple[str, str]] = []
    parts = 0
    stream = _LimitedStream(
        request.content, max_upload_bytes + MULTIPART_OVERHEAD + CHUNK_BYTES, _too_large(max_upload_bytes)
    )
    reader = _FormReader(request.headers, cast("StreamReader", stream))
    while (part := await reader.next()) is not None:
        parts += 1
        if parts > MAX_PARTS:
            raise BadRequest(f"The form has more than {MAX_PARTS} parts.")
        name = reader.disposition.name
        if isinstance(part, MultipartReader) or name is None:
            raise BadRequest("Every part of the form must have a name and no parts of its own.")
        _check_encoding(part)
        if name in IMAGE_FIELDS:
            await pictures.read_image(part)
        elif name == BACKGROUND_FIELD:
            await pictures.read_background(part)
        elif reader.disposition.is_file:
            raise BadRequest(
                f"The form has a file part with another name. The file part must be called {_either(IMAGE_FIELDS)}; "
                f"a second picture, {BACKGROUND_FIELD!r}."
            )
        elif name not in parameters.IGNORED_FIELDS:
            fields.append((name, await _read_text(part)))
    while await stream.read(CHUNK_BYTES):
        pass  # what follows the last boundary; the connection can be used again once all of it has been read
    if not parts:
        raise BadRequest("The form is empty. Send a file part called 'image'.")
    return pictures.with_fields(fields)


def _check_encoding(part: BodyPartReader) -> None:
    for header in ("Content-Transfer-Encoding", "Content-Encoding"):
        if part.headers.get(header, "").strip().lower() not in _PLAIN_ENCODINGS:
            raise BadRequest(f"A form part has a {header}. Send the part without one.")


async def _read_text(part: BodyPartReader) -> str:
    too_long = BadRequest(f"A form field is longer than {MAX_FIELD_BYTES} bytes.")
    try:
        return (await _read_part(part, MAX_FIELD_BYTES, too_long)).decode()
    except UnicodeDecodeError:
        raise BadRequest("A form field is not UTF-8 text.") from None


async def _read_part(
    part: BodyPartReader, limit: int, too_long: BadRequest | TooLarge, watch: _HeaderWatch | None = None
) -> bytes:
    buffer = BytesIO()
    while chunk := await part.read_chunk(CHUNK_BYTES):
        if buffer.tell() + len(chunk) > limit:
            raise too_long
        buffer.write(chunk)
        if watch is not None:
            watch.look(buffer)
    return buffer.getvalue()


def _too_large(max_upload_bytes: int) -> TooLarge:
    return TooLarge(
        f"The image file is larger than the limit of {max_upload_bytes} bytes; with a background, that is the limit "
        "of both together."
    )


def _either(names: Iterable[str]) -> str:
    *most, last = (f"'{name}'" for name in names)
    return f"{', '.join(most)} or {last}"
