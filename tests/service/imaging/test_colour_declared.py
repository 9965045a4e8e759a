"""Every declaration of colours in the table of ``docs/pictures.md``, by its standard and by ImageMagick."""

from __future__ import annotations

import re
import subprocess

import numpy as np
import numpy.typing as npt
import pytest

from service.imaging.decode import decode
from service.imaging.picture import Picture
from tests.support import declared, photos
from tests.support.declared import DECLARED, Declared
from tests.support.programs import ROOT, program

NAMES = [": ".join(name) for name in DECLARED]


def read(data: bytes) -> Picture:
    return decode(data, max_pixels=1_000_000)


def magick(data: bytes, width: int, height: int) -> npt.NDArray[np.uint8]:
    """The file as ImageMagick shows it: H x W x 4, sRGB; its first picture."""
    done = subprocess.run(
        [program("convert"), "-[0]", "-colorspace", "sRGB", "-depth", "8", "rgba:-"],
        input=data,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert len(done.stdout) == 4 * width * height, done.stderr.decode()
    return np.frombuffer(done.stdout, np.uint8).reshape(height, width, 4)


@pytest.mark.parametrize("case", DECLARED.values(), ids=NAMES)
def test_a_declared_colour_is_shown_as_its_standard_says(case: Declared) -> None:
    picture = read(case.make())
    assert (picture.icc is not None) is case.icc
    assert picture.alpha is None
    for place, colour in ((declared.IN_GROUND, case.ground), (declared.IN_SUBJECT, case.subject)):
        assert np.abs(picture.rgb[place].astype(float) - colour).max() <= case.tolerance, picture.rgb[place]


ALIKE = [name for name, case in DECLARED.items() if case.magick == "agrees"]


@pytest.mark.parametrize("name", ALIKE, ids=": ".join)
def test_imagemagick_shows_a_declared_colour_alike(name: tuple[str, str]) -> None:
    """Where it does not, the case says why, and the test above has the figures of the standard.

    The two decoders share no code but that for compression. Both leave pixels in the space of an ICC profile.
    """
    case = DECLARED[name]
    data = case.make()
    shown = magick(data, declared.WIDTH, declared.HEIGHT)
    assert np.abs(read(data).rgb.astype(int) - shown[..., :3]).max() <= 2 * case.tolerance


def test_the_table_in_the_documentation_has_exactly_these_declarations() -> None:
    text = (ROOT / "docs/pictures.md").read_text()
    table = text[text.index("| container |") :].partition("\n\n")[0].splitlines()[2:]
    rows = {tuple(re.sub(r"`", "", cell).strip() for cell in row.split("|")[1:3]) for row in table}
    assert rows == DECLARED.keys() | UNDRAWN


UNDRAWN = {("PNG", "cICP: PQ, HLG"), ("AVIF", "nclx: PQ, HLG")}
"""Rows whose scene would be another; tested below."""


@pytest.mark.parametrize(
    "make", [declared.avif_with, lambda *points: declared.png_with(declared.code_points(*points))]
)
@pytest.mark.parametrize(
    ("transfer", "reference_white"),
    [(16, 148), (18, 191)],  # BT.2408: 58 % of a PQ signal and 75 % of an HLG signal are 203 cd/m2
    ids=["PQ", "HLG"],
)
def test_high_dynamic_range_is_tone_mapped(make: object, transfer: int, reference_white: int) -> None:
    """Black stays black, the reference white is nearly white, what is brighter is between it and white."""
    levels = []
    for level in (0, 90, reference_white, 220, 255):
        pixels = declared.scene((level,) * 3, (level,) * 3)
        if make is declared.avif_with:
            data = photos.save(pixels, "AVIF")
            at = data.index(b"colrnclx") + 8
            data = data[:at] + bytes([0, 9, 0, transfer]) + data[at + 4 :]
        else:
            data = declared.png_with(declared.code_points(9, transfer), pixels=pixels)
        shown = read(data).rgb[declared.IN_GROUND]
        assert np.ptp(shown.astype(int)) <= 1, "grey stays grey"
        levels.append(int(shown[0]))
    assert levels == sorted(levels)
    black, dark, white, _, brightest = levels
    assert black == 0
    assert 10 < dark < 140
    assert 240 <= white <= 250
    assert brightest >= 254


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 32])
@pytest.mark.parametrize("photometric", [0, 1])
def test_grey_tiff_files_of_every_depth_are_as_imagemagick_shows_them(
    photometric: int, bits: int, compression: int, order: str
) -> None:
    from tests.support.tiff_files import tiff_file

    most = (1 << bits) - 1
    values = np.rint(np.linspace(0, most, 60 * 41)).astype(np.uint64).reshape(41, 60, 1)
    data = tiff_file(values, photometric=photometric, bits=bits, compression=compression, order=order)
    shown = read(data).rgb
    right = values / most * 255
    assert np.abs(shown - (255 - right if photometric == 0 else right)).max() <= 1
    if photometric == 0 and bits not in (1, 8, 16):
        return  # ImageMagick 6 inverts these depths wrongly: 4 bits, black, is 17 there
    assert np.abs(shown.astype(int) - magick(data, 60, 41)[..., :3]).max() <= 1
