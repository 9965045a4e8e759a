"""Pictures whose files declare their colours in every way: the rows of the table in ``docs/pictures.md``.

``DECLARED`` has the cases, by container and declaration as the table names them. Each shows the same scene, and each
has the figures that are right, which come from the standards or from lcms, not from the service.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from tests.support import photos
from tests.support.photos import png, png_chunk, save
from tests.support.tiff_files import tiff_file

Pixels = npt.NDArray[np.uint8]
Rgb = tuple[float, float, float]

WIDTH, HEIGHT = 64, 48
GROUND, SUBJECT = (240, 240, 240), (200, 60, 20)
IN_GROUND, IN_SUBJECT = (6, 6), (24, 32)
"""Row and column of a pixel of each."""


def scene(ground: Rgb = GROUND, subject: Rgb = SUBJECT, kind: Any = np.uint8) -> npt.NDArray[Any]:
    """A flat ground, and a rectangle in columns 20-43, rows 12-35."""
    pixels = np.full((HEIGHT, WIDTH, 3), ground, kind)
    pixels[12:36, 20:44] = subject
    return pixels


@dataclass(frozen=True)
class Declared:
    """One way to declare colours."""

    make: Callable[[], bytes]
    ground: Rgb = GROUND
    subject: Rgb = SUBJECT
    tolerance: float = 1.01
    icc: bool = False
    """Whether the profile is kept: the figures are then in its space."""
    magick: str = "agrees"
    """Or why ImageMagick 6 shows something else."""


def _through(icc: bytes, colour: Rgb) -> Rgb:
    """A colour of a profile in sRGB, by lcms."""
    pixel = Image.new("RGB", (1, 1), tuple(map(int, colour)))
    shown = ImageCms.profileToProfile(
        pixel,
        ImageCms.ImageCmsProfile(BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        outputMode="RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    assert shown is not None
    red, green, blue = shown.tobytes()
    return red, green, blue


def _in(icc: bytes) -> dict[str, Any]:
    return {"ground": _through(icc, GROUND), "subject": _through(icc, SUBJECT)}


P3, BT2020 = photos.rgb_profile(*photos.P3), photos.rgb_profile(*photos.BT2020)
LINEAR = photos.rgb_profile(*photos.SRGB, gamma=1.0)
ADOBE_CHROMATICITIES = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
ADOBE = photos.rgb_profile(*ADOBE_CHROMATICITIES, gamma=2.2)


def chromaticities(*points: tuple[float, float]) -> bytes:
    """A ``cHRM`` chunk, with the white D65."""
    return png_chunk(b"cHRM", b"".join(struct.pack(">2I", *(round(v * 100_000) for v in p)) for p in points))


_D65 = (0.3127, 0.3290)
GAMMA_1 = png_chunk(b"gAMA", struct.pack(">I", 100_000))
_SRGB_CHUNK = png_chunk(b"sRGB", b"\0")


def png_of(pixels: npt.NDArray[Any], *chunks: bytes) -> bytes:
    """RGB pixels with chunks that declare their colours; 16-bit pixels give a 16-bit file."""
    bits = 8 * pixels.itemsize
    height, width = pixels.shape[:2]
    return png(width, height, bits, 2, pixels.astype(f">u{pixels.itemsize}").tobytes(), b"".join(chunks))


def png_with(*chunks: bytes, pixels: npt.NDArray[Any] | None = None) -> bytes:
    """The scene, or one like it, with chunks that declare its colours."""
    return png_of(scene() if pixels is None else pixels, *chunks)


def code_points(primaries: int, transfer: int, full_range: int = 1) -> bytes:
    """A ``cICP`` chunk."""
    return png_chunk(b"cICP", bytes([primaries, transfer, 0, full_range]))


def profile_chunk(icc: bytes) -> bytes:
    """An ``iCCP`` chunk."""
    return png_chunk(b"iCCP", b"test\0\0" + zlib.compress(icc))


def avif_with(primaries: int, transfer: int, **settings: Any) -> bytes:
    """The scene with code points in ``nclx``."""
    data = save(scene(), "AVIF", **settings)
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


def jpeg_with(*, jfif: bool, adobe: int | None = None, rgb: bool = False, names: bytes = b"\1\2\3") -> bytes:
    """The scene as YCbCr or RGB, with markers and names of components as wanted."""
    data = save(scene(), "JPEG", keep_rgb=rgb)
    kept = b"\xff\xd8"
    if jfif:
        kept += b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
    if adobe is not None:
        kept += b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([adobe])
    at = 2
    while data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        segment = bytearray(data[at : at + 2 + length])
        if segment[1] == 0xC0:
            segment[10::3] = names
        if segment[1] not in (0xE0, 0xEE):
            kept += segment
        at += 2 + length
    scan = bytearray(data[at:])
    scan[5:11:2] = names
    return kept + scan


_GREY = scene()[..., 1:2]
_YCBCR = np.asarray(Image.fromarray(scene()).convert("YCbCr"))
_LAB_OF_SRGB = ImageCms.buildTransform(
    ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
)


def _lab_samples() -> Pixels:
    lab = _LAB_OF_SRGB.apply(Image.fromarray(scene()))
    return np.frombuffer(lab.tobytes(), np.uint8).reshape(HEIGHT, WIDTH, 3)  # a, b are two's complement


def _palette_tiff(scale: int) -> bytes:
    indices = (scene()[..., :1] == SUBJECT[0]).astype(np.uint8)
    colours = np.zeros((3, 256), int)
    colours[:, 0], colours[:, 1] = GROUND, SUBJECT
    return tiff_file(indices, photometric=3, fields={320: (3, [int(v) * scale for v in colours.ravel()])})


def _scaled(pixels: npt.NDArray[Any], bits: int) -> npt.NDArray[Any]:
    return np.rint(pixels.astype(float) * ((1 << bits) - 1) / 255).astype(np.uint64)


def _cmyk(bits: int) -> bytes:
    ink = 255 - np.dstack([scene(), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    return tiff_file(_scaled(ink, bits), photometric=5, bits=bits)


def bmp_v5(pixels: Pixels, *, icc: bytes = b"", alpha_mask: int = 0xFF000000) -> bytes:
    """A BMP with a V5 header, H x W x 4 pixels R, G, B, A."""
    height, width = pixels.shape[:2]
    body = pixels[::-1, :, [2, 1, 0, 3]].tobytes()
    header = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 32, 3, len(body), 2835, 2835, 0, 0)
    header += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, alpha_mask)
    header += (b"DEBM" if icc else b"BGRs") + bytes(48)
    header += struct.pack("<4I", 4, 124 + len(body) if icc else 0, len(icc), 0)
    return struct.pack("<2sIHHI", b"BM", 138 + len(body) + len(icc), 0, 0, 138) + header + body + icc


def _with_alpha(value: int) -> Pixels:
    return np.dstack([scene(), np.full((HEIGHT, WIDTH), value, np.uint8)])


_GREY_GROUND: dict[str, Any] = {"ground": (240,) * 3, "subject": (60,) * 3}
_NOT_READ = "does not read it"

DECLARED: dict[tuple[str, str], Declared] = {
    ("JPEG", "JFIF marker"): Declared(lambda: jpeg_with(jfif=True), tolerance=3),
    ("JPEG", "JFIF marker and Adobe marker"): Declared(lambda: jpeg_with(jfif=True, adobe=0), tolerance=3),
    ("JPEG", "Adobe marker, transform 1"): Declared(lambda: jpeg_with(jfif=False, adobe=1), tolerance=3),
    ("JPEG", "Adobe marker, transform 0"): Declared(
        lambda: jpeg_with(jfif=False, adobe=0, rgb=True), tolerance=3
    ),
    ("JPEG", "component names R, G, B"): Declared(
        lambda: jpeg_with(jfif=False, rgb=True, names=b"RGB"), tolerance=3
    ),
    ("JPEG", "nothing"): Declared(lambda: jpeg_with(jfif=False), tolerance=3),
    ("JPEG", "CMYK"): Declared(
        lambda: save(Image.fromarray(scene()).convert("CMYK"), "JPEG"), tolerance=3
    ),
    ("JPEG", "ICC profile"): Declared(lambda: save(scene(), "JPEG", icc_profile=P3), tolerance=3, icc=True),
    ("PNG", "cICP"): Declared(lambda: png_with(code_points(12, 13)), **_in(P3), magick=_NOT_READ),
    ("PNG", "cICP, before all others"): Declared(
        lambda: png_with(profile_chunk(LINEAR), _SRGB_CHUNK, GAMMA_1, code_points(9, 13)),
        **_in(BT2020),
        magick=_NOT_READ,
    ),
    ("PNG", "cICP, narrow range"): Declared(
        lambda: png_with(code_points(1, 13, 0), pixels=scene((235, 235, 235), (126, 16, 16))),
        ground=(255, 255, 255),
        subject=(128, 0, 0),
        magick=_NOT_READ,
    ),
    ("PNG", "iCCP, before sRGB, gAMA and cHRM"): Declared(
        lambda: png_with(profile_chunk(P3), GAMMA_1), icc=True, magick="applies gAMA on top of the profile"
    ),
    ("PNG", "sRGB, before gAMA and cHRM"): Declared(lambda: png_with(_SRGB_CHUNK, GAMMA_1)),
    ("PNG", "gAMA"): Declared(lambda: png_with(GAMMA_1), ground=(248, 248, 248), subject=(229, 133, 79)),
    ("PNG", "gAMA, 16 bits"): Declared(
        # 0.0005 of full light is 1.65 of 255 in sRGB: it is lost if only the high byte is read.
        lambda: png_with(GAMMA_1, pixels=scene((0x8000,) * 3, (33, 330, 3300), np.uint16)),
        ground=(188, 188, 188),
        subject=(1.66, 16.2, 63.2),
    ),
    ("PNG", "gAMA of 1/2.2"): Declared(lambda: png_with(png_chunk(b"gAMA", struct.pack(">I", 45455)))),
    ("PNG", "gAMA and cHRM"): Declared(
        lambda: png_with(
            png_chunk(b"gAMA", struct.pack(">I", 45455)), chromaticities(_D65, *ADOBE_CHROMATICITIES)
        ),
        **_in(ADOBE),
        magick="converts no chromaticities",
    ),
    ("PNG", "cHRM"): Declared(
        lambda: png_with(chromaticities(_D65, *photos.P3)), **_in(P3), magick="converts no chromaticities"
    ),
    ("PNG", "nothing"): Declared(lambda: png_with()),
    ("WebP", "ICC profile"): Declared(lambda: save(scene(), "WEBP", icc_profile=P3), icc=True),
    ("WebP", "nothing"): Declared(lambda: save(scene(), "WEBP")),
    ("AVIF", "nclx: sRGB"): Declared(lambda: avif_with(1, 13), tolerance=3),
    ("AVIF", "nclx: Display P3"): Declared(lambda: avif_with(12, 13), **_in(P3), tolerance=4, magick=_NOT_READ),
    ("AVIF", "nclx: BT.2020"): Declared(lambda: avif_with(9, 14), **_in(BT2020), tolerance=4, magick=_NOT_READ),
    ("AVIF", "nclx: linear"): Declared(lambda: avif_with(1, 8), **_in(LINEAR), tolerance=6, magick=_NOT_READ),
    ("AVIF", "ICC profile, before nclx"): Declared(
        lambda: save(scene(), "AVIF", icc_profile=P3), tolerance=3, icc=True
    ),
    ("BMP", "nothing"): Declared(lambda: save(scene(), "BMP")),
    ("BMP", "ICC profile (V5 header)"): Declared(
        lambda: bmp_v5(_with_alpha(255), icc=P3), icc=True
    ),
    ("BMP", "alpha mask, every alpha 0"): Declared(lambda: bmp_v5(_with_alpha(0))),
    ("GIF", "nothing"): Declared(lambda: save(Image.fromarray(scene()).quantize(4), "GIF")),
    ("TIFF", "BlackIsZero, 1-16 and 32 bits"): Declared(
        lambda: tiff_file(_scaled(_GREY, 12), photometric=1, bits=12), **_GREY_GROUND
    ),
    ("TIFF", "WhiteIsZero, 1-16 and 32 bits"): Declared(
        lambda: tiff_file(65535 - _scaled(_GREY, 16), photometric=0, bits=16, order=">"), **_GREY_GROUND
    ),
    ("TIFF", "floats"): Declared(
        lambda: tiff_file(scene() / 255, photometric=2, bits=32, sample_format=3, order=">")
    ),
    ("TIFF", "RGB, 1-16 and 32 bits"): Declared(lambda: tiff_file(_scaled(scene(), 16), photometric=2, bits=16)),
    ("TIFF", "RGB, a plane for each colour"): Declared(
        lambda: tiff_file(scene(), photometric=2, planar=True)
    ),
    ("TIFF", "palette"): Declared(lambda: _palette_tiff(257)),
    ("TIFF", "palette, written in 0-255"): Declared(lambda: _palette_tiff(1)),
    ("TIFF", "CMYK, 8 and 16 bits"): Declared(lambda: _cmyk(16)),
    ("TIFF", "CIELab, 8 and 16 bits"): Declared(
        lambda: tiff_file(_lab_samples(), photometric=8), tolerance=3
    ),
    ("TIFF", "ICCLab, 8 and 16 bits"): Declared(
        lambda: tiff_file(_lab_samples() ^ np.array([0, 128, 128], np.uint8), photometric=9),
        tolerance=3,
        magick="takes it for CIELab",
    ),
    ("TIFF", "YCbCr"): Declared(
        lambda: tiff_file(_YCBCR, photometric=6, subsampling=(2, 2), rows_per_strip=8),
        tolerance=2,
        magick="takes the units of subsampled files for pixels",
    ),
    ("TIFF", "ICC profile"): Declared(
        lambda: tiff_file(scene(), photometric=2, fields={34675: (7, list(P3))}), icc=True
    ),
}  # fmt: skip
"""(container, declaration) -> the case."""


def shown_in_srgb(icc: bytes, pixels: Pixels) -> Pixels:
    """What lcms makes of RGB pixels under a profile."""
    shown = ImageCms.profileToProfile(
        Image.fromarray(pixels),
        ImageCms.ImageCmsProfile(BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        outputMode="RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    assert shown is not None
    return np.asarray(shown)
