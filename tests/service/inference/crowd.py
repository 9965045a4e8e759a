"""A simulated crowd of clients in front of a real ``Admission``, in virtual time.

Every client wants one picture made, and obeys ``Retry-After`` to the letter. The device is simulated: each job takes
the seconds that the client's picture takes.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from service.errors import QueueFull
from service.inference.admission import Admission
from service.inference.codec_pool import CodecPool
from service.inference.device_thread import DeviceThread
from service.inference.jobs import JobEnd, Kind, OnEnd
from tests.support.memory_budgets import memory_budget


class SimulatedDevice:
    """Has what ``Admission`` and ``Place`` need of a ``DeviceThread``; a job returns the seconds that it takes."""

    def __init__(self) -> None:
        self.gate_open = True
        self.runs_request = False
        self.busy_seconds = 0.0
        self._started = 0.0
        self._turns = asyncio.Lock()

    @property
    def job_seconds(self) -> float:
        return asyncio.get_running_loop().time() - self._started if self.runs_request else 0.0

    def open_gate(self) -> None:
        self.gate_open = True

    async def run(
        self,
        fn: Callable[[], float],
        *,
        kind: Kind,
        on_start: Callable[[], None] | None = None,
        on_end: OnEnd | None = None,
    ) -> float:
        async with self._turns:
            self.runs_request, self._started = True, asyncio.get_running_loop().time()
            if on_start is not None:
                on_start()
            seconds = fn()
            await asyncio.sleep(seconds)
            self.busy_seconds += seconds
            self.runs_request = False
            if on_end is not None:
                on_end(JobEnd(seconds, None, abandoned=False))
            return seconds


@dataclass
class Crowd:
    """What the clients saw."""

    refusals: Counter[Any] = field(default_factory=Counter)
    """By key."""
    served: Counter[Any] = field(default_factory=Counter)
    ended: dict[Any, float] = field(default_factory=dict)
    """Seconds after the beginning at which the last client with a key was served."""
    most_held: Counter[Any] = field(default_factory=Counter)
    longest_hint: int = 0
    busy_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def idle_share(self) -> float:
        """Share of the time in which the device had nothing to do although clients waited."""
        return 1 - self.busy_seconds / self.seconds


def make_admission(device: SimulatedDevice, *, queue_size: int, seed: int = 0) -> Admission:
    """An open admission around the simulated device, with a deadline of 60 s."""
    loop = asyncio.get_running_loop()
    admission = Admission(
        memory=memory_budget(),
        device_thread=cast("DeviceThread", device),
        codec_pool=CodecPool(threads=1, hang_timeout=60),  # not started
        queue_size=queue_size,
        request_timeout=60,
        model_input_size=lambda width, height: (width, height),
        clock=loop.time,
        uniform=random.Random(seed).random,
    )
    admission.open()
    return admission


async def crowd(
    clients: list[Any],
    *,
    picture_seconds: float,
    queue_size: int = 16,
    seed: int = 0,
    arrive_within: float = 0.0,
) -> Crowd:
    """Let one client for each entry of ``clients`` (its API key) arrive, and wait until all have their picture."""
    loop = asyncio.get_running_loop()
    device, seen, begun = SimulatedDevice(), Crowd(), loop.time()
    admission = make_admission(device, queue_size=queue_size, seed=seed)
    arrivals = random.Random(seed + 1)
    held: Counter[Any] = Counter()

    async def client(key: Any) -> None:
        await asyncio.sleep(arrivals.random() * arrive_within)
        while True:
            try:
                with admission.take_place(key=key) as place:
                    held[key] += 1
                    seen.most_held[key] = max(seen.most_held[key], held[key])
                    try:
                        admission.enqueue(place)
                        await place.run_on_device(lambda: picture_seconds)
                    finally:
                        held[key] -= 1
            except QueueFull as refused:
                seen.refusals[key] += 1
                hint = max(1, math.ceil(refused.retry_after or 0))  # as the middleware writes it
                seen.longest_hint = max(seen.longest_hint, hint)
                await asyncio.sleep(hint)
            else:
                seen.served[key] += 1
                seen.ended[key] = loop.time() - begun
                return

    await asyncio.gather(*(client(key) for key in clients))
    seen.busy_seconds, seen.seconds = device.busy_seconds, loop.time() - begun
    return seen
