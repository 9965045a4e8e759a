"""The type of a format: what a client is told of a broken file."""

from __future__ import annotations

import struct

import pytest

from service.errors import Undecodable
from service.imaging.formats.file_format import FileFormat, Malformed, StrippedFile


def file_format(error: Exception) -> FileFormat:
    """A format for which every file is broken in the same way."""

    def strip(data: bytes) -> StrippedFile:
        raise error

    def open_file(_: object) -> None:
        raise NotImplementedError

    return FileFormat("XYZ", matches=bool, strip=strip, open=open_file)  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [Malformed(), struct.error("too short"), IndexError()], ids=repr)
def test_a_broken_file_is_undecodable_and_its_format_is_named(error: Exception) -> None:
    with pytest.raises(Undecodable, match="The XYZ file is damaged or incomplete") as caught:
        file_format(error).strip_metadata(b"data")
    assert "too short" not in caught.value.message


def test_an_error_of_the_code_is_not_taken_for_a_broken_file() -> None:
    with pytest.raises(ZeroDivisionError):
        file_format(ZeroDivisionError()).strip_metadata(b"data")
