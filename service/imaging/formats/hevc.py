"""The frame that an HEVC stream (ITU-T H.265) holds, and the stream without what a still picture needs not.

``heic`` calls it. The size and the depth of a frame are said more than once: in the stream, and in the file around it.
libheif believes the one in one place and the other in another, and writes beyond its memory where they differ. So
everything must be read here from the parameter set that the decoder will use, and must agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from service.imaging.formats.file_format import Malformed

_SPS = 33
_LAST_SLICE_TYPE = 31
_PARAMETER_BYTES = 512
"""The size stands in the first bytes of a parameter set."""


@dataclass(frozen=True, slots=True)
class Samples:
    """What the pixels of a frame are."""

    chroma: int
    """0: grey, 1: 4:2:0, 2: 4:2:2, 3: 4:4:4."""
    depth: int
    """Bits of a sample."""
    chroma_depth: int


@dataclass(frozen=True, slots=True)
class Frame:
    """What a sequence parameter set says of its frames."""

    coded: tuple[int, int]
    """(width, height) in pixels, before cropping."""
    size: tuple[int, int]
    """(width, height) in pixels of what is shown."""
    samples: Samples


class Configuration:
    """The decoder's configuration (the body of a box ``hvcC``).

    Raises:
        Malformed, IndexError: it is broken, has no parameter set or several, or contradicts it.

    Attributes:
        frame: what the stream holds.
    """

    def __init__(self, body: bytes) -> None:
        if len(body) < 23:
            raise Malformed
        self._length_bytes = (body[21] & 3) + 1
        frames = [read_frame(unit) for unit in _units_of_configuration(body) if _type(unit) == _SPS]
        if len(frames) != 1:
            raise Malformed
        self.frame = frames[0]
        if self.frame.samples != Samples(body[16] & 3, (body[17] & 7) + 8, (body[18] & 7) + 8):
            raise Malformed

    def slices(self, stream: bytes) -> bytes:
        """The coded slices of the first picture in a stream.

        There are no parameter sets among them, which could say another size, and no second picture, for which a
        decoder would keep a second frame.
        """
        kept, at, pictures = [], 0, 0
        while at < len(stream):
            body = at + self._length_bytes
            end = body + int.from_bytes(stream[at:body], "big")
            unit = stream[body : min(body + 3, end)]
            if end > len(stream) or len(unit) < 3:
                raise Malformed
            if _type(unit) <= _LAST_SLICE_TYPE and _layer(unit) == 0:
                pictures += unit[2] >> 7  # the first slice of a picture
                if pictures > 1:
                    break
                kept.append(stream[at:end])
            at = end
        return b"".join(kept)


def read_frame(parameters: bytes) -> Frame:
    """The frames of a sequence parameter set.

    Args:
        parameters: the unit with its header of two bytes.

    Raises:
        Malformed: it is broken or ends early.
    """
    bits = _Bits(parameters[2:_PARAMETER_BYTES].replace(b"\0\0\3", b"\0\0"))
    bits.read(4)
    layers = bits.read(3)
    bits.read(1)
    bits.read(88 + 8)  # general profile and level
    present = [(bits.read(1), bits.read(1)) for _ in range(layers)]
    if layers:
        bits.read(2 * (8 - layers))
    for profile, level in present:
        bits.read(88 * profile + 8 * level)
    bits.read_golomb()
    chroma = bits.read_golomb()
    if chroma > 3:
        raise Malformed
    if chroma == 3 and bits.read(1):  # three planes that are coded as if each were grey
        raise Malformed
    width, height = bits.read_golomb(), bits.read_golomb()
    left = right = top = bottom = 0
    if bits.read(1):
        left, right, top, bottom = (bits.read_golomb() for _ in range(4))
    across, down = (
        (2 if chroma in (1, 2) else 1),
        (2 if chroma == 1 else 1),
    )  # the unit in which cropping is said
    size = width - across * (left + right), height - down * (top + bottom)
    samples = Samples(chroma, bits.read_golomb() + 8, bits.read_golomb() + 8)
    if min(size) < 1:
        raise Malformed
    return Frame((width, height), size, samples)


def _units_of_configuration(body: bytes) -> Iterator[bytes]:
    at = 23
    for _ in range(body[22]):
        count = int.from_bytes(body[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            end = at + 2 + int.from_bytes(body[at : at + 2], "big")
            unit = body[at + 2 : end]
            if end > len(body) or len(unit) < 2 or _layer(unit):
                raise Malformed
            yield unit
            at = end


def _type(unit: bytes) -> int:
    return unit[0] >> 1 & 0x3F


def _layer(unit: bytes) -> int:
    return (unit[0] & 1) << 5 | unit[1] >> 3


class _Bits:
    """Reads bits from the front."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def read(self, count: int) -> int:
        if count > self._left:
            raise Malformed
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def read_golomb(self) -> int:
        """An unsigned number in Exp-Golomb code (ITU-T H.265, 9.2)."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 32:
                raise Malformed
        return (1 << zeros) - 1 + self.read(zeros)
