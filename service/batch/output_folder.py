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
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import fields
from enum import Enum, auto
from pathlib import Path
from typing import Any

from service.batch import ledger
from service.batch.ledger import Ledger, Record, Stamp
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


class OutputFolder:
    """The folder of the results.

    Args:
        root: the folder.
        made_with: what the function of that name returns.
        overwrite: do everything again, and replace files that are in the way.
    """

    def __init__(self, root: Path, *, made_with: Mapping[str, Any], overwrite: bool) -> None:
        self.root = root
        self._made_with = made_with
        self._overwrite = overwrite
        self._ledger: Ledger | None = None
        self._records: Mapping[str, Record] = ledger.read_records(root) if root.is_dir() else {}

    def open(self) -> None:
        """Create the folder if it is missing, and keep other runs out of it until ``close``.

        Raises:
            InUse: another run writes into it.
            OSError: it cannot be created or written.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        self._ledger = Ledger(self.root)
        self._records = self._ledger.records

    def close(self) -> None:
        """Let other runs in."""
        if self._ledger is not None:
            self._ledger.close()

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
        record = self._records.get(job.output.as_posix())
        if record is None or record.written != there:
            raise WouldReplace(f"{target} is there already, and is no result of an earlier run. {_OVERWRITE}")
        if record.read == job.source.stamp and Path(record.source).name == job.source.path.name:
            # The same picture, also if its folder was moved.
            return State.DONE if record.made_with == self._made_with else State.TO_DO
        if record.source != job.source.key and os.path.lexists(record.source):
            raise WouldReplace(f"{target} is the result of {record.source}. {_OVERWRITE} {FULL_NAMES}")
        return State.TO_DO

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
        if self._ledger is None:
            raise RuntimeError("the output folder is not open")
        self.judge(job)
        target = self.root / job.output
        made_with, opened = self._made_with, self._ledger

        def note(written: Stamp) -> None:
            opened.add(Record(job.output.as_posix(), written, job.source.key, read, made_with))

        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, data, before_rename=note)
        except OSError as error:
            if error.errno in _DISK_FULL:
                raise CannotWrite(system_reason(error)) from error
            raise


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
