"""The preparation of a load: it may take long as long as it reports progress."""

from __future__ import annotations

import asyncio

import pytest

from service.inference.load_preparation import LoadPreparation
from tests.service.inference.jobs import BlockingJob
from tests.support.clock import FakeClock
from tests.support.waiting import until


async def test_a_preparation_counts_as_stuck_only_after_its_limit_without_a_report(clock: FakeClock) -> None:
    preparation = LoadPreparation(load_timeout=600, clock=clock)
    assert preparation.stuck is None
    blocking = BlockingJob()
    task = asyncio.create_task(preparation.run(blocking))
    await until(blocking.running.is_set)
    clock.now += 600
    assert preparation.stuck is None
    preparation.report_progress()
    clock.now += 600
    assert preparation.stuck is None
    clock.now += 1
    assert preparation.stuck is not None
    assert "601 s" in preparation.stuck
    blocking.release.set()
    assert await task == "done"
    assert preparation.stuck is None


async def test_a_late_report_of_a_preparation_that_has_ended_changes_nothing(clock: FakeClock) -> None:
    preparation = LoadPreparation(load_timeout=600, clock=clock)

    def fail() -> None:
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        await preparation.run(fail)
    preparation.report_progress()
    clock.now += 601
    assert preparation.stuck is None
