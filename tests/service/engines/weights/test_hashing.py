"""Hashes of checkpoint files: computed once, remembered, and not trusted once the file has changed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from service.engines.protocol import WeightsUnavailable
from service.engines.weights.hashing import file_hash


def md5(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


def test_a_hash_is_computed_once_and_remembered(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(b"one")
    first, _ = file_hash(path, "md5")
    state = path.stat()
    path.write_bytes(b"two")  # with the same size and time, only reading the file would show the difference
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert first == file_hash(path, "md5")[0] == md5(b"one")


def test_a_remembered_hash_is_ignored_once_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(b"one")
    first, _ = file_hash(path, "md5")
    path.write_bytes(b"two")  # of the same size
    os.utime(path, ns=(1, 1))
    second, _ = file_hash(path, "md5")
    assert (first, second) == (md5(b"one"), md5(b"two"))


@pytest.mark.parametrize("text", ["", "[]", "null", '{"md5": 5}', "{"])
def test_an_invalid_memory_of_a_hash_is_ignored(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(b"one")
    path.with_name("x.pth.md5.json").write_text(text)
    assert file_hash(path, "md5")[0] == md5(b"one")
    assert json.loads(path.with_name("x.pth.md5.json").read_text())["md5"] == md5(b"one")


def test_a_hash_that_cannot_be_remembered_is_computed_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(b"one")
    path.with_name("x.pth.md5.json").mkdir()
    assert file_hash(path, "md5")[0] == md5(b"one")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match=r"cannot read .*absent\.pth: No such file"):
        file_hash(tmp_path / "absent.pth", "md5")
