"""What is to be cut out: where the bytes of one picture come from, and where those of its result go.

``cutter`` calls ``read`` and then ``write``, in threads. The limits on a file are those on an upload.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from service.batch.addresses import ObjectStore
from service.batch.ledger import Record, Stamp
from service.batch.plan import Job
from service.batch.results import Results, SharedResults
from service.batch.sources import Source
from service.errors import TooLarge


class NotCutOut(Exception):
    """This picture has no result; the message is the reason, for a person."""


class Task(Protocol):
    """One picture to be cut out."""

    @property
    def name(self) -> str:
        """As the user knows it."""
        ...

    def read(self) -> bytes:
        """The bytes of the picture.

        Raises:
            NotCutOut, ServiceError, OSError: there is nothing that could be cut out.
        """
        ...

    def write(self, data: bytes) -> None:
        """Take the bytes of the result.

        Raises:
            WouldReplace, OSError: it cannot be written.
            CannotWrite: nor can any other.
        """
        ...


@dataclass(frozen=True, slots=True)
class SingleTask:
    """A picture whose result belongs to no output folder."""

    name: str
    read: Callable[[], bytes]
    write: Callable[[bytes], None]


class FolderTask:
    """A file whose result goes into the output folder.

    Args:
        job: the file and the name of its result.
        folder: open.
        max_bytes: of the file.
    """

    def __init__(self, job: Job, folder: Results | SharedResults, *, max_bytes: int) -> None:
        self.name = str(job.source.path)
        self._job = job
        self._folder = folder
        self._max_bytes = max_bytes
        self._read: Stamp | None = None
        self.record: Record | None = None
        """Of the result, if another process must note it."""

    def read(self) -> bytes:
        """The bytes of the file. What it was when it was read is noted in the ledger later."""
        data, self._read = read_source(self._job.source, max_bytes=self._max_bytes)
        return data

    def write(self, data: bytes) -> None:
        """Write the result into the output folder."""
        if self._read is None:
            raise RuntimeError("a result without a picture")
        self.record = self._folder.write(self._job, data, self._read)


def read_source(source: Source, *, max_bytes: int) -> tuple[bytes, Stamp]:
    """The bytes of a picture and its stamp, wherever it is.

    Raises:
        TooLarge, NotCutOut, OSError: as ``read_file``.
    """
    if isinstance(source.path, Path):
        return read_file(source.path, max_bytes=max_bytes)
    data = ObjectStore(source.path).read(source.path, most=max_bytes + 1)
    if len(check_bytes(data, max_bytes=max_bytes)) != source.stamp.bytes:
        raise NotCutOut("The object changed after it was listed. Start again when it is complete.")
    return data, source.stamp


def read_file(path: Path, *, max_bytes: int) -> tuple[bytes, Stamp]:
    """The bytes of a file and its stamp.

    Raises:
        TooLarge: it has more than ``max_bytes``.
        NotCutOut: it is empty, or changed while it was read.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        before = Stamp.of(os.fstat(file.fileno()))
        data = check_bytes(file.read(max_bytes + 1), max_bytes=max_bytes)
        after = Stamp.of(os.fstat(file.fileno()))
    if before != after or len(data) != after.bytes:
        raise NotCutOut("The file changed while it was read. Start again when it is complete.")
    return data, after


def check_bytes(data: bytes, *, max_bytes: int) -> bytes:
    """The bytes of a file, if there are some and not too many.

    Raises:
        TooLarge: there are more than ``max_bytes``.
        NotCutOut: there are none.
    """
    if not data:
        raise NotCutOut("The file is empty.")
    if len(data) > max_bytes:
        raise TooLarge(
            f"The file has more than {max_bytes} bytes, the limit. --max-upload-bytes raises it, or "
            "INSPYRENET_MAX_UPLOAD_BYTES."
        )
    return data
