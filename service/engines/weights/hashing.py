"""The hashes of a checkpoint file, and how to notice that the file has changed since they were computed.

``requested`` and ``official`` call it before each load. A hash must be that of the bytes that are loaded, so it is
never remembered from an earlier start: a file can change behind its size and time, and a note can be forged. It takes
0.7 s of a core for both hashes of an official checkpoint, beside the import of torch, which takes longer; and the load
then finds the file in the page cache.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from service.engines.protocol import WeightsUnavailable

_READ_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Distinguishes two states of a file without reading the file, as long as this process runs.

    A program can set the time of modification to any value. It cannot set the time of the last change of the inode.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Fingerprint:
        """The current fingerprint of the file.

        Raises:
            OSError: there is no such file.
        """
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def file_hashes(path: Path, *algorithms: str) -> tuple[dict[str, str], Fingerprint]:
    """The hex digest of a file by each algorithm, from one reading, and the fingerprint of the file at that time.

    Raises:
        WeightsUnavailable: the file cannot be read, or it changed while it was read.
    """
    try:
        fingerprint = Fingerprint.of(path)
        digests = _compute_digests(path, algorithms)
        if Fingerprint.of(path) != fingerprint:
            raise WeightsUnavailable(
                f"{path} changed while it was read; is another program writing to it?", path
            )
    except OSError as error:
        raise WeightsUnavailable(f"cannot read {path}: {error.strerror or error}", path) from error
    return digests, fingerprint


def _compute_digests(path: Path, algorithms: tuple[str, ...]) -> dict[str, str]:
    # Few large reads: each one has to wait for the interpreter lock, which the import of torch holds most of the time.
    hashers = {algorithm: hashlib.new(algorithm, usedforsecurity=False) for algorithm in algorithms}
    buffer = memoryview(bytearray(_READ_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            for hasher in hashers.values():
                hasher.update(buffer[:count])
    return {algorithm: hasher.hexdigest() for algorithm, hasher in hashers.items()}
