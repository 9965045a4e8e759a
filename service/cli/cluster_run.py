"""The run of ``cut --ray``: pictures go through Ray Data to workers on the machines of a cluster.

``cut`` makes it instead of a ``CutRun``. Ray restarts a worker that has died, on another machine if its own is gone,
and sends its pictures again. A group of pictures whose workers die each time is sent once more, each picture alone, so
that the one at fault is found and the others get their results. Ray is imported when a run begins.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from service.batch.addresses import INSTALL, Address, redact
from service.batch.ledger import parse_records
from service.batch.plan import Job
from service.batch.problem import system_reason
from service.batch.results import CannotWrite, Results
from service.batch.survey import Survey
from service.cli.cluster_worker import ClusterWorker, Done, ToDo, Work, for_worker
from service.cli.cut_report import CutReport
from service.cli.printing import print_error
from service.engines.protocol import Engine
from service.imaging.options import Options
from service.settings import Settings
from service.version import __version__

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

TRIES = 3
"""How often a group of pictures is sent to workers that die."""

MOST_IN_GROUP = 32
"""Pictures that are sent to a worker together: what is redone if it dies."""

MOST_DEAD_GROUPS = 100
"""With more groups than this that no worker survives, the cluster is at fault and not the pictures."""


class CannotUseCluster(Exception):
    """The command ends before the first picture; the message is the reason."""


class Workers(NamedTuple):
    """How many workers there may be, and what each of them needs."""

    most: int
    cpus: float
    gpus: int


class _Interrupted(BaseException):
    pass


class ClusterRun:
    """One run of the command on a cluster.

    Args:
        settings: of the service.
        options: what the results look like.
        background: the file of the picture behind the subjects, if the options ask for one.
        total: pictures to be done.
        make_engine: makes the engine in each worker; it must be importable there.
        address: of the cluster; empty for the one that this machine belongs to, or a new one of this machine alone.
        most_workers: at most so many; None for as many as the cluster has room for.
    """

    def __init__(
        self,
        settings: Settings,
        options: Options,
        background: bytes | None = None,
        *,
        total: int,
        make_engine: Callable[[Settings], Engine],
        address: str,
        most_workers: int | None,
    ) -> None:
        self._settings = settings
        self._options = options
        self._background = background
        self._make_engine = make_engine
        self._address = address
        self._most_workers = most_workers
        self._report = CutReport(total)
        self._jobs: Sequence[Job] = ()
        self._results: Results
        self._cannot_start = False
        self.complete = False
        """Whether every picture has ended, so that no worker writes any more."""

    def note(self, seen: Survey) -> None:
        """Count what a look has found beside the pictures to be done."""
        self._report.note(seen)

    def run(self, jobs: Sequence[Job], results: Results) -> int:
        """Cut these pictures out.

        Args:
            jobs: the pictures.
            results: open.

        Raises:
            CannotUseCluster: there is no cluster, or nothing that could do the work in it.
        """
        if not jobs:
            self.complete = True
            return self._report.end()
        self._jobs, self._results = jobs, results
        work = Work(
            version=__version__,
            settings=for_worker(self._settings),
            options=self._options,
            background=self._background,
            results=results.share(),
            make_engine=self._make_engine,
        )
        to_do = {
            number: ToDo(number, _everywhere(job), results.records_of(job)) for number, job in enumerate(jobs)
        }
        try:
            with _interruptible(), self._report.display:
                self._send_all(work, to_do)
        except _Interrupted as interrupted:
            self._report.signal = signal.Signals(interrupted.args[0])
        if self._cannot_start and not self._report.made:
            print_error(self._report.cannot_go_on)
            return 2
        self.complete = not self._report.cannot_go_on and self._report.signal is None
        return self._report.end()

    def _send_all(self, work: Work, to_do: dict[int, ToDo]) -> None:
        with connected(self._address) as ray:
            workers = workers_for(ray, self._settings, most=self._most_workers)
            self._report.display.line(f"Workers on the cluster: {workers.most} at most.")
            self._send(ray, work, to_do, workers, group=_group_size(len(to_do), workers.most))
        if to_do and not self._report.cannot_go_on:
            self._report.display.line(f"Sending {len(to_do)} pictures again, each alone.")
            try:
                # Connect again: Ray keeps the last restarted worker of a connection, and its CPUs, until that ends.
                with connected(self._address) as ray:
                    workers = workers_for(ray, self._settings, most=self._most_workers)
                    self._send(ray, work, to_do, workers, group=1)
            except CannotUseCluster as error:
                self._report.cannot_go_on = str(error)
        if not self._report.cannot_go_on:
            for number in to_do:
                self._ended(number, f"Each of the {TRIES} workers that got it alone has died.")

    def _ended(self, number: int, problem: str) -> None:
        self._report.picture(str(self._jobs[number].source.path), problem)

    def _note(self, line: str) -> str:
        """Note a result that a worker has written; return why that failed, if it did.

        Raises:
            CannotWrite: it failed for many in a row.
        """
        try:
            for record in parse_records([line.encode()]):
                self._results.take_in(record)
        except OSError as error:
            return f"It is written, but cannot be noted: {system_reason(error)}"
        return ""

    def _send(self, ray: Any, work: Work, to_do: dict[int, ToDo], workers: Workers, *, group: int) -> None:
        """Send these pictures, and take out of ``to_do`` those that have ended."""
        rows = [{"to_do": pickle.dumps(each)} for each in to_do.values()]
        answers = (
            ray.data.from_items(rows, override_num_blocks=-(-len(rows) // group))
            .map_batches(
                ClusterWorker,
                fn_constructor_args=(work,),
                batch_size=None,
                compute=ray.data.ActorPoolStrategy(
                    min_size=1, max_size=min(workers.most, len(rows)), max_tasks_in_flight_per_actor=2
                ),
                num_cpus=workers.cpus,
                num_gpus=workers.gpus,
                max_restarts=-1,
                max_task_retries=TRIES - 1,
            )
            .iter_rows()
        )
        try:
            for answer in answers:
                done = Done(**answer)
                if reason := done.cannot_start or done.cannot_go_on:
                    self._cannot_start = bool(done.cannot_start)
                    self._report.cannot_go_on = reason
                    return
                if to_do.pop(done.number, None) is not None:
                    self._ended(done.number, done.problem or self._note(done.record))
        except CannotWrite as error:
            self._report.cannot_go_on = str(error)
        except ray.exceptions.RayError as error:
            self._report.cannot_go_on = f"The cluster failed: {redact(' '.join(str(error).split()))[-300:]}"


def check_installed() -> None:
    """Check that Ray is there, before anything is looked at.

    Raises:
        CannotUseCluster: it is not.
    """
    if find_spec("ray") is None:
        raise CannotUseCluster(f"--ray needs Ray, which is not installed: {INSTALL} installs it.")


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected to a cluster, and quiet.

    Args:
        address: of the cluster; empty for any that is at hand, or a new one.

    Raises:
        CannotUseCluster: there is no cluster at this address.
    """
    # Ray reports its use to its makers otherwise. What the operator has set stays.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_USAGE_DISABLED", "1")
    import ray  # noqa: PLC0415 - takes seconds
    import ray.data  # noqa: PLC0415 - as above

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it logs the traceback of each worker that dies
    try:
        handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        try:
            ray.init(
                address=address or None,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": {"PYTHONPATH": _python_path()}},
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            words = " ".join(str(error).split())[:300]
            raise CannotUseCluster(f"--ray {address}: there is no cluster: {words}") from error
        for number, handler in handlers.items():
            signal.signal(number, handler)  # Ray has replaced that of SIGTERM
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = MOST_DEAD_GROUPS
        yield ray
    finally:
        ray.shutdown()


def _python_path() -> str:
    """Where the workers find this program: at the same path as here."""
    return os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))


def workers_for(ray: Any, settings: Settings, *, most: int | None) -> Workers:
    """One worker for each GPU or, without GPUs, one for each machine.

    Raises:
        CannotUseCluster: the cluster has no room for one, or the device cannot be had there.
    """
    if settings.device.startswith("cuda:"):
        raise CannotUseCluster(
            f"--device {settings.device}: Ray chooses the GPU of each worker. Write --device cuda."
        )
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    if settings.device == "cuda" or (settings.device == "auto" and settings.engine != "u2netp" and gpus):
        if not gpus:
            raise CannotUseCluster("--device cuda: the cluster has no GPU.")
        return Workers(min(gpus, most or gpus), 1, 1)
    cpus = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
    if not cpus:
        raise CannotUseCluster("The cluster has no CPU.")
    each = min(cpus)
    room = sum(count // each for count in cpus)
    return Workers(min(room, most or room), each, 0)


def _everywhere(job: Job) -> Job:
    """The same picture with a path that does not depend on the present directory."""
    path = job.source.path
    return (
        job if isinstance(path, Address) else replace(job, source=replace(job.source, path=path.absolute()))
    )


def _group_size(pictures: int, workers: int) -> int:
    """Pictures that are sent together: at least four groups for each worker, so that none waits for another's end."""
    return max(1, min(MOST_IN_GROUP, pictures // (4 * workers)))


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM end the run at once; results that are written stay."""

    def interrupt(number: int, _: FrameType | None) -> None:
        raise _Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
