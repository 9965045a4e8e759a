"""Reads the header of a picture while the rest of it is still on its way.

``body`` and ``remote_picture`` show it what has arrived. It must cost little, however small the pieces are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import BytesIO

from service.imaging.header import HEADER_BYTES, Header, read_header


class HeaderWatch:
    """Reads the picture's header as soon as enough of the picture has arrived.

    It looks again each time twice as many bytes are there: a body that comes byte by byte costs no more.

    Args:
        on_header: called with what the picture's first bytes say, as soon as they are there, and again if more of them
            say more. What it raises ends the reading.
    """

    def __init__(self, on_header: Callable[[Header], None]) -> None:
        self._on_header = on_header
        self._next_look = 1
        self._reported: Header | None = None

    def look(self, buffer: BytesIO) -> None:
        """Call it with what has arrived of the picture; it raises what ``on_header`` raises."""
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
