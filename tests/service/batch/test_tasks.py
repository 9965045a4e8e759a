"""Reading a picture for a task."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.batch.ledger import Stamp
from service.batch.tasks import NotCutOut, read_file
from service.errors import TooLarge


def test_a_file_is_read_with_its_stamp(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"12345")
    assert read_file(file, max_bytes=5) == (b"12345", Stamp.of(file.stat()))


def test_a_file_over_the_limit_is_refused_with_the_way_to_raise_it(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"123456")
    with pytest.raises(TooLarge, match=r"5 bytes, the limit\. --max-upload-bytes"):
        read_file(file, max_bytes=5)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(NotCutOut, match="empty"):
        read_file(tmp_path / "a", max_bytes=5)


def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, system = tmp_path / "a", os.fstat
    file.write_bytes(b"12345")

    def changing(descriptor: int) -> os.stat_result:
        found = system(descriptor)
        with file.open("ab") as more:
            more.write(b"6")
        return found

    monkeypatch.setattr(os, "fstat", changing)
    with pytest.raises(NotCutOut, match="changed while it was read"):
        read_file(file, max_bytes=100)
