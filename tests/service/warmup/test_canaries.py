"""The canaries of all sizes: what is kept, and what is forgotten."""

from __future__ import annotations

import io

from PIL import Image

from service.warmup.canaries import MOST_KEPT, Canaries
from supervisor import Size
from tests.support.scripted_engine import ScriptedEngine


def made(*sizes: Size) -> Canaries:
    canaries = Canaries(ScriptedEngine(), side=32)
    canaries.make(canaries.small)
    for size in sizes:
        canaries.make(size)
        canaries.judge(size)
    return canaries


def test_a_picture_has_the_size_that_is_asked_for() -> None:
    canaries = made(Size(96, 64))
    with Image.open(io.BytesIO(canaries.picture(Size(96, 64)))) as image:
        assert image.size == (96, 64)


def test_a_size_keeps_its_judge_until_the_engine_computes_other_masks() -> None:
    canaries = made()
    judge = canaries.judge(canaries.small)
    assert canaries.judge(canaries.small) is judge
    canaries.forget()
    assert canaries.judge(canaries.small) is not judge


def test_only_the_small_canary_and_the_most_recent_sizes_are_kept() -> None:
    sizes = [Size(side, side) for side in range(64, 64 + 10)]
    canaries = made(*sizes)
    first = canaries.judge(canaries.small)
    kept = [size for size in sizes if size in canaries._pictures]
    assert kept == sizes[-MOST_KEPT:]
    canaries.keep(sizes[-1])
    real = canaries.judge(sizes[-1])
    for size in sizes[:-1]:
        canaries.judge(size)
    assert canaries.judge(sizes[-1]) is real, "the real size's"
    assert canaries.judge(canaries.small) is first
