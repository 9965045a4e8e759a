"""The deflate that PNG files are compressed with: the fastest that is installed, for each kind of rows.

``png_writer`` calls it; the start of the service logs ``in_use`` and the metric ``build_info`` shows it. Every choice
must give files that any PNG decoder reads, and the same bytes on every call.

Measured on filtered rows of twelve cut-outs (``benchmarks.around`` has whole answers): ISA-L at level 1 takes 0.4 times
as long as zlib-ng with runs only, and its files of photographs are up to 5 % larger, those of masks 13 %. That the far
parts of a cut-out are black makes up for that. With a window of 512 bytes its files are 4 % smaller than with the usual
one, because far matches of a few noisy bytes save nothing.
"""

from __future__ import annotations

import zlib
from types import ModuleType
from typing import Protocol

isal_zlib: ModuleType | None = None
zlib_ng: ModuleType | None = None
_versions: dict[str, str] = {}
try:
    import isal
    from isal import isal_zlib

    _versions["isal"] = isal.__version__
except ImportError:  # no wheel for this machine
    pass
try:
    import zlib_ng as zlib_ng_package
    from zlib_ng import zlib_ng

    _versions["zlib-ng"] = str(zlib_ng_package.__version__)
except ImportError:  # likewise
    pass

_LEVEL = 1
_SMALL_WINDOW = 9  # the logarithm of its bytes


class Deflate(Protocol):
    """A zlib stream in the making, as ``zlib.compressobj`` makes it."""

    def compress(self, data: memoryview, /) -> bytes:
        """Add data, and return what can be written already."""
        ...

    def flush(self) -> bytes:
        """End the stream, and return the rest."""
        ...


def for_cut_outs() -> Deflate:
    """For rows of which a part is constant: as fast as possible."""
    if isal_zlib is None:
        return _by_runs(memory=8)
    stream: Deflate = isal_zlib.compressobj(_LEVEL, zlib.DEFLATED, _SMALL_WINDOW)
    return stream


def for_pictures() -> Deflate:
    """For rows of a photograph: as small as a level that is fast can be."""
    return _by_runs(memory=9)


def for_masks() -> Deflate:
    """For rows of a mask: likewise, with shorter blocks, because its parts differ more."""
    return _by_runs(memory=8)


def _by_runs(*, memory: int) -> Deflate:
    library: ModuleType = zlib_ng or zlib
    stream: Deflate = library.compressobj(_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, memory, zlib.Z_RLE)
    return stream


def crc32(data: bytes, value: int = 0) -> int:
    """The checksum of a PNG's chunks."""
    fastest: ModuleType = isal_zlib or zlib_ng or zlib
    result: int = fastest.crc32(data, value)
    return result


def in_use() -> str:
    """What compresses, with versions: ``isal 1.9.1, zlib-ng 1.1.0``. A package that is missing is not in it."""
    found = _versions if zlib_ng is not None else {**_versions, "zlib": zlib.ZLIB_RUNTIME_VERSION}
    return ", ".join(" ".join(each) for each in found.items())


def missing() -> list[str]:
    """The packages that are not installed, so that encoding takes longer."""
    return [name for name in ("isal", "zlib-ng") if name not in _versions]
