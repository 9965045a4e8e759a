"""One worker of ``cut --ray``: a process on some machine of the cluster, with an engine that is loaded once.

``cluster_run`` sends this class to Ray, which makes one object in each worker's process and calls it with a few
pictures at a time. It must import nothing of Ray. A picture that cannot be cut out is a row of the answer; only what a
new process can mend may end this one.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, NoReturn

from service import logs, startup
from service.app import Parts
from service.batch.cutter import Cutter
from service.batch.ledger import Record
from service.batch.plan import Job
from service.batch.problem import system_reason
from service.batch.results import CannotWrite, Shared
from service.batch.run import at_once, run
from service.batch.tasks import FolderTask, NotCutOut
from service.cli.offline import FLAGS, loaded, offline_parts
from service.engines.protocol import Engine, EngineError
from service.errors import Unavailable
from service.host.running_time import RunningTimeLoop, noticing_suspensions
from service.imaging.options import Options
from service.settings import Settings
from service.version import __version__

WORKER_SETTINGS = (*FLAGS, "queue_size", "load_timeout", "hang_timeout")
"""What is sent to other machines. No other setting has a meaning without clients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What every worker is told at its start."""

    version: str
    settings: Settings
    """What ``for_worker`` returned."""
    options: Options
    background: bytes | None
    results: Shared
    make_engine: Callable[[Settings], Engine]


def for_worker(settings: Settings) -> Settings:
    """The settings that a worker needs, and the defaults of all others: above all no keys."""
    return Settings(**settings.model_dump(include=set(WORKER_SETTINGS)))


class ToDo(NamedTuple):
    """One picture, as it is sent to a worker."""

    number: int
    """By which ``cluster_run`` knows it."""
    job: Job
    """With a path that is the same on every machine."""
    known: Sequence[Record]
    """Of earlier results of that name."""


class Done(NamedTuple):
    """How a picture ended, as a worker answers."""

    number: int
    problem: str = ""
    """Why it has no result; empty if it has one."""
    record: str = ""
    """A line of the ledger about its result, if the run must note it."""
    cannot_start: str = ""
    """Why this worker can do nothing at all."""
    cannot_go_on: str = ""
    """Why no worker can do more."""


class ClusterWorker:
    """Cuts pictures out, several at the same time, in an event loop of its own.

    Args:
        work: the same for all workers.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._cannot_start = ""
        self._loop = RunningTimeLoop()
        threading.Thread(target=self._loop.run_forever, name="cut", daemon=True).start()
        try:
            parts = self._prepare()
            self._in_loop(self._start(parts))
        except (EngineError, OSError) as error:
            reason = system_reason(error) if isinstance(error, OSError) else str(error)
            self._cannot_start = f"{socket.gethostname()}: {reason}"

    def __call__(self, batch: Mapping[str, Sequence[bytes]]) -> dict[str, list[object]]:
        """Cut these pictures out; each is one row of the answer."""
        to_do = [pickle.loads(bytes(each)) for each in batch["to_do"]]  # noqa: S301 - made by cluster_run
        if self._cannot_start:
            done = [Done(each.number, cannot_start=self._cannot_start) for each in to_do]
        else:
            done = self._in_loop(self._cut(to_do))
        return {field: [getattr(each, field) for each in done] for field in Done._fields}

    def _in_loop(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _prepare(self) -> Parts:
        work = self._work
        if work.version != __version__:
            raise OSError(
                None, f"This machine has version {__version__} of the program, and not {work.version}."
            )
        logs.configure("console")
        startup.configure_libraries()
        try:
            self._results = work.results.join()
        except FileNotFoundError as error:
            raise OSError(
                None, "This machine does not see the folder of the results. Share it, or name an address."
            ) from error
        return offline_parts(work.settings, work.make_engine(work.settings))

    async def _start(self, parts: Parts) -> None:
        self._exits = AsyncExitStack()  # never closed: the process ends with Ray's work
        self._exits.enter_context(noticing_suspensions())
        await self._exits.enter_async_context(loaded(parts, report=lambda _: None))
        parts.lifecycle.on_drain(
            _end_process
        )  # the device is lost, or a thread hangs: a new process tries again
        parts.admission.open()
        self._at_once = at_once(codec_threads=parts.codec_pool.threads, places=parts.admission.capacity)
        self._cutter = Cutter(
            pipeline=parts.pipeline,
            admission=parts.admission,
            device_errors=parts.device_errors,
            options=self._work.options,
            background=self._work.background,
        )

    async def _cut(self, to_do: Sequence[ToDo]) -> list[Done]:
        done: list[Done] = []

        async def each() -> Any:
            for item in to_do:
                yield item

        await run(each(), partial(self._cut_one, done), at_once=self._at_once, stop=asyncio.Event())
        return done

    async def _cut_one(self, done: list[Done], to_do: ToDo) -> None:
        task = FolderTask(to_do.job, self._results, max_bytes=self._work.settings.max_upload_bytes)
        self._results.expect(to_do.known)
        try:
            await self._cutter.cut(task)
        except NotCutOut as error:
            done.append(Done(to_do.number, problem=str(error)))
        except CannotWrite as error:
            done.append(Done(to_do.number, cannot_go_on=str(error)))
        except Unavailable:
            _end_process()
        else:
            done.append(Done(to_do.number, record=task.record.to_line() if task.record else ""))


def _end_process() -> NoReturn:
    """Ray starts another process, and sends it the pictures that this one had."""
    os._exit(1)
