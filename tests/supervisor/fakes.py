"""A supervisor with a fake clock and a fake target: time stands still until a test moves it.

Every test in this directory that needs a running supervisor uses ``World``. No test may sleep in real time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

from prometheus_client import generate_latest

from metrics import Metrics
from supervisor import LoadReport, MaskError, ProbeReport, Size, Snapshot, Subject, Supervisor, Vitals
from tests.support.clock import FakeClock
from tests.support.waiting import let_run

INTERVAL = 60.0
TIMEOUT = 120.0
REQUEST_TIMEOUT = 60.0
WALL_START = 1_700_000_000.0
PROCESS_STARTED_BEFORE = 3.0
PHASES = {"import": 1.0, "weights": 2.0, "device": 0.5}
CANARY_SIZE = Size(64, 64)
REAL = Size(1696, 1280)
LOADED = LoadReport(seconds_by_phase=PHASES, canary=CANARY_SIZE, real=CANARY_SIZE)
"""A load after which the canary proves everything."""


class SupervisorClock(FakeClock):
    """The fake clock, with the wall clock and the waiting that the supervisor needs."""

    def __init__(self) -> None:
        super().__init__()
        self.wall_offset = WALL_START - self.now
        self.raises: BaseException | None = None
        self.suspended = 0.0
        self._sleepers: dict[asyncio.Event, float] = {}

    def monotonic(self) -> float:
        return self.now

    def running(self) -> float:
        return self.now - self.suspended

    def time(self) -> float:
        return self.now + self.wall_offset

    def suspend(self, seconds: float) -> None:
        """Let this much time pass without anybody noticing."""
        self.now += seconds
        self.suspended += seconds
        for waker in self._sleepers:
            self._sleepers[waker] += seconds

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        if self.raises is not None:
            error, self.raises = self.raises, None
            raise error
        waker = asyncio.Event()
        # At least one step of the float, or a very short wait would end without time passing, for ever.
        self._sleepers[waker] = max(self.now + seconds, math.nextafter(self.now, math.inf))
        waits = [asyncio.create_task(event.wait()), asyncio.create_task(waker.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._sleepers[waker]
            for task in waits:
                task.cancel()

    async def advance(self, seconds: float) -> None:
        """Let this much time pass, with a stop at every moment for which somebody waits."""
        end = self.now + seconds
        await let_run()
        while self._sleepers and (due := min(self._sleepers.values())) <= end:
            self.now = due
            for waker, at in self._sleepers.items():
                if at <= due:
                    waker.set()
            await let_run()
        self.now = end
        await let_run()


class Call:
    """One call of the target; the test ends it through ``future``."""

    def __init__(self, callback: Callable[..., None]) -> None:
        self.callback = callback
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class FakeTarget:
    """Records what the supervisor asks of it; the test ends each call.

    Attributes:
        subjects: what each probe was to prove.
        orders: what the supervisor told it: ``serve``, ``refuse: ...``, ``limit: ...``.
    """

    def __init__(self) -> None:
        self.loads: list[Call] = []
        self.probes: list[Call] = []
        self.subjects: list[Subject] = []
        self.orders: list[str] = []
        self.now = Vitals()

    async def load(self, report: Callable[[str, str], None]) -> LoadReport:
        self.loads.append(call := Call(report))
        return await call.future

    async def probe(self, subject: Subject, on_running: Callable[[bool], None]) -> ProbeReport:
        self.subjects.append(subject)
        self.probes.append(call := Call(on_running))
        return await call.future

    def vitals(self) -> Vitals:
        return self.now

    def serve(self) -> None:
        self.orders.append("serve")

    def refuse(self, failure: str) -> None:
        self.orders.append(f"refuse: {failure}")

    def limit_sizes(self, refused: tuple[Size, ...], _: tuple[Size, ...]) -> None:
        self.orders.append(f"limit: {', '.join(str(size) for size in refused)}")


class World:
    """The supervisor with its fake target and clock."""

    def __init__(self) -> None:
        self.clock = SupervisorClock()
        self.born = self.clock.now - PROCESS_STARTED_BEFORE
        self.target = FakeTarget()
        self.metrics = Metrics()
        self.supervisor = Supervisor(
            self.target,
            interval=INTERVAL,
            timeout=TIMEOUT,
            request_timeout=REQUEST_TIMEOUT,
            metrics=self.metrics,
            process_age=lambda: self.clock.now - self.born,
            clock=self.clock,
            jitter=lambda: 0.0,
        )

    async def advance(self, seconds: float) -> None:
        await self.clock.advance(seconds)

    @property
    def snapshot(self) -> Snapshot:
        return self.supervisor.snapshot()

    @property
    def probes(self) -> int:
        """How many probes the supervisor has sent."""
        return len(self.target.probes)

    def value(self, name: str, **labels: str) -> float:
        value = self.metrics.registry.get_sample_value(f"inspyrenet_{name}", labels)
        assert value is not None, f"{name}{labels} is not exported"
        return value

    def exposition(self) -> str:
        return generate_latest(self.metrics.registry).decode()

    async def load(self, seconds: float = 0.0, report: LoadReport = LOADED) -> None:
        await self.advance(seconds)
        self.target.loads[-1].future.set_result(report)
        await let_run()

    async def load_fails(self, error: BaseException) -> None:
        await let_run()
        self.target.loads[-1].future.set_exception(error)
        await let_run()

    async def start_probe(self) -> None:
        """A thread begins to work for the current probe."""
        self.target.probes[-1].callback(True)
        await let_run()

    async def pause_probe(self) -> None:
        """The thread has ended, and the probe waits for the next one."""
        self.target.probes[-1].callback(False)
        await let_run()

    @property
    def subject(self) -> Subject:
        """What the last probe was to prove."""
        return self.target.subjects[-1]

    async def passes(self, running: float = 0.0, mask_error: MaskError | None = None) -> None:
        """The current probe gets its turn, runs for this many seconds, and passes."""
        await self.start_probe()
        await self.advance(running)
        self.target.probes[-1].future.set_result(ProbeReport(running, mask_error))
        await let_run()

    async def fails(self, error: BaseException) -> None:
        await self.start_probe()
        self.target.probes[-1].future.set_exception(error)
        await let_run()

    async def becomes_ready(self, running: float = 0.0, report: LoadReport = LOADED) -> None:
        await self.load(report=report)
        await self.passes(running)
        assert self.supervisor.ready
