"""Work that nobody waits for any more still counts: its duration, its failure of the device, and its place."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from service.engines.protocol import RGB, Alpha, DeviceError, OutOfMemory
from service.imaging.options import Options
from service.inference.pipeline import EncodedPicture, Progress
from tests.support.running_service import Service, Start
from tests.support.scripted_engine import Hold, ScriptedEngine


async def timed_out(
    start: Start, engine: ScriptedEngine, hold: Callable[[RGB], Alpha], photo: bytes
) -> Service:
    """A service whose client got its 504 while its picture ran in the device thread."""
    service = await start(engine, request_timeout=0.2, warmup_interval=3600, drain_timeout=30)
    engine.on_infer = hold
    assert (await service.post(photo))[0] == 504
    assert service.device_thread.busy
    return service


async def test_the_duration_of_an_inference_that_outlasts_its_client_is_recorded_when_it_ends(
    start: Start, photo: bytes
) -> None:
    engine, hold = ScriptedEngine(), Hold()
    service = await timed_out(start, engine, hold, photo)
    assert service.value("stage_duration_seconds_count", stage="infer") == 0
    hold.release.set()
    await service.until(lambda: service.admission.taken == 0)
    assert service.value("stage_duration_seconds_count", stage="infer") == 1
    # The client waited for 0.2 s, of which a part was over before the inference began.
    assert service.value("stage_duration_seconds_sum", stage="infer") > 0.1
    for stage in ("queue", "decode"):
        assert service.value("stage_duration_seconds_count", stage=stage) == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OutOfMemory("no room"), "oom"),
        (MemoryError(), "oom"),
        (DeviceError("odd", sticky=False), "other"),
        (DeviceError("gone", sticky=True), "sticky"),
    ],
    ids=repr,
)
async def test_a_device_failure_that_outlasts_its_client_is_counted_and_acted_on(
    start: Start, photo: bytes, error: Exception, kind: str
) -> None:
    engine, hold = ScriptedEngine(), Hold()

    def fail_late(image: RGB) -> Alpha:
        hold(image)
        raise error

    service = await timed_out(start, engine, fail_late, photo)
    hold.release.set()
    await service.until(lambda: service.value("device_errors_total", kind=kind) == 1)
    assert service.parts.lifecycle.draining is (kind == "sticky")


async def test_the_times_of_a_picture_are_written_in_the_event_loop_only(start: Start, photo: bytes) -> None:
    """They are read there, also while a thread still works on the picture: a write by that thread would be a race."""
    threads: set[str] = set()

    class Watched(dict[str, float]):
        def __setitem__(self, stage: str, seconds: float) -> None:
            threads.add(threading.current_thread().name)
            super().__setitem__(stage, seconds)

    service = await start(warmup_interval=3600)
    progress = Progress()
    progress.seconds = Watched()
    with service.admission.take_place() as place:
        service.admission.enqueue(place)
        await service.parts.pipeline.run(EncodedPicture(photo), Options(), place=place, progress=progress)
    assert set(progress.seconds) == {"decode", "queue", "infer", "compose", "encode"}
    assert threads == {threading.current_thread().name}
