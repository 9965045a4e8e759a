"""A checkpoint that was verified is the one that is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from service.engines.protocol import WeightsUnavailable
from service.engines.weights.checkpoint_file import Checkpoint
from service.engines.weights.hashing import Fingerprint


def change(path: Path) -> None:
    path.write_bytes(b"another checkpoint")


@pytest.mark.parametrize("spoil", [change, Path.unlink])
def test_a_file_that_changes_after_its_verification_is_not_loaded(
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
