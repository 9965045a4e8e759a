"""The ledger: the list of what a run has written into its output folder, and from which pictures.

It is a file in that folder, one JSON object a line, which only grows. If several machines write into the folder, each
of their processes has a file of its own beside it, until the end of the run or the next run adds them to the ledger.
``output_folder`` decides by it what is done, ``sources`` what is no input. A record is written before its result gets
its final name, so two things stay true however a run ends: each finished result has a record, and a record whose result
is missing or differs counts for nothing. So all records of a result are kept, and their order means nothing: what is
there says which of them counts. ``remote_ledger`` keeps such records on object stores.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
import uuid
from collections.abc import Iterable, Iterator, KeysView, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

FILE_NAME = ".inspyrenet-cut.jsonl"
SHARDS = ".inspyrenet-cut.d"
"""The folder of the files that the processes of a run on several machines write."""

_RUN = ".run"


@dataclass(frozen=True, slots=True)
class Stamp:
    """How a file or an object is recognised without reading it: when it was changed it has another stamp."""

    bytes: int
    mtime_ns: int = 0
    """Time of a file's last change, Unix time in nanoseconds; 0 for an object."""
    version: str = ""
    """What the store of an object calls its content; empty for a file."""

    @classmethod
    def of(cls, found: os.stat_result) -> Self:
        """The stamp of a file that the system describes so."""
        return cls(found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Record:
    """One result."""

    output: str
    """Path below the output folder."""
    written: Stamp
    source: str
    """Absolute path of the picture."""
    read: Stamp
    made_with: Mapping[str, Any]
    """The options and settings that decide what the result looks like, as JSON holds them."""

    def to_line(self) -> str:
        """The record as a line of the file, with its end."""
        fields = asdict(self)
        for stamp in (fields["written"], fields["read"]):
            if not stamp["version"]:
                del stamp["version"]
        return json.dumps(fields, separators=(",", ":")) + "\n"


class Records:
    """The records of results. Threads may add at the same time."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._of: dict[str, tuple[Record, ...]] = {}
        self._lock = threading.Lock()
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Take in a record, if it is not here yet."""
        with self._lock:
            known = self._of.get(record.output, ())
            if record not in known:
                self._of[record.output] = (*known, record)

    def of(self, output: str) -> tuple[Record, ...]:
        """All records of a result."""
        return self._of.get(output, ())

    @property
    def outputs(self) -> KeysView[str]:
        """The results that have a record."""
        return self._of.keys()

    def __iter__(self) -> Iterator[Record]:
        for output in tuple(self._of):
            yield from self._of[output]


def read_records(folder: Path) -> Records:
    """The records of a folder; none if the folder has no ledger.

    Raises:
        OSError: there is a ledger that cannot be read.
    """
    try:
        lines = (folder / FILE_NAME).read_bytes().splitlines()
    except FileNotFoundError:
        return Records()
    return Records((*parse_records(lines), *read_shards(folder)))


def read_shards(folder: Path) -> Iterator[Record]:
    """The records that are not yet in the ledger of a folder.

    Raises:
        OSError: they cannot be read.
    """
    return parse_records(line for shard in _shards(folder) for line in shard.read_bytes().splitlines())


def parse_records(lines: Iterable[bytes]) -> Iterator[Record]:
    """The records that these lines hold.

    A line that is no record is ignored: a run that was killed may have left half a line.
    """
    made: dict[str, Any] = {}  # the same for most of a million records
    for line in lines:
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            fields = json.loads(line)
            written, read = Stamp(**fields.pop("written")), Stamp(**fields.pop("read"))
            made_with = fields.pop("made_with")
            made_with = made.setdefault(json.dumps(made_with), made_with)
            record = Record(written=written, read=read, made_with=made_with, **fields)
            if isinstance(record.output, str):
                yield record


class InUse(Exception):
    """Another run writes into this folder."""


class Ledger:
    """The ledger of a folder, opened by the one run that may write there; close it at the end.

    Raises:
        InUse: another run has it open.
        OSError: the folder is missing or cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / FILE_NAME
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(
                self._file, fcntl.LOCK_EX | fcntl.LOCK_NB
            )  # the system drops it when the process ends
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")  # ends the half line of a run that was killed
            self._folder = folder
            self._take_in_shards()
            self.records = read_records(folder)
        except BlockingIOError:
            os.close(self._file)
            raise InUse from None
        except BaseException:
            os.close(self._file)
            raise

    def add(self, record: Record) -> None:
        """Note a result that is about to get its final name. Threads may call it at the same time.

        Raises:
            OSError: it cannot be written.
        """
        _append(self._file, record.to_line().encode())
        self.records.add(record)

    def share(self) -> str:
        """Let processes of this run, also on other machines, write into the folder; return what they join by."""
        run = uuid.uuid4().hex
        shards = self._folder / SHARDS
        shards.mkdir(exist_ok=True)
        (shards / f"{run}{_RUN}").touch()
        return run

    def close(self) -> None:
        """Give the folder free.

        Raises:
            OSError: what other processes have noted cannot be taken in; the next run tries it again.
        """
        try:
            self._take_in_shards()
        finally:
            os.close(self._file)

    def _take_in_shards(self) -> None:
        """Add what other processes have noted, then remove their files: a record may be there twice, never not."""
        shards = self._folder / SHARDS
        if not shards.is_dir():
            return
        for marker in shards.glob(f"*{_RUN}"):
            marker.unlink()  # first: from here on no process of that run brings a result to its name
        taken = _shards(self._folder)
        for shard in taken:
            if data := shard.read_bytes():
                _append(self._file, data if data.endswith(b"\n") else data + b"\n")
        os.fsync(self._file)
        for shard in taken:
            shard.unlink()
        with suppress(OSError):  # a process that has just begun has a file there; the next run takes it in
            shards.rmdir()


class Shard:
    """The file in which one process notes what it writes into a folder that another process of its run has opened.

    Args:
        folder: of the results.
        run: what ``Ledger.share`` returned.

    Raises:
        FileNotFoundError: this machine does not see that folder.
        OSError: it cannot be written.
    """

    def __init__(self, folder: Path, run: str) -> None:
        shards = folder / SHARDS
        self._marker = shards / f"{run}{_RUN}"
        self._marker.stat()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = os.open(shards / f"{uuid.uuid4().hex}.jsonl", flags, 0o666)

    def add(self, record: Record) -> None:
        """Note a result that is about to get its final name. Threads may call it at the same time.

        Raises:
            OSError: it cannot be written, or the run has ended.
        """
        _append(self._file, record.to_line().encode())
        os.fsync(self._file)  # other machines read it
        self._marker.stat()  # only a run that goes on reads it: after its end there must be no result without a record

    def close(self) -> None:
        """Nothing more will be noted."""
        os.close(self._file)


def _shards(folder: Path) -> list[Path]:
    return sorted((folder / SHARDS).glob("*.jsonl"))


_appending = threading.Lock()


def _append(file: int, data: bytes) -> None:
    """Append all of it or nothing: what is appended behind half a line would be lost with it."""
    with _appending:  # only this process writes into the file
        before = os.fstat(file).st_size
        if os.write(file, data) != len(data):
            os.ftruncate(file, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
