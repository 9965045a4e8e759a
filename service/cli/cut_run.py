"""The run of ``cut``: loads the engine, cuts the pictures out, shows the progress, and ends as signals ask for.

``cut`` makes it, once. The first SIGINT or SIGTERM lets the pictures under way be finished, the second drops them.
Whatever happens to one picture, the others go on; the run stops early only if no further result can be made or written.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from functools import partial

from service.app import Parts
from service.batch.arrivals import SETTLE_SECONDS, Arrivals
from service.batch.cutter import Cutter
from service.batch.plan import Job
from service.batch.results import CannotWrite
from service.batch.run import at_once, run
from service.batch.survey import Survey
from service.batch.tasks import NotCutOut, Task
from service.cli.cut_report import CutReport
from service.cli.offline import loaded, offline_parts
from service.cli.printing import print_error, print_note
from service.engines.protocol import Engine, EngineError
from service.errors import Unavailable
from service.host.running_time import RunningTimeLoop, noticing_suspensions
from service.imaging.options import Options
from service.inference.thread_results import in_daemon_thread
from service.settings import Settings

Look = Callable[..., Survey]
"""``survey`` with everything but ``choose``."""


class CutRun:
    """One run of the command.

    Args:
        settings: of the service.
        options: what the results look like.
        background: the file of the picture behind the subjects, if the options ask for one.
        total: pictures to be done; None if nobody knows.
        make_engine: makes the engine, once there is something to do.
        settle_seconds: how long a picture must stand still in a watched folder.
    """

    def __init__(
        self,
        settings: Settings,
        options: Options,
        background: bytes | None = None,
        *,
        total: int | None,
        make_engine: Callable[[Settings], Engine],
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._make_engine = make_engine
        self._settle_seconds = settle_seconds
        self._settings = settings
        self._options = options
        self._background = background
        self._report = CutReport(total)
        self._loaded = False
        self.complete = True
        """Whether nothing is being written any more; False if pictures were dropped while they were under way."""

    def note(self, seen: Survey) -> None:
        """Count what a look has found beside the pictures to be done."""
        self._report.note(seen)

    def run(self, tasks: Iterable[Task]) -> int:
        """Cut these pictures out."""
        waiting = list(tasks)

        async def each(_: asyncio.Event) -> AsyncIterator[Task]:
            for task in waiting:
                yield task

        return self._run(each) if waiting else self._report.end(dropped=False)

    def watch(self, look: Look, make_task: Callable[[Job], Task]) -> int:
        """Cut out what arrives, until a signal comes."""
        arrivals = Arrivals(settle_seconds=self._settle_seconds)

        async def arriving(stop: asyncio.Event) -> AsyncIterator[Task]:
            while not stop.is_set():
                began = time.monotonic()
                seen = await in_daemon_thread(partial(look, choose=arrivals.settled), name="look")
                looked = time.monotonic()
                seen.problems = arrivals.new(seen.problems)
                self.note(seen)
                for problem in seen.problems:
                    self._report.display.line(f"FAILED: {problem}")
                for job in seen.to_do:
                    yield make_task(job)
                # In large folders a look takes long: it must not take the processor from the pictures.
                pause = max(self._settle_seconds / 2, 4 * (looked - began))
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await stop.wait()

        return self._run(arriving)

    def _run(self, tasks: Callable[[asyncio.Event], AsyncIterator[Task]]) -> int:
        try:
            parts = offline_parts(self._settings, self._make_engine(self._settings))
            with noticing_suspensions(), asyncio.Runner(loop_factory=RunningTimeLoop) as runner:
                self.complete = False
                dropped = runner.run(self._until_ended(tasks, parts))
                self.complete = not dropped
        except (EngineError, OSError) as error:
            if self._loaded:
                raise
            self.complete = True
            print_error(str(error))
            return 2
        return self._report.end(dropped=dropped)

    async def _until_ended(self, tasks: Callable[[asyncio.Event], AsyncIterator[Task]], parts: Parts) -> bool:
        """Work until all is done or the end is asked for; return whether pictures were dropped."""
        stop = asyncio.Event()
        work = asyncio.create_task(self._work(tasks, parts, stop))
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self._on_signal, number, stop, work)
        try:
            await asyncio.wait({work})
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
        if work.cancelled():
            return True
        work.result()
        return False

    def _on_signal(self, number: signal.Signals, stop: asyncio.Event, work: asyncio.Task[None]) -> None:
        first, self._report.signal = self._report.signal is None, self._report.signal or number
        if first and self._loaded:
            self._report.display.line(
                "Finishing the pictures that are under way. A second signal drops them."
            )
            stop.set()
        else:
            work.cancel()

    async def _work(
        self,
        tasks: Callable[[asyncio.Event], AsyncIterator[Task]],
        parts: Parts,
        stop: asyncio.Event,
    ) -> None:
        work = asyncio.current_task()
        async with loaded(parts, report=print_note):
            self._loaded = True

            def device_lost() -> None:
                self._report.cannot_go_on = parts.lifecycle.dead or "the device has failed for good"
                if work is not None:
                    work.cancel()

            parts.lifecycle.on_drain(device_lost)
            parts.admission.open()
            cutter = Cutter(
                pipeline=parts.pipeline,
                admission=parts.admission,
                device_errors=parts.device_errors,
                options=self._options,
                background=self._background,
            )
            with self._report.display:
                await run(
                    tasks(stop), partial(self._do, cutter, stop), at_once=self._at_once(parts), stop=stop
                )

    @staticmethod
    def _at_once(parts: Parts) -> int:
        return at_once(codec_threads=parts.codec_pool.threads, places=parts.admission.capacity)

    async def _do(self, cutter: Cutter, stop: asyncio.Event, task: Task) -> None:
        problem = ""
        try:
            await cutter.cut(task)
        except NotCutOut as error:
            problem = str(error)
        except (CannotWrite, Unavailable) as error:
            self._report.cannot_go_on = self._report.cannot_go_on or str(error)
            stop.set()
            return
        self._report.picture(task.name, problem)
