"""References: the service is warm only while it makes the masks that the operator has accepted."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from service.cli import accept
from service.engines.protocol import RGB, Alpha, ConfigurationError, EngineInfo, ReportPhase
from service.settings import Settings
from service.warmup.references import acceptance
from service.warmup.references.reference_set import ReferenceSet
from tests.support import photos
from tests.support.running_service import Start
from tests.support.scripted_engine import ScriptedEngine, disc

PHOTO = photos.encoded()
NAMES = [f"photo {number}.png" for number in range(10)]


def inverted(image: RGB) -> Alpha:
    """What other weights of the same shape might make of it."""
    return 1 - disc(image)


def wrong_about(number: int) -> Callable[[RGB], Alpha]:
    """An engine whose masks are right, except that of one reference."""
    return lambda image: inverted(image) if image.shape[1] == 30 + number else disc(image)


@pytest.fixture(scope="module")
def accepted_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures, accepted with the scripted engine; no test changes them."""
    folder = tmp_path_factory.mktemp("accepted")
    for number, name in enumerate(NAMES):
        (folder / name).write_bytes(photos.encoded(30 + number, 20))
    acceptance.accept(
        folder,
        masks=None,
        max_pixels=10**6,
        max_error=None,
        cutting=lambda *_: accept.opened_pipeline(Settings(), ScriptedEngine()),
        report=lambda _: None,
    )
    return folder


@pytest.fixture
def accepted(accepted_set: Path, tmp_path: Path) -> Path:
    """A copy of the accepted pictures, for one test."""
    return shutil.copytree(accepted_set, tmp_path, dirs_exist_ok=True)


def seen(engine: ScriptedEngine) -> set[int]:
    """The numbers of the references that reached the device thread."""
    return {width - 30 for width, height in engine.seen if height == 20}


@pytest.mark.parametrize(("gate", "judged"), [("none", set()), ("first", {0}), ("all", set(range(10)))])
async def test_requests_wait_for_the_references_of_the_gate_and_no_others(
    start: Start, accepted: Path, gate: str, judged: set[int]
) -> None:
    engine = ScriptedEngine()
    service = await start(engine, wait=False, references=accepted, references_gate=gate)
    assert (await service.post(PHOTO))[0] == 200
    before = engine.seen[: engine.seen.index((40, 30))]
    assert {width - 30 for width, height in before if height == 20} == judged


async def test_every_reference_is_judged_in_the_end(start: Start, accepted: Path) -> None:
    engine = ScriptedEngine()
    service = await start(engine, references=accepted, warmup_interval=0.02)
    await service.until(lambda: service.value("warmup_references", state="pass") == 10)
    said = await service.warmth()
    assert said["code"] == 200
    assert said["references"]["worst"]["error"] <= 0.002
    assert {**said["references"], "worst": None} == {
        "total": 10,
        "pass": 10,
        "fail": 0,
        "pending": 0,
        "worst": None,
    }
    assert seen(engine) == set(range(10))


async def test_other_weights_are_told_refuse_requests_and_are_mended_by_the_right_ones(
    start: Start, accepted: Path
) -> None:
    engine = ScriptedEngine()
    engine.on_infer = inverted
    service = await start(engine, wait=False, references=accepted)
    status, body, _ = await service.post(PHOTO)
    assert (status, b"GET /warmup says why" in body) == (503, True)
    said = await service.warmth()
    assert (said["code"], said["outcome"], said["reason_code"]) == (500, "disagrees", "reference_failed")
    assert said["message"].startswith(
        "Warmup failed: the mask of photo 0.png differs from the accepted one by 0."
    )
    assert said["references"]["worst"]["file"] == "photo 0.png"
    assert await service.readyz() == 503
    assert service.value("warmup_runs_total", outcome="disagrees") >= 1
    assert service.value("warmup_reference_worst_error_ratio") > 0.2
    repaired = await start(references=accepted)
    assert (await repaired.post(PHOTO))[0] == 200
    assert (await repaired.warmth())["code"] == 200


async def test_one_bad_reference_among_ten_fails_and_does_not_flap(start: Start, accepted: Path) -> None:
    engine = ScriptedEngine()
    engine.on_infer = wrong_about(6)
    service = await start(engine, references=accepted, warmup_interval=0.02)
    await service.until(lambda: service.value("warmup_references", state="fail") == 1)
    await service.until(lambda: not service.parts.supervisor.ready)
    for _ in range(30):
        said = await service.warmth()
        assert (said["code"], said["reason_code"], said["references"]["worst"]["file"]) == (
            500,
            "reference_failed",
            "photo 6.png",
        )
        assert await service.readyz() == 503
    engine.on_infer = disc
    await service.until(lambda: service.value("warmup_references", state="pass") == 10)
    assert (await service.warmth())["code"] == 200


async def test_fifty_references_cost_a_request_no_more_than_one_probes_wait(
    start: Start, accepted: Path
) -> None:
    """Between two references, requests get their turns."""
    engine = ScriptedEngine()
    service = await start(engine, references=accepted, references_gate="none", warmup_interval=0.001)
    await service.until(lambda: len(seen(engine)) == 10)
    for _ in range(20):
        before = len(engine.seen)
        assert (await service.post(PHOTO))[0] == 200
        mine = engine.seen.index((40, 30), before)
        assert mine - before <= 3, "what ran when it came, and what had the next turn"


async def test_the_references_are_judged_again_after_the_precision_is_settled(
    start: Start, accepted: Path
) -> None:
    engine = ScriptedEngine()
    engine.on_settle = lambda: None
    service = await start(engine, references=accepted, references_gate="all", wait=False)
    await service.ready()
    settled = engine.seen.index((0, 0))
    assert all(size[1] != 20 for size in engine.seen[:settled]), "they are judged in what serves"


async def test_a_set_that_does_not_fit_its_files_ends_the_start(start: Start, accepted: Path) -> None:
    changed = await asyncio.to_thread((accepted / NAMES[3]).read_bytes)
    await asyncio.to_thread((accepted / NAMES[3]).write_bytes, changed + b"x")
    service = await start(references=accepted, wait=False)
    await service.until(lambda: service.parts.lifecycle.draining)
    assert service.parts.lifecycle.exit_code == 2
    await asyncio.to_thread((accepted / NAMES[3]).unlink)
    with pytest.raises(ConfigurationError, match=r"photo 3\.png, which references\.json lists, is missing"):
        await start(references=accepted)


class Fallback(ScriptedEngine):
    """What ``auto`` takes if InSPyReNet cannot be had."""

    name = "u2netp"

    def load(self, report: ReportPhase) -> EngineInfo:
        return replace(super().load(report), fallback=True, fallback_reason="there are no weights")


async def test_a_fallback_disagrees_with_what_was_accepted_of_another_engine(
    start: Start, accepted: Path
) -> None:
    service = await start(Fallback(), requested="auto", wait=False, references=accepted)
    assert (await service.post(PHOTO))[0] == 503
    said = await service.warmth()
    assert (said["outcome"], said["reason_code"]) == ("disagrees", "reference_failed")
    assert "accepted with inspyrenet; u2netp serves as a fallback" in said["message"]


async def test_another_engine_than_the_accepted_one_ends_the_start(start: Start, accepted: Path) -> None:
    with pytest.raises(ConfigurationError, match="accepted with the engine inspyrenet, and u2netp is in use"):
        await start(Fallback(), requested="u2netp", references=accepted)


async def test_a_drain_serves_no_mask_that_the_gate_has_refused(start: Start, accepted: Path) -> None:
    engine = ScriptedEngine()
    engine.on_infer = inverted
    service = await start(engine, wait=False, references=accepted)
    await service.until(lambda: service.value("warmup_references", state="fail") == 1)
    service.parts.lifecycle.begin_drain("the test")
    assert (await service.post(PHOTO))[0] == 503


async def test_a_file_that_cannot_be_read_for_long_is_a_probe_that_timed_out(
    start: Start, accepted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, read = threading.Event(), ReferenceSet.encoded
    service = await start(
        references=accepted, references_gate="none", warmup_interval=0.1, warmup_timeout=0.5
    )
    monkeypatch.setattr(ReferenceSet, "encoded", lambda self, name: (free.wait(30), read(self, name))[1])
    try:
        await service.until(lambda: service.value("warmup_runs_total", outcome="timeout") == 1)
        async with asyncio.timeout(5), service.client.post("/warmup") as answer:
            assert answer.status == 503
        assert (await service.post(PHOTO))[0] == 200
    finally:
        free.set()


async def test_a_set_that_cannot_be_read_at_the_start_counts_as_a_load_that_hangs(
    start: Start, accepted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()
    monkeypatch.setattr(ReferenceSet, "verify", lambda _: free.wait(30))
    service = await start(wait=False, references=accepted, load_timeout=0.3)
    try:
        await service.until(lambda: service.parts.stuck() is not None)
    finally:
        free.set()
