"""Reads a ``multipart/form-data`` body part by part, without trusting anything in it.

``body`` reads the forms of ``/process`` with it, and the contracts of other services read theirs. All bytes, those
between the parts too, and the number of parts must stay bounded, and nothing in a body may make Python remember it
after the request.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, cast

from aiohttp import BodyPartReader, MultipartReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from service.errors import BadRequest, ServiceError, TooLarge
from service.http import content_disposition
from service.http.content_disposition import Disposition, UnknownCharset
from service.http.header_watch import HeaderWatch

if TYPE_CHECKING:
    from aiohttp import StreamReader

CHUNK_BYTES = 256 * 1024

# aiohttp raises all of these for a malformed body, assertions included.
MALFORMED = (
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
class Part:
    """One part of a form; read it before the next one is asked for."""

    name: str
    is_file: bool
    """Whether it has a file name."""
    _reader: BodyPartReader

    async def read(self, limit: int, too_long: ServiceError, watch: HeaderWatch | None = None) -> bytes:
        """Its content.

        Args:
            limit: in bytes.
            too_long: raised if there are more.
            watch: shown what has arrived, if the part is a picture.
        """
        buffer = BytesIO()
        while chunk := await self._reader.read_chunk(CHUNK_BYTES):
            if buffer.tell() + len(chunk) > limit:
                raise too_long
            buffer.write(chunk)
            if watch is not None:
                watch.look(buffer)
        return buffer.getvalue()

    async def skip(self) -> None:
        """Read it and keep nothing."""
        while await self._reader.read_chunk(CHUNK_BYTES):
            pass

    async def read_text(self, limit: int) -> str:
        """Its content as text.

        Raises:
            BadRequest: it is longer than ``limit`` bytes, or not UTF-8.
        """
        try:
            return (
                await self.read(limit, BadRequest(f"A form field is longer than {limit} bytes."))
            ).decode()
        except UnicodeDecodeError:
            raise BadRequest("A form field is not UTF-8 text.") from None


class Form:
    """The parts of a form, one after another.

    Args:
        request: its type is ``multipart/form-data``.
        max_bytes: of the whole body.
        max_parts: of the form.
        too_large: raised if there are more bytes.
    """

    def __init__(
        self, request: web.BaseRequest, *, max_bytes: int, max_parts: int, too_large: TooLarge
    ) -> None:
        self._max_parts = max_parts
        self._stream = _LimitedStream(request.content, max_bytes + CHUNK_BYTES, too_large)
        self._reader = _FormReader(request.headers, cast("StreamReader", self._stream))
        self._parts = 0

    async def next_part(self) -> Part | None:
        """The next part; None once the whole body has been read, so that its connection can be used again.

        Raises:
            BadRequest: too many parts, or one without a name, with parts of its own, or with an encoding.
            TooLarge: too many bytes.
            Exception: one of ``MALFORMED``.
        """
        part = await self._reader.next()
        if part is None:
            while await self._stream.read(CHUNK_BYTES):
                pass  # what follows the last boundary
            return None
        self._parts += 1
        if self._parts > self._max_parts:
            raise BadRequest(f"The form has more than {self._max_parts} parts.")
        disposition = self._reader.disposition
        if isinstance(part, MultipartReader) or disposition.name is None:
            raise BadRequest("Every part of the form must have a name and no parts of its own.")
        _check_encoding(part)
        return Part(disposition.name, disposition.is_file, part)


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


def _check_encoding(part: BodyPartReader) -> None:
    for header in ("Content-Transfer-Encoding", "Content-Encoding"):
        if part.headers.get(header, "").strip().lower() not in _PLAIN_ENCODINGS:
            raise BadRequest(f"A form part has a {header}. Send the part without one.")
