"""The pipeline's small parts; whole pictures go through it in ``tests/behaviour``."""

from __future__ import annotations

import pytest

from service.inference.pipeline import EncodedPicture, Progress, StageEnd, StageTimes
from tests.support import photos


def test_the_bytes_of_a_picture_can_be_taken_once() -> None:
    picture = EncodedPicture(b"PNG")
    assert picture.take() == b"PNG"
    with pytest.raises(RuntimeError, match="taken before"):
        picture.take()


def test_the_time_of_a_stage_counts_also_if_it_fails() -> None:
    times = StageTimes()

    def fail() -> None:
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        times.timed("decode", fail)()
    assert times.timed("infer", lambda: 7)() == 7
    assert [(stage.name, stage.error) for stage in times.ended] == [("decode", "ValueError"), ("infer", "")]
    assert all(0 <= stage.seconds < 10 for stage in times.ended)
    assert times.ended[0].began + times.ended[0].seconds <= times.ended[1].began


def test_progress_reports_every_stage_and_counts_no_waiting_as_running() -> None:
    reported: list[StageEnd] = []
    progress = Progress(on_stage=reported.append)
    ended = [StageEnd("decode", 0, 2.0), StageEnd("queue", 2, 100.0), StageEnd("infer", 102, 3.0)]
    for stage in ended:
        progress.add(stage)
    assert progress.running_seconds == 5.0
    assert reported == ended


@pytest.mark.parametrize(
    ("kind", "alone"), [("AVIF", True), ("JPEG", False), ("PNG", False), ("WEBP", False)]
)
def test_a_picture_that_must_be_decoded_alone_is_known_by_its_first_bytes(kind: str, alone: bool) -> None:
    picture = EncodedPicture(photos.save(photos.photograph(), kind))
    assert picture.decodes_alone is alone
    picture.take()
    assert picture.decodes_alone is False


def test_what_is_no_picture_need_not_be_decoded_alone() -> None:
    assert EncodedPicture(b"").decodes_alone is False
