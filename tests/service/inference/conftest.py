"""The threads and the admission under test, on a fake clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.inference.admission import Admission
from service.inference.device_thread import DeviceThread
from tests.support.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def codec_pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2, thread_name_prefix="codec") as pool:
        yield pool


@pytest.fixture
async def device_thread(clock: FakeClock) -> AsyncIterator[DeviceThread]:
    """A device thread that runs, with its gate closed."""
    thread = DeviceThread(hang_timeout=300, load_timeout=600, clock=clock)
    thread.start()
    yield thread
    thread.stop()


@pytest.fixture
def admission(device_thread: DeviceThread, codec_pool: ThreadPoolExecutor, clock: FakeClock) -> Admission:
    """An admission that is open, with three places and a deadline of 10 s."""
    admission = Admission(
        device_thread=device_thread,
        codec_pool=codec_pool,
        codec_threads=2,
        queue_size=2,
        request_timeout=10,
        model_input_size=lambda width, height: (width, height),
        clock=clock,
        uniform=lambda: 0.0,
    )
    admission.open()
    return admission
