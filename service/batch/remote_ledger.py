"""The ledger of results on an object store: few large objects in a folder beside them, none of which ever changes.

``remote_folder`` writes it, ``sources`` asks it what is no input. An object cannot get its final name after its record,
as a file does, so there are two kinds of notes. Before a run makes results it *claims* their names. After a result is
there, a record says so, with the version that the store has given it; records are collected and written many at once.
What has a claim and no record when a run has died is made again. At the end of a run its claims are removed. Nothing
here is ordered by time: a record counts if what it names is there.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict

from service.batch.addresses import Address, ObjectStore
from service.batch.ledger import SHARDS, Record, Records, Stamp, parse_records

MOST_WAITING = 1000
LONGEST_WAIT = 60.0
"""Records are written when so many have come, or when the first of them is so many seconds old: what is made again if
the machine dies."""

MOST_OBJECTS = 1000
"""With more objects of records than this, a run begins by making few of them."""

_LINES = 10_000
"""In one object; a few megabytes."""

_AT_ONCE = 50
"""Objects that are read together."""

_RECORDS, CLAIMS = ".jsonl", ".claims"

Claims = dict[str, tuple[Stamp | None, ...]]
"""Names of results that runs are about to write: what was there when they said so."""


def outputs_in(addresses: Iterable[Address]) -> set[str]:
    """The keys of all results that ledgers name.

    Args:
        addresses: of the ledgers' objects, all on one store.

    Raises:
        OSError: they cannot be read.
    """
    keys: set[str] = set()
    for address, lines in _read(tuple(addresses)):
        root = str(address).partition(f"/{SHARDS}/")[0]
        for line in lines:
            with suppress(ValueError, TypeError, KeyError):
                keys.add(f"{root}/{json.loads(line)['output']}")
    return keys


class RemoteLedger:
    """The ledger of one address.

    Args:
        root: of the results.
        store: where it is.
        clock: monotonic seconds.
    """

    def __init__(
        self, root: Address, store: ObjectStore, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.records = Records()
        self._folder = root / SHARDS
        self._store = store
        self._clock = clock
        self._claims: Claims = {}
        self._own: dict[str, Stamp | None] = {}
        """Claimed by this run, and not noted."""
        self._own_claims: list[Address] = []
        self._seen: dict[Address, None] = {}
        """Objects whose content is known here. No other object may ever be removed."""
        self._waiting: list[Record] = []
        self._oldest = 0.0
        self._lock, self._writing = threading.Lock(), threading.Lock()

    # -- what is known ------------------------------------------------------------------------------------------------

    def read(self, addresses: Iterable[Address]) -> None:
        """Take in those objects of the ledger that are not known yet.

        Raises:
            OSError: one cannot be read.
        """
        for address, lines in _read([each for each in addresses if each not in self._seen]):
            if address.name.endswith(CLAIMS):
                for output, was in _parse_claims(lines):
                    self._claims[output] = (*self._claims.get(output, ()), was)
            else:
                for record in parse_records(lines):
                    self.records.add(record)
            self._seen[address] = None

    def unfinished(self, output: str, there: Stamp | None) -> bool:
        """Whether an earlier run, or another process of this one, may have written this and not have noted it."""
        return any(was != there for was in self._claims.get(output, ()))

    @property
    def outputs(self) -> set[str]:
        """The names of all results that were written, or may have been."""
        return {*self.records.outputs, *self._claims}

    # -- before results are made --------------------------------------------------------------------------------------

    def merge(self) -> None:
        """Make few objects of many. What was read is written before it is removed, and nothing else is removed.

        Raises:
            OSError: they cannot be written or removed.
        """
        old = [each for each in self._seen if each.name.endswith(_RECORDS)]
        lines = [record.to_line() for record in self.records] if len(old) > MOST_OBJECTS else []
        if len(old) > MOST_OBJECTS and len(old) > 2 * len(lines) / _LINES:
            self._write(_RECORDS, lines)
            self._remove(old)

    def claim(self, outputs: Mapping[str, Stamp | None]) -> None:
        """Say that these results are about to be written.

        Args:
            outputs: their names, and what is there now.

        Raises:
            OSError: it cannot be said.
        """
        with self._lock:
            self._own |= outputs
            own = tuple(self._own.items())
        self.flush()  # what is noted, but not for good, must not lose its claim
        before, self._own_claims = self._own_claims, self._write(CLAIMS, _claim_lines(own))
        self._remove(before)

    def disclaim(self, output: str) -> None:
        """Somebody else has written this, and not this run."""
        with self._lock:
            self._own.pop(output, None)

    # -- after results are made ---------------------------------------------------------------------------------------

    def add(self, record: Record) -> None:
        """Note a result. Threads may call it at the same time.

        Raises:
            OSError: the records that have been collected cannot be written. They are kept, and tried again with
                the next one.
        """
        self.records.add(record)
        with self._lock:
            if not self._waiting:
                self._oldest = self._clock()
            self._waiting.append(record)
            self._own.pop(record.output, None)
            due = len(self._waiting) >= MOST_WAITING or self._clock() - self._oldest >= LONGEST_WAIT
        if due:
            self.flush()

    def flush(self) -> None:
        """Write the records that have been collected.

        Raises:
            OSError: they cannot be written. They are kept.
        """
        with self._writing:
            with self._lock:
                batch, self._waiting = self._waiting, []
            try:
                self._write(_RECORDS, [record.to_line() for record in batch])
            except BaseException:
                with self._lock:
                    self._waiting = [*batch, *self._waiting]
                raise

    @property
    def has_claims(self) -> bool:
        """Whether there is anything to settle."""
        return any(each.name.endswith(CLAIMS) for each in self._seen)

    def settle(self, there: Mapping[str, Stamp]) -> None:
        """Remove the claims, because no process writes any more; except for what is there and has no record.

        Args:
            there: all that is there now.

        Raises:
            OSError: they cannot be removed.
        """
        old = [each for each in self._seen if each.name.endswith(CLAIMS)]
        claims = [(output, was) for output, each in self._claims.items() for was in each] + [
            *self._own.items()
        ]
        unsettled = [
            (output, was)
            for output, was in claims
            if (now := there.get(output)) is not None
            and now != was
            and all(record.written != now for record in self.records.of(output))
        ]
        self._write(CLAIMS, _claim_lines(unsettled))
        self._remove(old)

    def _write(self, kind: str, lines: Sequence[str]) -> list[Address]:
        written = []
        for start in range(0, len(lines), _LINES):
            address = self._folder / f"{uuid.uuid4().hex}{kind}"
            self._store.write(address, "".join(lines[start : start + _LINES]).encode())
            self._seen[address] = None
            written.append(address)
        return written

    def _remove(self, addresses: Sequence[Address]) -> None:
        self._store.remove_all(addresses)
        for address in addresses:
            del self._seen[address]


def _read(addresses: Sequence[Address]) -> Iterator[tuple[Address, list[bytes]]]:
    for start in range(0, len(addresses), _AT_ONCE):
        some = addresses[start : start + _AT_ONCE]
        for address, data in zip(some, ObjectStore(some[0]).read_all(some), strict=True):
            yield address, data.splitlines()


def _claim_lines(claims: Iterable[tuple[str, Stamp | None]]) -> list[str]:
    return [json.dumps({"output": name, "was": was and asdict(was)}) + "\n" for name, was in claims]


def _parse_claims(lines: Iterable[bytes]) -> Iterator[tuple[str, Stamp | None]]:
    for line in lines:
        with suppress(ValueError, TypeError, KeyError):
            claim = json.loads(line)
            yield str(claim["output"]), claim["was"] and Stamp(**claim["was"])
