"""Hashes of checkpoint files are those of the bytes on the disk now, whatever an earlier start has seen."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from service.engines.protocol import WeightsUnavailable
from service.engines.weights.hashing import Fingerprint, file_hashes


def put_back(path: Path, body: bytes) -> None:
    """Write other bytes of the same length, and restore the times, as a backup does and an attacker may."""
    state = path.stat()
    path.write_bytes(body)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_all_hashes_come_from_one_reading(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(b"one")
    digests, fingerprint = file_hashes(path, "md5", "sha256")
    assert digests == {"md5": hashlib.md5(b"one").hexdigest(), "sha256": hashlib.sha256(b"one").hexdigest()}
    assert fingerprint == Fingerprint.of(path)


def test_a_file_that_changed_behind_its_size_and_time_has_another_hash_and_fingerprint(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(b"one")
    _, before = file_hashes(path, "md5")
    put_back(path, b"two")
    digests, after = file_hashes(path, "md5")
    assert (after.size, after.mtime_ns, after.inode) == (before.size, before.mtime_ns, before.inode)
    assert digests["md5"] == hashlib.md5(b"two").hexdigest()
    assert after != before


def test_a_note_of_a_hash_beside_the_file_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(b"forged")
    state = path.stat()
    note = {"md5": hashlib.md5(b"good").hexdigest(), "size": state.st_size, "mtime_ns": state.st_mtime_ns}
    path.with_name("x.pth.md5.json").write_text(json.dumps(note))
    assert file_hashes(path, "md5")[0]["md5"] == hashlib.md5(b"forged").hexdigest()


def test_nothing_is_written_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(b"one")
    file_hashes(path, "md5", "sha256")
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match=r"cannot read .*absent\.pth: No such file"):
        file_hashes(tmp_path / "absent.pth", "md5")
