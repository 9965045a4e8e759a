"""The results on an object store: what is done there already, and how a result gets there.

The command opens it if ``--to`` is an address. It keeps the promises of ``output_folder``: a result is written in one
piece, a record of it is written before, and nothing is replaced that this program did not write. An object's time of
change is set by the store, so what was written is recognised by its size alone.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from service.batch import ledger
from service.batch.addresses import Address, ObjectStore, is_address
from service.batch.ledger import Record, Stamp
from service.batch.output_folder import CannotWrite, State, WouldReplace, judged
from service.batch.plan import Job
from service.batch.problem import system_reason

MOST_PARTS = 50
"""With more files of records than this, ``open`` makes one of them."""


@dataclass(frozen=True, slots=True)
class SharedRemote:
    """An address into which several processes write."""

    root: Address
    made_with: Mapping[str, Any]
    overwrite: bool

    def join(self) -> RemoteFolder:
        """In another process of the run: the results.

        Raises:
            OSError: that process cannot reach them.
        """
        return RemoteFolder(self.root, made_with=self.made_with, overwrite=self.overwrite, joined=True)


class RemoteFolder:
    """The results below an address.

    Args:
        root: the address.
        made_with: what ``output_folder.made_with`` returns.
        overwrite: do everything again, and replace objects that are in the way.
        joined: whether another process of the run has looked, and tells what is expected.

    Raises:
        OSError: the store cannot be asked.
    """

    def __init__(
        self, root: Address, *, made_with: Mapping[str, Any], overwrite: bool, joined: bool = False
    ) -> None:
        self.root = root
        self._store = ObjectStore(root)
        self._made_with = made_with
        self._overwrite = overwrite
        self._joined = joined
        self._there: dict[str, Stamp] = {}
        self._records: dict[str, Record] = {}
        self._waiting: list[Record] = []
        self._lock, self._committing = threading.Lock(), threading.Lock()
        if not joined:
            self._look()

    @property
    def results(self) -> Set[str]:
        """The keys of everything that runs have written here."""
        return {str(self.root / output) for output in self._records}

    def open(self) -> None:
        """Make one file of many files of records.

        Raises:
            OSError: the store cannot be written.
        """
        parts = self._parts()
        if len(parts) > MOST_PARTS:
            self._write_part(self._records.values())
            for part in parts:
                self._store.remove(part)

    def close(self) -> None:
        """Nothing is left to do: every record has been written."""

    def remove_unfinished(self, jobs: Iterable[Job]) -> None:
        """Nothing is ever left: an object appears whole."""

    def share(self) -> SharedRemote:
        """Let other processes of this run write."""
        return SharedRemote(self.root, self._made_with, self._overwrite)

    def expect(self, record: Record | None) -> None:
        """What the process that looked knows of a result."""
        if record is not None:
            self._records[record.output] = record

    def record_of(self, job: Job) -> Record | None:
        """What is known of the last result of this name."""
        return self._records.get(job.output.as_posix())

    def judge(self, job: Job) -> State:
        """What is to be done about a picture, as far as was seen when this object was made.

        Raises:
            WouldReplace: something is in the way that is no result of this picture.
        """
        return self._judge(job, self._there.get(job.output.as_posix()))

    def write(self, job: Job, data: bytes, read: Stamp) -> None:
        """Write a result, whole or not at all.

        Raises:
            WouldReplace: as ``judge``, but as it is now.
            CannotWrite: no other one can be written either.
            OSError: it cannot be written.
        """
        target = self.root / job.output
        found = self._store.bytes_of(target)
        there = None if found is None else Stamp(found, 0)
        try:
            self._judge(job, there)
        except WouldReplace:
            self._records |= self._read_parts()  # a process that has died may have written it for this run
            self._judge(job, there)
        try:
            self._note(
                Record(job.output.as_posix(), Stamp(len(data), 0), job.source.key, read, self._made_with)
            )
            self._store.write(target, data)
        except (PermissionError, FileNotFoundError) as error:  # the bucket is missing, or not ours
            raise CannotWrite(system_reason(error)) from error

    def _judge(self, job: Job, there: Stamp | None) -> State:
        if self._overwrite:
            return State.TO_DO
        return judged(
            job,
            there=there,
            record=self.record_of(job),
            made_with=self._made_with,
            target=self.root / job.output,
            exists=_exists,
        )

    def _look(self) -> None:
        for each in self._store.list(self.root):
            if ledger.SHARDS not in each.below.parts:
                self._there[each.below.as_posix()] = Stamp(each.stamp.bytes, 0)
        self._records = self._read_parts()

    def _parts(self) -> list[Address]:
        folder = self.root / ledger.SHARDS
        return [each.address for each in self._store.list(folder) if each.below.suffix == ".jsonl"]

    def _read_parts(self) -> dict[str, Record]:
        return ledger.parse_records(
            line for part in self._parts() for line in self._store.read_whole(part).splitlines()
        )

    def _note(self, record: Record) -> None:
        """Write a record; those that come while one is being written are written together.

        Raises:
            OSError: it cannot be written.
        """
        with self._lock:
            self._waiting.append(record)
        with self._committing:
            with self._lock:
                batch, self._waiting = self._waiting, []
            if batch:  # else the one before has written this record too
                try:
                    self._write_part(batch)
                except BaseException:
                    with self._lock:
                        self._waiting = [*(each for each in batch if each is not record), *self._waiting]
                    raise
        self._records[record.output] = record

    def _write_part(self, records: Iterable[Record]) -> None:
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:8]}.jsonl"
        text = "".join(each.to_line() for each in records)
        self._store.write(self.root / ledger.SHARDS / name, text.encode())


def _exists(key: str) -> bool:
    if not is_address(key):
        return False  # on another machine, perhaps
    address = Address(key)
    return ObjectStore(address).bytes_of(address) is not None
