"""The output folder: what is done there already, and how a result gets there.

The command opens it. Two things must stay true however a run ends: under a result's name there is a whole result or
none, and no file is replaced that this program did not write, unless the user asked for that.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.batch import ledger
from service.batch.ledger import Ledger, Record, Records, Shard, Stamp
from service.batch.plan import Job
from service.batch.problem import system_reason
from service.batch.results import CannotWrite, State, WouldReplace, judged

_UNFINISHED = ".inspyrenet-cut-"
"""How the names of unfinished results begin. They are hidden, so they are never inputs."""

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """A folder that several machines see."""

    root: Path
    made_with: Mapping[str, Any]
    overwrite: bool
    run: str

    def join(self) -> OutputFolder:
        """In another process of the run: the folder.

        Raises:
            OSError: that process cannot reach it.
        """
        folder = OutputFolder(
            self.root, made_with=self.made_with, overwrite=self.overwrite, records=Records()
        )
        folder.join(self.run)
        return folder


class OutputFolder:
    """The folder of the results.

    Args:
        root: the folder.
        made_with: what the function of that name returns.
        overwrite: do everything again, and replace files that are in the way.
        records: of the results; read from the folder's ledger if not given.
    """

    def __init__(
        self,
        root: Path,
        *,
        made_with: Mapping[str, Any],
        overwrite: bool,
        records: Records | None = None,
    ) -> None:
        self.root = root
        self._made_with = made_with
        self._overwrite = overwrite
        self._ledger: Ledger | None = None
        self._notes: Ledger | Shard | None = None
        if records is None:
            records = ledger.read_records(root) if root.is_dir() else Records()
        self._records = records

    def open(self) -> None:
        """Create the folder if it is missing, and keep other runs out of it until ``close``.

        Raises:
            InUse: another run writes into it.
            OSError: it cannot be created or written.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        self._notes = self._ledger = Ledger(self.root)
        self._records = self._ledger.records

    def share(self) -> SharedFolder:
        """Let other processes of this run write into the folder; this one has opened it."""
        if self._ledger is None:
            raise RuntimeError("the output folder is not open")
        run = self._ledger.share()
        return SharedFolder(self.root.absolute(), self._made_with, self._overwrite, run)

    def join(self, run: str) -> None:
        """Write into the folder beside the process that has opened and shared it.

        Raises:
            OSError: this process cannot reach it.
        """
        self._notes = Shard(self.root, run)

    def expect(self, records: Iterable[Record]) -> None:
        """What the process that opened the folder knows of a result."""
        for record in records:
            self._records.add(record)

    def records_of(self, job: Job) -> Sequence[Record]:
        """What is known of the results of this name."""
        return self._records.of(job.output.as_posix())

    def take_in(self, record: Record) -> None:
        """Note a result that another process has written. Those that have joined note theirs themselves.

        Raises:
            OSError: it cannot be noted.
        """
        if self._notes is None:
            raise RuntimeError("the output folder is not open")
        self._notes.add(record)

    def close(self, *, complete: bool = True) -> None:  # noqa: ARG002 - each result is noted before it has its name
        """Let other runs in.

        Raises:
            OSError: what other processes have noted cannot be taken in; the next run tries it again.
        """
        if self._notes is not None:
            self._notes.close()

    @property
    def results(self) -> frozenset[str]:
        """The keys of all files that runs have written here."""
        root = os.path.realpath(self.root)
        return frozenset(os.path.join(root, output) for output in tuple(self._records.outputs))

    def claim(self, jobs: Iterable[Job]) -> None:
        """Nothing: a result is noted before it gets its name."""

    def remove_unfinished(self, jobs: Iterable[Job]) -> None:
        """Remove what a run that was killed has left in the folders of these results."""
        for folder in {(self.root / job.output).parent for job in jobs}:
            for left in folder.glob(f"{_UNFINISHED}*.part"):
                with suppress(OSError):  # a write into that folder will say what is wrong
                    left.unlink(missing_ok=True)

    def judge(self, job: Job) -> State:
        """What is to be done about a picture.

        It is done if its result is there as it was written, and was made of the same picture with the same options.

        Raises:
            WouldReplace: a file is in the way that is no result of this picture.
            OSError: the place of the result cannot be looked at, or cannot exist.
        """
        target = self.root / job.output
        try:
            there = Stamp.of(target.lstat())
        except (FileNotFoundError, NotADirectoryError):
            return State.TO_DO
        if self._overwrite:
            return State.TO_DO
        return judged(
            job,
            there=there,
            records=self.records_of(job),
            made_with=self._made_with,
            target=target,
        )

    def write(self, job: Job, data: bytes, read: Stamp) -> None:
        """Write a result, whole or not at all.

        Args:
            job: the picture.
            data: the bytes of the result.
            read: the stamp of the picture as it was read.

        Raises:
            WouldReplace: as ``judge``; the file has appeared meanwhile.
            CannotWrite: the disk is full, or cannot be written any more.
            OSError: it cannot be written.
        """
        if self._notes is None:
            raise RuntimeError("the output folder is not open")
        self._check_again(job)
        target = self.root / job.output
        made_with, opened = self._made_with, self._notes

        def note(written: Stamp) -> None:
            opened.add(Record(job.output.as_posix(), written, job.source.key, read, made_with))

        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, data, before_rename=note)
        except OSError as error:
            if error.errno in _DISK_FULL:
                raise CannotWrite(system_reason(error)) from error
            raise

    def _check_again(self, job: Job) -> None:
        """Judge it at the last moment; a process that has died may have written it for this run."""
        try:
            self.judge(job)
        except WouldReplace:
            if not isinstance(self._notes, Shard):
                raise
            self.expect(ledger.read_shards(self.root))
            self.judge(job)


def write_whole(
    target: Path, data: bytes, *, before_rename: Callable[[Stamp], None] = lambda _: None
) -> None:
    """Write a file so that under its name there is never a part of it.

    Args:
        target: is replaced if it is there.
        data: its bytes.
        before_rename: called with the stamp of the complete file, before it gets its name.

    Raises:
        OSError: it cannot be written; ``target`` is as it was.
    """
    unfinished = target.with_name(f"{_UNFINISHED}{os.getpid()}-{next(_numbers)}.part")
    try:
        with unfinished.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # else a crash of the machine could leave the name without the bytes
            stamp = Stamp.of(os.fstat(file.fileno()))
        before_rename(stamp)
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
