"""The output folder: what is done there already, and how a result gets there.

The command opens it. Two things must stay true however a run ends: under a result's name there is a whole result or
none, and no file is replaced that this program did not write, unless the user asked for that.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, fields
from enum import Enum, auto
from pathlib import Path, PurePath
from typing import Any, Protocol

from service.batch import ledger
from service.batch.addresses import Address
from service.batch.ledger import Ledger, Record, Shard, Stamp
from service.batch.plan import FULL_NAMES, Job
from service.batch.problem import system_reason
from service.imaging.options import Options
from service.settings import Settings

_UNFINISHED = ".inspyrenet-cut-"
"""How the names of unfinished results begin. They are hidden, so they are never inputs."""

_MODEL_SETTINGS = ("engine", "mode", "resize", "weights", "max_model_pixels")
"""Not the device and the precision: what they change lies within the tolerances that the service allows itself."""

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}

_numbers = itertools.count()


class State(Enum):
    """What is to be done about a picture."""

    TO_DO = auto()
    DONE = auto()


class WouldReplace(Exception):
    """A file is in the way that must not be replaced; the message says which and what to do."""


class CannotWrite(Exception):
    """No further result can be written either; the message is the reason."""


def made_with(options: Options, settings: Settings, background: bytes | None = None) -> dict[str, Any]:
    """The options and settings that decide what a result looks like, as JSON holds them.

    Options that have their default are left out, so that results stay done when the program gets a new option.
    """
    asked = {
        field.name: value
        for field in fields(options)
        if (value := getattr(options, field.name)) != field.default
    }
    if background is not None:
        asked["background"] = hashlib.sha256(background).hexdigest()
    model = settings.model_dump(include=set(_MODEL_SETTINGS))
    made: dict[str, Any] = json.loads(json.dumps({"options": asked, "settings": model}))
    return made


class Results(Protocol):
    """Where results go: a folder, or an address on an object store."""

    @property
    def root(self) -> Path | Address:
        """As the user knows it."""
        ...

    @property
    def results(self) -> Set[str]:
        """The keys of everything that runs have written here."""
        ...

    def open(self) -> None:
        """Begin to write; see ``OutputFolder.open``."""
        ...

    def close(self) -> None:
        """Nothing more will be written."""
        ...

    def remove_unfinished(self, jobs: Iterable[Job]) -> None:
        """Remove what a run that was killed has left beside these results."""
        ...

    def judge(self, job: Job) -> State:
        """What is to be done about a picture; see ``OutputFolder.judge``."""
        ...

    def record_of(self, job: Job) -> Record | None:
        """What is known of the last result of this name."""
        ...

    def write(self, job: Job, data: bytes, read: Stamp) -> None:
        """Write a result, whole or not at all; see ``OutputFolder.write``."""
        ...

    def share(self) -> Shared:
        """Let other processes of this run write; this process has opened it."""
        ...


class SharedResults(Protocol):
    """Results into which one of several processes writes."""

    def expect(self, record: Record | None) -> None:
        """What the process that opened the results knows of one of them."""
        ...

    def write(self, job: Job, data: bytes, read: Stamp) -> None:
        """Write a result, whole or not at all; see ``OutputFolder.write``."""
        ...


class Shared(Protocol):
    """How another process of the same run gets at the results; it can be pickled."""

    def join(self) -> SharedResults:
        """In that process: the results.

        Raises:
            OSError: that process cannot reach them.
        """
        ...


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
        folder = OutputFolder(self.root, made_with=self.made_with, overwrite=self.overwrite, records={})
        folder.join(self.run)
        return folder


def judged(
    job: Job,
    *,
    there: Stamp | None,
    record: Record | None,
    made_with: Mapping[str, Any],
    target: object,
    exists: Callable[[str], bool],
) -> State:
    """What is to be done about a picture.

    Args:
        job: the picture.
        there: the stamp of what has its result's name; None if nothing has.
        record: what is known of the last result of that name.
        made_with: how results are made now.
        target: the result's name, for a person.
        exists: whether a picture of this key is there.

    Raises:
        WouldReplace: something is in the way that is no result of this picture.
    """
    if there is None:
        return State.TO_DO
    if record is None or record.written != there:
        raise WouldReplace(f"{target} is there already, and is no result of an earlier run. {_OVERWRITE}")
    if record.read == job.source.stamp and PurePath(record.source).name == job.source.path.name:
        # The same picture, also if its folder was moved.
        return State.DONE if record.made_with == made_with else State.TO_DO
    if record.source != job.source.key and exists(record.source):
        raise WouldReplace(f"{target} is the result of {record.source}. {_OVERWRITE} {FULL_NAMES}")
    return State.TO_DO


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
        records: dict[str, Record] | None = None,
    ) -> None:
        self.root = root
        self._made_with = made_with
        self._overwrite = overwrite
        self._ledger: Ledger | None = None
        self._notes: Ledger | Shard | None = None
        if records is None:
            records = ledger.read_records(root) if root.is_dir() else {}
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

    def expect(self, record: Record | None) -> None:
        """What the process that opened the folder knows of a result."""
        if record is not None:
            self._records[record.output] = record

    def record_of(self, job: Job) -> Record | None:
        """What is known of the last result of this name."""
        return self._records.get(job.output.as_posix())

    def close(self) -> None:
        """Let other runs in."""
        if self._notes is not None:
            self._notes.close()

    @property
    def results(self) -> frozenset[str]:
        """The keys of all files that runs have written here."""
        root = os.path.realpath(self.root)
        return frozenset(os.path.join(root, output) for output in tuple(self._records))

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
            record=self.record_of(job),
            made_with=self._made_with,
            target=target,
            exists=os.path.lexists,
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
            self._records |= ledger.read_shards(self.root)
            self.judge(job)


_OVERWRITE = "--overwrite replaces it."


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
