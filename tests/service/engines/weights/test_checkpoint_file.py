"""A checkpoint whose hash is known is the one that is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from service.engines.protocol import WeightsUnavailable
from service.engines.weights.checkpoint_file import Checkpoint
from service.engines.weights.hashing import Fingerprint


def change(path: Path) -> None:
    path.write_bytes(b"another checkpoint")


def change_unseen(path: Path) -> None:
    """Other bytes of the same number, and the time of modification put back."""
    state = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize("spoil", [change, change_unseen, Path.unlink])
def test_a_file_that_changes_after_its_hash_was_computed_is_not_loaded(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    path = tmp_path / "mine.pth"
    path.write_bytes(b"a checkpoint")
    checkpoint = Checkpoint("file", path, "sha256:0", "unverified", Fingerprint.of(path))
    checkpoint.check_unchanged()
    spoil(path)
    with pytest.raises(WeightsUnavailable, match="changed after"):
        checkpoint.check_unchanged()


def test_dummy_weights_have_no_file_that_could_change() -> None:
    checkpoint = Checkpoint("dummy", None, "", "dummy weights", None)
    checkpoint.check_unchanged()
    assert checkpoint.source == "dummy weights"
