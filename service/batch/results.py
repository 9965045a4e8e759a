"""Where results go: what a folder and an address on an object store have in common.

``output_folder`` and ``remote_folder`` are the two, ``survey`` and ``tasks`` use them without knowing which it is. What
is to be done about a picture is decided here alone, so that both decide alike.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import fields
from enum import Enum, auto
from pathlib import Path, PurePath
from typing import Any, Protocol

from service.batch.addresses import Address, exists
from service.batch.ledger import Record, Stamp
from service.batch.plan import FULL_NAMES, Job
from service.imaging.options import Options
from service.settings import Settings

OVERWRITE = "--overwrite replaces it."

_MODEL_SETTINGS = ("engine", "mode", "resize", "weights", "max_model_pixels")
"""Not the device and the precision: what they change lies within the tolerances that the service allows itself."""


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

    def close(self, *, complete: bool) -> None:
        """Nothing more will be written by this process.

        Args:
            complete: whether every picture of the run has ended, so that nothing more will be written by any process.

        Raises:
            OSError: what was written cannot be noted. The next run does it again.
        """
        ...

    def remove_unfinished(self, jobs: Iterable[Job]) -> None:
        """Remove what a run that was killed has left beside these results. Call it before the first result."""
        ...

    def claim(self, jobs: Iterable[Job]) -> None:
        """Say that the results of these pictures are about to be written.

        Raises:
            OSError: it cannot be said.
        """
        ...

    def judge(self, job: Job) -> State:
        """What is to be done about a picture; see ``OutputFolder.judge``."""
        ...

    def records_of(self, job: Job) -> Sequence[Record]:
        """What a process that shares these results must know of earlier ones of this name."""
        ...

    def write(self, job: Job, data: bytes, read: Stamp) -> Record | None:
        """Write a result, and note it; see ``OutputFolder.write``."""
        ...

    def take_in(self, record: Record) -> None:
        """Note what a process that shares these results has written, and has not noted itself.

        Raises:
            OSError: it cannot be noted now. A later one, or ``close``, tries it again.
            CannotWrite: nor could many before.
        """
        ...

    def share(self) -> Shared:
        """Let other processes of this run write; this process has opened it."""
        ...


class SharedResults(Protocol):
    """Results into which one of several processes writes."""

    def expect(self, records: Iterable[Record]) -> None:
        """What the process that opened the results knows of one of them."""
        ...

    def write(self, job: Job, data: bytes, read: Stamp) -> Record | None:
        """Write a result; see ``OutputFolder.write``.

        Returns:
            The record of it, if the process that opened the results must note it.
        """
        ...


class Shared(Protocol):
    """How another process of the same run gets at the results; it can be pickled."""

    def join(self) -> SharedResults:
        """In that process: the results.

        Raises:
            OSError: that process cannot reach them.
        """
        ...


def judged(
    job: Job,
    *,
    there: Stamp | None,
    records: Iterable[Record],
    made_with: Mapping[str, Any],
    target: object,
    exists: Callable[[str], bool] = exists,
    unfinished: bool = False,
) -> State:
    """What is to be done about a picture.

    Args:
        job: the picture.
        there: the stamp of what has its result's name; None if nothing has.
        records: of all results of that name. Those count that say that they wrote what is there.
        made_with: how results are made now.
        target: the result's name, for a person.
        exists: whether a picture of this key is there, on this machine or on a store.
        unfinished: whether what is there may be what a run wrote that ended before it could note it.

    Raises:
        WouldReplace: something is in the way that is no result of this picture.
        OSError: the store of another picture cannot be asked.
    """
    if there is None:
        return State.TO_DO
    ours = [record for record in records if record.written == there]
    if not ours and not unfinished:
        raise WouldReplace(f"{target} is there already, and is no result of an earlier run. {OVERWRITE}")
    # The same picture, also if its folder was moved.
    same = [each for each in ours if each.read == job.source.stamp and _name(each) == job.source.path.name]
    if any(record.made_with == made_with for record in same):
        return State.DONE
    if not same and all(record.source != job.source.key for record in ours):
        for other in sorted({record.source for record in ours}):
            if exists(other):
                raise WouldReplace(f"{target} is the result of {other}. {OVERWRITE} {FULL_NAMES}")
    return State.TO_DO


def _name(record: Record) -> str:
    return PurePath(record.source).name
