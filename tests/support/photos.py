"""Builds test pictures: one textured picture in every format and mode, and files written by hand.

Tests of the imaging package and of whole requests call it; ``encoded`` is for tests in which any picture will do. All
pictures must be deterministic and made in memory.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import cache, lru_cache
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from tests.support import heic_files

Pixels = npt.NDArray[np.uint8]

SECRET = "SECRET-PLACE-51.5007N-0.1246W"
"""``with_secrets`` writes it into every metadata field."""

LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "BMP": {},
    "TIFF": {},
    "WEBP": {"lossless": True, "exact": True},
}
LOSSY: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "AVIF": {"quality": 95, "subsampling": "4:4:4", "speed": 10, "max_threads": 1},
    "GIF": {},
}
FORMATS = LOSSLESS | LOSSY
"""Pillow format -> how to save in it with little loss; the whole allow-list."""


def photograph(width: int = 96, height: int = 64, seed: int = 0) -> Pixels:
    """A smooth, textured picture with a bright disc left of the middle; H x W x 3, no two quadrants alike."""
    u = np.arange(width) / max(width - 1, 1)
    v = (np.arange(height) / max(height - 1, 1))[:, np.newaxis]
    waves = np.random.default_rng(seed).uniform(0.5, 3.0, (3, 3))
    colours = (60 + 80 * u, 60 + 80 * v, 160 - 90 * u * v)
    disc = (u - 0.35) ** 2 + (v - 0.45) ** 2 < 0.06
    picture = np.empty((height, width, 3), np.uint8)
    for channel, (colour, (a, b, c), added) in enumerate(zip(colours, waves, (180, 120, 60), strict=True)):
        scene = 25 * np.sin(2 * np.pi * (a * u + b * v) + c)
        scene += colour
        scene[disc] = scene[disc] * 0.3 + added
        picture[..., channel] = np.clip(scene, 0, 255, out=scene)
    return picture


def save(image: Image.Image | Pixels, file_format: str, **settings: Any) -> bytes:
    """A picture as a file, with the settings of ``FORMATS`` and any others."""
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    buffer = BytesIO()
    picture.save(buffer, format=file_format, **(FORMATS.get(file_format, {}) | settings))
    return buffer.getvalue()


@lru_cache(maxsize=64)
def encoded(width: int = 40, height: int = 30, file_format: str = "PNG", *, mode: str = "RGB") -> bytes:
    """``photograph`` of that size as a file, for tests in which the picture itself hardly matters."""
    return save(Image.fromarray(photograph(width, height)).convert(mode), file_format)


def orient(upright: Pixels, orientation: int) -> Pixels:
    """The pixels as a camera stores them; a viewer turns them upright by the EXIF orientation 1-8."""
    inverse = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: np.swapaxes(a, 0, 1),
        6: lambda a: np.rot90(a, 1),  # a viewer turns it 90 degrees clockwise
        7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(inverse[orientation](upright))


def error(pixels: Pixels, expected: Pixels) -> float:
    """Mean absolute difference of two pictures of one size, in levels of 255."""
    assert pixels.shape == expected.shape
    return float(np.abs(pixels.astype(int) - expected.astype(int)).mean())


def exif(orientation: int | None = None, *, secret: bool = False) -> Image.Exif:
    """An EXIF block; with ``secret``, also a GPS position, a description and a maker."""
    block = Image.Exif()
    if orientation is not None:
        block[ExifTags.Base.Orientation] = orientation
    if secret:
        block[ExifTags.Base.ImageDescription] = SECRET
        block[ExifTags.Base.Make] = SECRET
        gps = block.get_ifd(ExifTags.IFD.GPSInfo)
        gps[ExifTags.GPS.GPSLatitudeRef] = "N"
        gps[ExifTags.GPS.GPSLatitude] = (51.0, 30.0, 2.5)
        gps[ExifTags.GPS.GPSProcessingMethod] = SECRET.encode()
    return block


def with_secrets(file_format: str) -> bytes:
    """A photograph that carries ``SECRET`` in every metadata field that its format has."""
    pixels = photograph()
    xmp = f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{SECRET}</x:xmpmeta>".encode()
    settings: dict[str, Any] = {"exif": exif(secret=True).tobytes(), "xmp": xmp}
    match file_format:
        case "PNG":
            text = PngInfo()
            text.add_text("Comment", SECRET)
            text.add_text("Zipped", SECRET, zip=True)
            text.add_itxt("XML:com.adobe.xmp", xmp.decode())
            settings = {"exif": settings["exif"], "pnginfo": text}
        case "JPEG":
            settings["comment"] = SECRET
        case "GIF":
            settings = {"comment": SECRET}
        case "TIFF":
            settings = {"description": SECRET, "software": SECRET, "exif": exif(secret=True)}
        case "BMP":
            return save(pixels, "BMP") + SECRET.encode()
    return save(pixels, file_format, **settings)


@cache
def srgb_profile() -> bytes:
    """An RGB profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _profile(space: bytes, connection: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC 2.4 profile of the given tags."""
    at = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        table += struct.pack(">4sII", name, at + len(body), len(value))
        body += padded
    header = struct.pack(">I4sI4s4s4s", at + len(body), b"lcms", 0x02400000, kind, space, connection)
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)  # D50
    return header.ljust(128, b"\0") + table + body


_DESCRIPTION = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
_WHITE_POINT = b"XYZ " + bytes(4) + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)


def grey_profile(gamma: float = 1.0) -> bytes:
    """A grey profile with a pure power curve."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    return _profile(b"GRAY", b"XYZ ", b"mntr", {b"desc": _DESCRIPTION, b"wtpt": _WHITE_POINT, b"kTRC": curve})


def rgb_profile(
    red: tuple[float, float],
    green: tuple[float, float],
    blue: tuple[float, float],
    gamma: float | None = None,
) -> bytes:
    """An RGB profile of those chromaticities and white D65, with a pure power or with the curve of sRGB."""
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in (red, green, blue, (0.3127, 0.3290))]).T
    to_xyz = columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])
    # Bradford's adaptation from D65 to D50, as in the profiles of the ICC.
    d50 = np.array(
        [
            [1.0478112, 0.0228866, -0.0501270],
            [0.0295424, 0.9904844, -0.0170491],
            [-0.0092345, 0.0150436, 0.7521316],
        ]
    )
    tags = {b"desc": _DESCRIPTION, b"wtpt": _WHITE_POINT}
    for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), (d50 @ to_xyz).T, strict=True):
        tags[name] = b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in column))
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round((gamma or 1) * 256))
    if gamma is None:
        numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
        curve = b"para" + bytes(4) + struct.pack(">HH5i", 3, 0, *(round(value * 65536) for value in numbers))
    return _profile(b"RGB ", b"XYZ ", b"mntr", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
BT2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
SRGB = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
"""Chromaticities, for ``rgb_profile``."""


def scanner_profile() -> bytes:
    """An RGB profile that leads from RGB to Lab, with a table, and not back."""
    identity = bytes(range(256))
    corners = [(r, g, b) for r in (0, 1) for g in (0, 1) for b in (0, 1)]
    grid = b"".join(bytes([(r + g + b) * 85, 128 + 60 * (r - g), 128 + 60 * (g - b)]) for r, g, b in corners)
    matrix = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x10000)
    table = b"mft1" + bytes(4) + bytes([3, 3, 2, 0]) + matrix + identity * 3 + grid + identity * 3
    return _profile(b"RGB ", b"Lab ", b"scnr", {b"desc": _DESCRIPTION, b"wtpt": _WHITE_POINT, b"A2B0": table})


def cmyk_profile() -> bytes:
    """A CMYK profile in which lightness falls with the sum of the inks and all colours are neutral."""
    identity = bytes(range(256))
    grid = b"".join(bytes([255 - min(255, 64 * bin(corner).count("1")), 128, 128]) for corner in range(2**4))
    matrix = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x10000)
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4 + grid + identity * 3
    return _profile(b"CMYK", b"Lab ", b"prtr", {b"desc": _DESCRIPTION, b"wtpt": _WHITE_POINT, b"A2B0": table})


def png_chunk(name: bytes, body: bytes) -> bytes:
    """One PNG chunk, with its checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, bits: int, colour_type: int, samples: bytes, extra: bytes = b"") -> bytes:
    """A PNG written by hand, for sample depths and chunks that Pillow cannot write.

    Args:
        samples: rows without filter bytes.
        extra: whole chunks to stand between IHDR and IDAT.
    """
    stride = len(samples) // height
    rows = b"".join(b"\0" + samples[y * stride : (y + 1) * stride] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + extra
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def png_claiming(width: int, height: int) -> bytes:
    """A small PNG of 8 x 8 pixels whose header claims another size."""
    small = save(photograph(8, 8), "PNG")
    header = png_chunk(b"IHDR", struct.pack(">II", width, height) + small[24:29])
    return small[:8] + header + small[33:]


def tiff(
    entries: dict[int, tuple[int, list[int]]], body: bytes = b"", *, width: int = 8, height: int = 8
) -> bytes:
    """A little-endian TIFF written by hand: 8-bit grey pixels at offset 8, then one directory.

    Args:
        entries: tag -> (type 3 SHORT or 4 LONG, values). They replace the ordinary entries. An empty list of values
            leaves the tag out.
        body: the pixels; by default a ramp that fills the image.
    """
    body = body or bytes(i % 256 for i in range(width * height))
    tags: dict[int, tuple[int, list[int]]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [8]),
        259: (3, [1]),
        262: (3, [1]),
        273: (4, [8]),
        277: (3, [1]),
        278: (4, [height]),
        279: (4, [len(body)]),
    } | entries
    tags = {tag: entry for tag, entry in sorted(tags.items()) if entry[1]}
    start = 8 + len(body)
    table, heap = struct.pack("<H", len(tags)), b""
    heap_at = start + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in tags.items():
        packed = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(packed) > 4:
            packed, heap = struct.pack("<I", heap_at + len(heap)), heap + packed
        table += struct.pack("<HHI4s", tag, kind, len(values), packed)
    return struct.pack("<2sHI", b"II", 42, start) + body + table + bytes(4) + heap


def _modes() -> dict[str, Callable[[], bytes]]:
    rgb = photograph()
    image = Image.fromarray(rgb)
    grey = image.convert("L")
    wide = np.asarray(grey).astype(np.uint16) * 257
    soft = Image.fromarray(np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1)))
    rgba = image.copy()
    rgba.putalpha(soft)
    grey_alpha = grey.copy()
    grey_alpha.putalpha(soft)
    palette = image.quantize(64)

    def frames(file_format: str, **settings: Any) -> bytes:
        first, *others = (Image.fromarray(photograph(seed=seed)) for seed in (0, 1, 2))
        return save(first, file_format, save_all=True, append_images=others, **settings)

    rgb16 = np.repeat(rgb, 2, axis=-1).tobytes()  # v * 257, high byte first
    rgba16 = np.repeat(np.asarray(rgba), 2, axis=-1).tobytes()
    return {
        **{name: (lambda name=name: save(rgb, name)) for name in FORMATS},
        "JPEG progressive": lambda: save(rgb, "JPEG", progressive=True),
        "JPEG 4:2:0": lambda: save(rgb, "JPEG", subsampling="4:2:0"),
        "JPEG grey": lambda: save(grey, "JPEG"),
        "JPEG CMYK": lambda: save(image.convert("CMYK"), "JPEG"),
        "JPEG MPO": lambda: frames("MPO", quality=95),
        "JPEG with a film behind": lambda: save(rgb, "JPEG") + b"\0\0\0\x18ftypmp42" + b"\xff\xda" * 5000,
        "PNG 1-bit": lambda: save(grey.convert("1"), "PNG"),
        "PNG grey": lambda: save(grey, "PNG"),
        "PNG grey, transparent key": lambda: save(grey, "PNG", transparency=int(np.asarray(grey)[0, 0])),
        "PNG grey 16": lambda: save(Image.fromarray(wide), "PNG"),
        "PNG grey alpha": lambda: save(grey_alpha, "PNG"),
        "PNG palette": lambda: save(palette, "PNG"),
        "PNG palette, one clear": lambda: save(palette, "PNG", transparency=0),
        "PNG palette, soft": lambda: save(palette, "PNG", transparency=bytes(range(0, 256, 4))),
        "PNG RGB, transparent key": lambda: save(image, "PNG", transparency=tuple(map(int, rgb[0, 0]))),
        "PNG RGBA": lambda: save(rgba, "PNG"),
        "PNG RGB 16": lambda: png(96, 64, 16, 2, rgb16),
        "PNG RGBA 16": lambda: png(96, 64, 16, 6, rgba16),
        "PNG animated": lambda: frames("PNG", duration=50),
        "PNG with 3 MiB of text": lambda: png(
            96, 64, 8, 2, rgb.tobytes(), png_chunk(b"zTXt", b"w\0\0" + zlib.compress(bytes(3 << 20)))
        ),
        "WEBP lossy": lambda: save(rgb, "WEBP", lossless=False, quality=90),
        "WEBP RGBA": lambda: save(rgba, "WEBP"),
        "WEBP animated": lambda: frames("WEBP", duration=50),
        "AVIF RGBA": lambda: save(rgba, "AVIF"),
        "AVIF grey": lambda: save(grey, "AVIF", subsampling="4:0:0"),
        "AVIF animated": lambda: frames("AVIF", duration=50),
        "HEIC": lambda: heic_files.sample("scene"),
        "HEIC RGBA": lambda: heic_files.sample("rgba"),
        "HEIC grey": lambda: heic_files.sample("grey"),
        "HEIC ten bits": lambda: heic_files.sample("ten-bit"),
        "HEIC grid": heic_files.grid,
        "BMP grey": lambda: save(grey, "BMP"),
        "BMP palette": lambda: save(palette, "BMP"),
        "BMP 1-bit": lambda: save(grey.convert("1"), "BMP"),
        "TIFF grey 16": lambda: save(Image.fromarray(wide), "TIFF"),
        "TIFF float": lambda: save(Image.fromarray(np.asarray(grey, np.float32) / 255), "TIFF"),
        "TIFF 32-bit integers": lambda: save(Image.fromarray(wide.astype(np.int32)), "TIFF"),
        "TIFF CMYK": lambda: save(image.convert("CMYK"), "TIFF"),
        "TIFF Lab": lambda: save(_lab(image), "TIFF"),
        "TIFF RGBA": lambda: save(rgba, "TIFF"),
        "TIFF palette": lambda: save(palette, "TIFF"),
        "TIFF LZW": lambda: save(rgb, "TIFF", compression="tiff_lzw"),
        "TIFF deflate": lambda: save(rgb, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF JPEG": lambda: save(rgb, "TIFF", compression="jpeg", quality=95),
        "TIFF G4": lambda: save(grey.convert("1"), "TIFF", compression="group4"),
        "TIFF many pages": lambda: frames("TIFF"),
        "TIFF big": lambda: save(rgb, "TIFF", big_tiff=True),
        "GIF grey": lambda: save(grey, "GIF"),
        "GIF, one clear": lambda: save(palette, "GIF", transparency=0),
        "GIF animated": lambda: frames("GIF", duration=50),
        "GIF interlaced": lambda: save(palette, "GIF", interlace=1),
    }


def _lab(image: Image.Image) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert converted is not None
    return converted


MODES = _modes()
"""Name -> a function that makes the file; each shows ``photograph()``, 96 x 64, as well as its mode can."""


@cache
def mode(name: str) -> bytes:
    """One of ``MODES``, made once."""
    return MODES[name]()
