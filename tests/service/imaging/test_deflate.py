"""What compresses PNG files: the fast packages where they are installed, and plain zlib where not."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from service.imaging import deflate

WITHOUT = """
import sys
for name in {names}:
    sys.modules[name] = None
from io import BytesIO
import numpy as np
from PIL import Image
from service.imaging import deflate
from service.imaging.png_writer import write_png
for shape in ((90, 80), (90, 80, 3), (90, 80, 4)):
    pixels = np.random.default_rng(0).integers(0, 9, shape, np.uint8)
    assert np.array_equal(np.asarray(Image.open(BytesIO(write_png(pixels)))), pixels)
print(deflate.in_use(), deflate.missing(), sep="|")
"""


@pytest.mark.parametrize(
    ("names", "in_use", "missing"),
    [
        (["isal", "zlib_ng"], "zlib ", ["isal", "zlib-ng"]),
        (["isal"], "zlib-ng ", ["isal"]),
        (["zlib_ng"], "isal ", ["zlib-ng"]),
    ],
)
def test_where_a_package_is_missing_another_compresses_and_that_is_said(
    names: list[str], in_use: str, missing: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(names=names)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    said, _, what = done.stdout.strip().partition("|")
    assert said.startswith(in_use)
    assert what == str(missing)
    assert ("zlib " in said) == ("zlib_ng" in names)


def test_both_packages_are_installed_here() -> None:
    assert deflate.missing() == []
    assert deflate.in_use().startswith("isal ")


def test_the_checksum_is_that_of_zlib_and_can_be_continued() -> None:
    assert deflate.crc32(b"456789", deflate.crc32(b"123")) == 0xCBF43926


def test_rows_of_a_photograph_become_no_larger_than_with_plain_zlib_by_runs() -> None:
    import zlib

    rows = np.random.default_rng(0).integers(0, 6, 200_000, np.uint8)
    plain = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    stream = deflate.for_pictures()
    ours = stream.compress(rows.data) + stream.flush()
    assert len(ours) <= 1.005 * len(plain.compress(rows.data) + plain.flush())
