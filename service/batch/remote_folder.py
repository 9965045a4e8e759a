"""The results on an object store: what is done there already, and how a result gets there.

The command opens it if ``--to`` is an address. It keeps the promises of ``results``: a result appears whole, it
counts as done only if it is there as it was written, and nothing is replaced that this program did not write. An object
is recognised by its size and version. ``remote_ledger`` says how a result is noted without being renamed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from service.batch import ledger
from service.batch.addresses import Address, ObjectStore
from service.batch.ledger import Record, Stamp
from service.batch.plan import Job
from service.batch.problem import system_reason
from service.batch.remote_ledger import RemoteLedger
from service.batch.results import CannotWrite, State, WouldReplace, judged

MOST_FAILURES = 20
"""So many results in a row that cannot be written concern all: more than are under way at the same time by default."""


@dataclass(frozen=True, slots=True)
class SharedRemote:
    """An address into which several processes write."""

    root: Address
    made_with: Mapping[str, Any]

    def join(self) -> RemoteWriter:
        """In another process of the run: the results.

        Raises:
            OSError: that process cannot reach them.
        """
        return RemoteWriter(self.root, made_with=self.made_with)


class RemoteWriter:
    """What writes results below an address, of which the process that opened it has claimed the names.

    Args:
        root: the address.
        made_with: what ``results.made_with`` returns.

    Raises:
        OSError: the store cannot be opened.
    """

    def __init__(self, root: Address, *, made_with: Mapping[str, Any]) -> None:
        self._root = root
        self._made_with = made_with
        self._store = ObjectStore(root)
        self.failures = Failures()

    def expect(self, records: Iterable[Record]) -> None:
        """Nothing has to be known: what a worker that died has written is replaced."""

    def write(self, job: Job, data: bytes, read: Stamp) -> Record:
        """Write a result.

        Returns:
            Its record, which the process that opened the results must note.

        Raises:
            CannotWrite: many in a row could not be written.
            OSError: it cannot be written.
        """
        with self.failures.in_a_row():
            return self.put(job, data, read)

    def put(self, job: Job, data: bytes, read: Stamp) -> Record:
        """Write a result. Its record is made after it, because the store says only then which version it is.

        Raises:
            OSError: it cannot be written, or has gone.
        """
        target = self._root / job.output
        self._store.write(target, data)
        written = self._store.stamp_of(target)
        if written is None or written.bytes != len(data):
            raise OSError(None, "The store took the result, but does not have it")
        return Record(job.output.as_posix(), written, job.source.key, read, self._made_with)


class RemoteFolder:
    """The results below an address.

    Args:
        root: the address.
        made_with: what ``results.made_with`` returns.
        overwrite: do everything again, and replace objects that are in the way.

    Raises:
        OSError: the store cannot be asked, or the address is a pattern or an object.
    """

    def __init__(self, root: Address, *, made_with: Mapping[str, Any], overwrite: bool) -> None:
        if set("*?[") & set(root.text):
            raise OSError(None, "results go to one place, so their address takes none of * ? [")
        self.root = root
        self._store = ObjectStore(root)
        self._made_with = made_with
        self._overwrite = overwrite
        self._there: dict[str, Stamp] = {}
        self._ledger = RemoteLedger(root, self._store)
        self._writer = RemoteWriter(root, made_with=made_with)
        self._look()

    @property
    def results(self) -> Set[str]:
        """The keys of everything that runs have written here, or may have."""
        return {str(self.root / output) for output in self._ledger.outputs}

    def open(self) -> None:
        """Keep the ledger small.

        Raises:
            OSError: the store cannot be written.
        """
        self._ledger.merge()

    def remove_unfinished(self, jobs: Iterable[Job]) -> None:
        """Nothing: what was not written to its end has a claim and no record, and is made again."""

    def claim(self, jobs: Iterable[Job]) -> None:
        """Say that these results are about to be written.

        Raises:
            OSError: the store cannot be written.
        """
        if outputs := [job.output.as_posix() for job in jobs]:
            self._ledger.claim({output: self._there.get(output) for output in outputs})

    def close(self, *, complete: bool) -> None:
        """Note what has been written; give the names free that were claimed, if every picture has ended.

        Raises:
            OSError: the store cannot be written. What is not noted is made again by the next run.
        """
        self._ledger.flush()
        if complete and self._ledger.has_claims:
            self._look()
            self._ledger.settle(self._there)

    def share(self) -> SharedRemote:
        """Let other processes of this run write."""
        return SharedRemote(self.root, self._made_with)

    def records_of(self, job: Job) -> Sequence[Record]:  # noqa: ARG002 - a RemoteWriter expects none
        """Nothing that other processes must know."""
        return ()

    def take_in(self, record: Record) -> None:
        """Note a result.

        Raises:
            OSError: it cannot be noted now. A later one, or ``close``, tries it again.
            CannotWrite: nor could many before.
        """
        with self._writer.failures.in_a_row():
            # a worker's copy of how it is made would be kept for each of a million results
            self._take_in(replace(record, made_with=self._made_with))

    def judge(self, job: Job) -> State:
        """What is to be done about a picture, as far as was seen when this object was made.

        Raises:
            WouldReplace: something is in the way that is no result of this picture.
        """
        return self._judge(job, self._there.get(job.output.as_posix()))

    def write(self, job: Job, data: bytes, read: Stamp) -> None:
        """Write a result, and note it.

        Raises:
            WouldReplace: as ``judge``, but as it is now.
            CannotWrite: many in a row could not be written.
            OSError: it cannot be written.
        """
        with self._writer.failures.in_a_row():
            output = job.output.as_posix()
            there = self._store.stamp_of(self.root / output)
            try:
                self._judge(job, there)
            except WouldReplace:
                self._ledger.disclaim(output)
                raise
            self._take_in(self._writer.put(job, data, read))

    def _take_in(self, record: Record) -> None:
        self._there[record.output] = record.written
        self._ledger.add(record)

    def _judge(self, job: Job, there: Stamp | None) -> State:
        if self._overwrite:
            return State.TO_DO
        output = job.output.as_posix()
        return judged(
            job,
            there=there,
            records=self._ledger.records.of(output),
            made_with=self._made_with,
            target=self.root / output,
            unfinished=self._ledger.unfinished(output, there),
        )

    def _look(self) -> None:
        listed = list(self._store.find(self.root))
        if any(each.named for each in listed):
            raise OSError(None, "this is an object, so it cannot hold results")
        self._there = {each.below.as_posix(): each.stamp for each in listed}
        self._ledger.read(each.address for each in listed if each.below.parts[0] == ledger.SHARDS)


class Failures:
    """Tells a failure that concerns one result from one that concerns all: by how many there were in a row."""

    def __init__(self) -> None:
        self._count = 0
        self._lock = threading.Lock()

    @contextmanager
    def in_a_row(self) -> Iterator[None]:
        """Around each write.

        Raises:
            CannotWrite: this one failed, and all of the last ones did.
        """
        try:
            yield
        except OSError as error:
            with self._lock:
                self._count += 1
                count = self._count
            if count >= MOST_FAILURES:
                raise CannotWrite(
                    f"{count} results in a row could not be written: {system_reason(error)}"
                ) from error
            raise
        with self._lock:
            self._count = 0
