"""Colours that a file declares by numbers instead of an ICC profile, and their way to sRGB.

The modules of formats build an ``Encoding`` from what a file says: code points of ITU-T H.273 (PNG ``cICP``; ``nclx``
of AVIF and HEIC), a power and chromaticities (PNG ``gAMA``, ``cHRM``). The arithmetic runs on strips, and most of it is
look-up, so a conversion needs about 40 bytes for each pixel of a strip. ``None`` always means: sRGB already.

The formulas are those of H.273 (2021) tables 2 and 3, BT.2100-2 table 4 and 5, and IEC 61966-2-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache

import numpy as np
import numpy.typing as npt

from service.imaging.picture import Pixels

Floats = npt.NDArray[np.float32]
Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

Point = tuple[float, float]
Primaries = tuple[Point, Point, Point, Point]
"""CIE 1931 x, y of red, green, blue and white."""

_D65 = (0.3127, 0.3290)
_ILLUMINANT_C = (0.310, 0.316)
SRGB_PRIMARIES: Primaries = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65)

_PRIMARIES: dict[int, Primaries] = {
    1: SRGB_PRIMARIES,
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _ILLUMINANT_C),  # BT.470 M
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),  # BT.470 B, G; BT.601 625 lines
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),  # BT.601 525 lines
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),  # SMPTE 240M
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _ILLUMINANT_C),  # film
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),  # BT.2020, BT.2100
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),  # DCI-P3
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),  # Display P3
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),  # EBU Tech. 3213-E
}
"""ColourPrimaries of H.273."""


class Curve(Enum):
    """A transfer function that is no plain power."""

    SRGB = "sRGB"
    PQ = "PQ"
    HLG = "HLG"


Transfer = Curve | float
"""A curve, or the power by which a sample (0-1) becomes light."""

_TRANSFERS: dict[int, Transfer] = {
    # The curves of cameras (BT.709, BT.601, BT.2020) are shown as sRGB, as browsers and players do: they say how light
    # became a signal, not how a screen turns it back.
    **dict.fromkeys((1, 6, 7, 11, 12, 14, 15), Curve.SRGB),
    4: 2.2,
    5: 2.8,
    8: 1.0,
    13: Curve.SRGB,
    16: Curve.PQ,
    18: Curve.HLG,
}
"""TransferCharacteristics of H.273."""

REFERENCE_WHITE = 203.0
"""The brightness, in cd/m2, that becomes the white of sRGB (BT.2408)."""
_HLG_PEAK = 1000.0
"""The brightness, in cd/m2, of the screen for which an HLG signal is meant (BT.2100)."""
KNEE = 0.75
"""Light up to this share of the reference white stays as it is; all that is brighter is pressed into the rest."""

_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_LARGEST_FACTOR = 100
"""Of a conversion matrix. Those of real chromaticities have factors below 4."""
_SAME = 2e-3
"""Chromaticities that differ less are the same: files round them."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How RGB samples are meant."""

    primaries: Primaries = SRGB_PRIMARIES
    transfer: Transfer = Curve.SRGB
    full_range: bool = True
    """False: black is 16/255 and white 235/255, as in video."""

    @property
    def is_srgb(self) -> bool:
        """Whether nothing has to be converted."""
        return self.transfer is Curve.SRGB and self.full_range and self._has_srgb_primaries

    @property
    def _has_srgb_primaries(self) -> bool:
        return bool(np.allclose(self.primaries, SRGB_PRIMARIES, rtol=0, atol=_SAME))

    def to_srgb(self, samples: Samples) -> Pixels:
        """Convert samples.

        Colours that sRGB does not have are cut off at its borders. PQ and HLG are tone-mapped: the reference white
        becomes white but for the room that the highlights need.

        Args:
            samples: h x w x 3, uint8 or uint16, full scale.

        Returns:
            h x w x 3, uint8.
        """
        light = _light_of(self, samples.dtype.itemsize)
        hdr = self.transfer in (Curve.PQ, Curve.HLG)
        if self._has_srgb_primaries and not hdr:
            table = _srgb_of(light)
            srgb: Pixels = table[samples]
            return srgb
        rgb = light[samples]
        if self.transfer is Curve.HLG:
            luminance = rgb @ _to_xyz(self.primaries)[1].astype(np.float32)
            rgb *= (np.float32(_HLG_PEAK / REFERENCE_WHITE) * luminance**0.2)[..., np.newaxis]
        if hdr:
            _tone_map(rgb)
        if not self._has_srgb_primaries:
            rgb = rgb @ _matrix_to_srgb(self.primaries).T
        return _srgb_of(rgb)


def from_code_points(primaries: int, transfer: int, *, full_range: bool = True) -> Encoding | None:
    """The encoding that code points of H.273 name.

    Returns:
        None if they mean sRGB, or if both are unspecified or unknown. If one of them is, it counts as sRGB's.
    """
    if primaries not in _PRIMARIES and transfer not in _TRANSFERS:
        return None
    encoding = Encoding(
        _PRIMARIES.get(primaries, SRGB_PRIMARIES), _TRANSFERS.get(transfer, Curve.SRGB), full_range
    )
    return None if encoding.is_srgb else encoding


def from_power(power: float | None, primaries: Primaries | None) -> Encoding | None:
    """The encoding with a power (sample ** power = light) and chromaticities; None for either counts as sRGB's.

    Returns:
        None if it is sRGB, or if the chromaticities span no colours. The power 2.2 with sRGB's chromaticities is how
        writers without a better word say sRGB.
    """
    if primaries is not None and not _spans_colours(primaries):
        primaries = None
    encoding = Encoding(primaries or SRGB_PRIMARIES, Curve.SRGB)
    if power is not None and not (encoding.is_srgb and abs(power - 2.2) < 0.01):
        encoding = Encoding(encoding.primaries, power)
    return None if encoding.is_srgb else encoding


def _spans_colours(primaries: Primaries) -> bool:
    if min(y for _, y in primaries) < _SAME:
        return False
    try:
        with np.errstate(all="ignore"):
            matrix = _matrix_to_srgb(primaries)
    except np.linalg.LinAlgError:
        return False
    return bool((np.abs(matrix) < _LARGEST_FACTOR).all())  # false for NaN, too


def _light_of(encoding: Encoding, sample_bytes: int) -> Floats:
    """The light of every sample value; 1 is white, and for PQ the reference white. HLG: scene light, 1 at the peak."""
    signal = np.linspace(0, 1, 256**sample_bytes)
    if not encoding.full_range:
        signal = np.clip((signal * 255 - 16) / 219, 0, 1)
    match encoding.transfer:
        case Curve.SRGB:
            light = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
        case Curve.PQ:
            root = signal ** (32 / 2523)
            light = np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)
            light = light ** (16384 / 2610) * (10_000 / REFERENCE_WHITE)
        case Curve.HLG:
            light = np.where(
                signal <= 0.5, signal**2 / 3, (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
            )
        case power:
            light = signal**power
    return light.astype(np.float32)


def _tone_map(rgb: Floats) -> None:
    """Press highlights below 1, in place. All three channels shrink alike, so that the hue stays."""
    peak = rgb.max(axis=-1, keepdims=True)
    room = np.float32(1 - KNEE)
    pressed = KNEE + room * (1 - np.exp((KNEE - peak) / room))
    rgb *= np.where(peak > KNEE, pressed / np.maximum(peak, KNEE), np.float32(1))


@cache
def _srgb_table() -> Pixels:
    light = np.linspace(0, 1, 1 << 16)
    signal = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    table: Pixels = np.rint(signal * 255).astype(np.uint8)
    return table


def _srgb_of(light: Floats) -> Pixels:
    """Linear light of sRGB's primaries -> sRGB, cut off at 0 and 1. Overwrites ``light``."""
    np.clip(light, 0, 1, out=light)
    light *= 65535
    light += 0.5
    srgb: Pixels = _srgb_table()[light.astype(np.uint16)]
    return srgb


def _to_xyz(primaries: Primaries) -> npt.NDArray[np.float64]:
    """The matrix from linear RGB to XYZ, with the white at Y = 1."""
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in primaries]).T
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])


def _matrix_to_srgb(primaries: Primaries) -> Floats:
    """The matrix from linear RGB to linear sRGB; the white is adapted (Bradford)."""
    source, target = _to_xyz(primaries), _to_xyz(SRGB_PRIMARIES)
    cone_ratio = (_BRADFORD @ target.sum(axis=1)) / (_BRADFORD @ source.sum(axis=1))
    adapted = np.linalg.solve(_BRADFORD, cone_ratio[:, np.newaxis] * _BRADFORD) @ source
    matrix: Floats = np.linalg.solve(target, adapted).astype(np.float32)
    return matrix
