"""Real files of every format and declaration, and what damage may make of them.

The fuzz tests of the suite and of the soak test draw from here. ``decode`` must answer each with a picture or with a
refusal in words, within its memory; ``decode_or_refuse`` asserts it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from hypothesis import strategies as st

from service.errors import ServiceError
from service.imaging.decode import decode
from tests.support import declared, photos
from tests.support.tiff_files import DEFLATE, tiff_file

MAX_PIXELS = 1_000_000

CORPUS: dict[str, Callable[[], bytes]] = {
    **photos.MODES,
    **{
        f"{container}: {declaration}": case.make
        for (container, declaration), case in declared.DECLARED.items()
    },
    "JPEG without its end": lambda: photos.mode("JPEG")[:-2],
    "JPEG progressive without its end": lambda: photos.mode("JPEG progressive")[:-2],
    "TIFF planar tiles": lambda: tiff_file(photos.photograph(), photometric=2, planar=True, tile=16),
    "TIFF big-endian predictor": lambda: tiff_file(
        photos.photograph().astype(int) * 257,
        photometric=2,
        bits=16,
        order=">",
        predictor=2,
        compression=DEFLATE,
    ),
    "TIFF float predictor": lambda: tiff_file(
        photos.photograph() / 255, photometric=2, bits=32, sample_format=3, predictor=3, compression=DEFLATE
    ),
    "PNG white on clear": lambda: photos.save(photos.photograph() | 255, "PNG", transparency=(255, 255, 255)),
}
"""Name -> a function that makes the file."""


@cache
def sound(name: str) -> bytes:
    """One of ``CORPUS``, made once."""
    return CORPUS[name]()


def places(length: int) -> st.SearchStrategy[int]:
    """Where damage is: most of it near the ends, where headers are, which is the interesting kind."""
    anywhere, near = st.integers(0, length - 1), st.integers(0, min(400, length - 1))
    return near | near.map(lambda at: length - 1 - at) | anywhere


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A file with bytes or numbers changed, parts cut out, doubled or moved in from another file, or cut short."""
    data = bytearray(sound(draw(st.sampled_from(sorted(CORPUS)))))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(places(len(data)))
        match draw(st.integers(0, 6)):
            case 0 | 1:
                data[at] = draw(st.integers(0, 255))
            case 2:
                number = draw(st.sampled_from([0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
                size = draw(st.sampled_from([2, 4]))
                number &= (1 << 8 * size) - 1
                data[at : at + size] = number.to_bytes(size, draw(st.sampled_from(["little", "big"])))
            case 3:
                del data[at : at + draw(st.integers(1, 40))]
            case 4:
                data[at:at] = data[at : at + draw(st.integers(1, 200))]
            case 5:
                other = sound(draw(st.sampled_from(sorted(CORPUS))))
                begin = draw(places(len(other)))
                data[at:at] = other[begin : begin + draw(st.integers(1, 200))]
            case 6:
                del data[max(at, 1) :]
        if not data:
            return b""
    return bytes(data)


def decode_or_refuse(data: bytes) -> bool:
    """Decode or refuse a file; anything else fails the test. Returns whether it decoded."""
    try:
        picture = decode(data, max_pixels=MAX_PIXELS)
    except ServiceError as error:
        status, message = error.status, error.message
    else:
        assert picture.rgb.ndim == 3
        assert picture.alpha is None or picture.alpha.shape == picture.rgb.shape[:2]
        return True
    assert 400 <= status < 500
    assert message.isascii()
    assert not any(
        word in message for word in ("PIL", "Error", "object at", "/", "decoder error", "broken data")
    )
    return False
