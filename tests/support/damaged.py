"""Real files of every format and declaration, and what damage may make of them.

The fuzz tests of the suite and of the soak test draw from here. ``decode`` must answer each with a picture or with a
refusal in words, within its memory; ``decode_or_refuse`` asserts it.
"""

from __future__ import annotations

from base64 import b64decode
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
    "JPEG arithmetic coding": lambda: b64decode(
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAUDBAQEAwUEBAQFBQUGBwwIBwcHBw8LCwkMEQ8SEhEPERETFhwXExQaFRERGCEYGh0d"
        "Hx8fExciJCIeJBweHx7/2wBDAQUFBQcGBw4ICA4eFBEUHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4e"
        "Hh4eHh4eHh7/yQARCAAMABQDASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/AN3alIAUsiH24j7/AAAW3hZB2e1V"
        "4s+WlQbSJOptLL9Zk7ykT8t6Gshz6o/LJpnl7wgw6xRUrKZJvBExoTSn3+pB3hOmrcUECQnZ0gV9gD0A1hgbSnd4u4j1zh9wBwyd"
        "uN6NfnG8atlzi/zA14iq6GbRgP/Z"
    ),
    "JPEG arithmetic coding, progressive, 3 x 1 samples": lambda: b64decode(
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAUDBAQEAwUEBAQFBQUGBwwIBwcHBw8LCwkMEQ8SEhEPERETFhwXExQaFRERGCEYGh0d"
        "Hx8fExciJCIeJBweHx7/2wBDAQUFBQcGBw4ICA4eFBEUHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4e"
        "Hh4eHh4eHh7/ygARCAAMABQDATEAAhEBAxEB/8wABgAQARD/2gAMAwEAAhADEAAAAf8Au/DSh2o4rXg6e3w4wP/MAAQQBf/aAAgB"
        "AQABBQISpxPU6DtPrJ9LHP/MAAQRBf/aAAgBAwEBPwE2tHTg/8wABBEF/9oACAECAQE/ATo802uLxbRe/wAB/8wABBAF/9oACAEB"
        "AAY/Au8cnZ//zAAEEAX/2gAIAQEAAT8h0E7HeJ2PlUP1GOe04pj/2gAMAwEAAgADAAAAELv/zAAEEQX/2gAIAQMBAT8Q2fzzP4b/"
        "zAAEEQX/2gAIAQIBAT8Q8fcHwj1KMt4F/nMQ1C0CpK9Qvv/MAAQQBf/aAAgBAQABPxA55FHCi1Da1/V8QdCcKA2HzNsmC7s9vEcm"
        "uwBB69gg/9k="
    ),
    "JPEG lossless": lambda: b64decode(
        "/9j/xAAcAAAAAAkAAAAAAAAAAAAAAAAAAQIDBAUGBwj/wwARCAAIAAwDAREAAhEAAxEA/9oADAMBAAIAAwABAABiWDbdYmFWhI6m"
        "VpgaSZXLRG1ouRIxgFIqy0IZ1YL4+u1+fOpSqZZFOGFWeWp4+tmgPm14kKQg+rFUdSiDi6Xg0poRKs6QpEFuUtVFriJJrXfpIkdJ"
        "EYAkbhmDbgwYTVyjq9ozCiSTSIrSFkpkBfkmFPE83jBJQhDEeMgdIGQ5h3yyaM8rU0+mq9IW6vPlIoMquT6JEo26kKKPGiiTZSMe"
        "GYdao1qsQW6CQeVppUJRlQp7apbRErRNIIVxlRIBlRpyOJpEdarQwlohpVqw2z54SA0I05cqFfrA0pEEhn1aJHSylk0RxNXB5BRz"
        "7Oqs+qSkhJX59aL46JJXDKoh9BViQmnjywaE6irspnTYKRVElCNrNeGTjQI6lOGGd//Z"
    ),
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
def damaged(draw: st.DrawFn, kind: str = "") -> bytes:
    """A file with bytes or numbers changed, parts cut out, doubled or moved in from another file, or cut short.

    Args:
        kind: how the names of the files begin.
    """
    data = bytearray(sound(draw(st.sampled_from(sorted(name for name in CORPUS if name.startswith(kind))))))
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
