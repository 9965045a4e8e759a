"""The threads and the admission under test, on a fake clock."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.inference import service_time
from service.inference.admission import Admission
from service.inference.codec_pool import CodecPool
from service.inference.device_thread import DeviceThread
from service.inference.memory_budget import MemoryBudget
from tests.support.clock import FakeClock
from tests.support.memory_budgets import memory_budget


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def codec_pool(clock: FakeClock) -> AsyncIterator[CodecPool]:
    """A codec pool with two threads for clients."""
    pool = CodecPool(threads=2, hang_timeout=300, clock=clock)
    pool.start()
    yield pool
    pool.stop()


@pytest.fixture
async def device_thread(clock: FakeClock) -> AsyncIterator[DeviceThread]:
    """A device thread that runs, with its gate closed."""
    thread = DeviceThread(hang_timeout=300, load_timeout=600, clock=clock)
    thread.start()
    yield thread
    thread.stop()


@pytest.fixture
def admission(device_thread: DeviceThread, codec_pool: CodecPool, clock: FakeClock) -> Admission:
    """An admission that is open, with three places and a deadline of 10 s."""
    return new_admission(memory_budget(), device_thread, codec_pool, clock)


def new_admission(
    memory: MemoryBudget, device_thread: DeviceThread, codec_pool: CodecPool, clock: FakeClock
) -> Admission:
    admission = Admission(
        memory=memory,
        device_thread=device_thread,
        codec_pool=codec_pool,
        queue_size=2,
        request_timeout=10,
        model_input_size=lambda width, height: (width, height),
        clock=clock,
        uniform=lambda: 0.0,
    )
    admission.open()
    return admission


@pytest.fixture(autouse=True)
def every_pixel_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sizes in these tests are small, and stand for large ones."""
    monkeypatch.setattr(service_time, "FLOOR_PIXELS", 1)
