"""The zlib stream (RFC 1950) that a PNG file holds.

``png_writer`` calls it; the start of the service logs ``in_use`` and the metric ``build_info`` shows it. Any decoder
reads the streams, and the same rows give the same bytes on every call.

``service/native/deflate.c`` compresses filtered rows in half of ISA-L's time and a quarter of zlib-ng's. Photographs
and their cut-outs become smaller than with either, drawings and text larger than with ISA-L. Where it was not
compiled, zlib does the same, and takes several times as long.
"""

from __future__ import annotations

import zlib
from typing import Protocol

import numpy as np

from service.native import coding
from service.native.library import LIBRARY


class Stream(Protocol):
    """A stream in the making, as ``zlib.compressobj`` makes it."""

    def compress(self, data: memoryview, /) -> bytes:
        """Add data, which must not be empty, and return what can be written already."""
        ...

    def flush(self) -> bytes:
        """End the stream, and return the rest."""
        ...


def stream(channels: int) -> Stream:
    """For rows of pixels of so many bytes, each row or strip a call of ``compress``."""
    if LIBRARY is None:
        return zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    return _Blocks(channels)


class _Blocks:
    """A stream of which every call of ``compress`` makes one block."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self._state = np.array([0, 0, 1], np.uint32)
        self._head = b"\x78\x01"  # a window of 32 KiB; the fastest compression

    def compress(self, data: memoryview, /) -> bytes:
        block = coding.deflate_block(np.frombuffer(data, np.uint8), self._state, channels=self._channels)
        head, self._head = self._head, b""
        return head + block

    def flush(self) -> bytes:
        pending, count, checksum = map(int, self._state)
        pending |= 0b011 << count  # an empty block that is the last one: fixed codes, and 7 bits for its end
        last = pending.to_bytes((count + 10 + 7) // 8, "little")
        return self._head + last + checksum.to_bytes(4, "big")


def in_use() -> str:
    """What compresses: ``C``, or ``zlib 1.3.1`` for instance."""
    return f"zlib {zlib.ZLIB_RUNTIME_VERSION}" if LIBRARY is None else "C"
