"""Raw files that are no TIFF files are known by their first bytes."""

from __future__ import annotations

import pytest

from service.errors import UnsupportedType
from service.imaging.formats.raw import has_raw_signature
from service.imaging.formats.recognise import recognise
from tests.support import photos


@pytest.mark.parametrize(
    "start",
    [
        b"IIU\0\x18\0\0\0",
        b"IIRO\x08\0\0\0",
        b"IIRS\x08\0\0\0",
        b"MMOR\0\0\0\x08",
        b"FUJIFILMCCD-RAW 0201",
        b"II\x1a\0\0\0HEAPCCDR",
        b"\0MRM\0\0\0\0",
        b"FOVb\0\0\x02\0",
        b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    ],
    ids=["RW2", "ORF", "ORF, IIRS", "ORF, big-endian", "RAF", "CRW", "MRW", "X3F", "CR3"],
)
def test_a_raw_file_is_refused_in_words(start: bytes) -> None:
    with pytest.raises(UnsupportedType, match=r"raw file\..*JPEG") as caught:
        recognise(start + bytes(200))
    assert caught.value.status == 415


@pytest.mark.parametrize("name", photos.FORMATS)
def test_a_picture_has_no_raw_signature(name: str) -> None:
    assert not has_raw_signature(photos.mode(name))
