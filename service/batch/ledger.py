"""The ledger: the list of what a run has written into its output folder, and from which pictures.

It is a file in that folder, one JSON object a line, which only grows. ``output_folder`` decides by it what is done,
``sources`` what is no input. A record is written before its result gets its final name, so two things stay true however
a run ends: each finished result has a record, and a record whose result is missing or differs counts for nothing.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

FILE_NAME = ".inspyrenet-cut.jsonl"


@dataclass(frozen=True, slots=True)
class Stamp:
    """How a file is recognised without reading it: a file that was changed has another stamp."""

    bytes: int
    mtime_ns: int
    """Time of the last change, Unix time in nanoseconds."""

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
        return json.dumps(asdict(self), separators=(",", ":")) + "\n"


def read_records(folder: Path) -> dict[str, Record]:
    """The last record of each output of a folder; empty if the folder has no ledger.

    A line that is no record is ignored: a run that was killed may have left half a line.

    Raises:
        OSError: there is a ledger that cannot be read.
    """
    try:
        lines = (folder / FILE_NAME).read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    records = {}
    for line in lines:
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            fields = json.loads(line)
            written, read = Stamp(**fields.pop("written")), Stamp(**fields.pop("read"))
            record = Record(written=written, read=read, **fields)
            records[str(record.output)] = record
    return records


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
            self.records = read_records(folder)
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")  # ends the half line of a run that was killed
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
        line = record.to_line().encode()
        if os.write(self._file, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.records[record.output] = record

    def close(self) -> None:
        """Give the folder free."""
        os.close(self._file)
