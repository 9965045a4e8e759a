"""The pipeline's small parts; whole pictures go through it in ``tests/behaviour``."""

from __future__ import annotations

import pytest

from service.inference.pipeline import EncodedPicture, Progress


def test_the_bytes_of_a_picture_can_be_taken_once() -> None:
    picture = EncodedPicture(b"PNG")
    assert picture.take() == b"PNG"
    with pytest.raises(RuntimeError, match="taken before"):
        picture.take()


def test_progress_keeps_the_time_of_a_stage_that_fails_and_counts_no_waiting_as_running() -> None:
    progress = Progress()

    def fail() -> None:
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        progress.timed("decode", fail)()
    assert progress.timed("infer", lambda: 7)() == 7
    progress.seconds["queue"] = 100.0
    assert set(progress.seconds) == {"decode", "infer", "queue"}
    assert 0 <= progress.running_seconds < 10
