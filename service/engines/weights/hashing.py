"""The hash of a checkpoint file, and how to notice that the file has changed since the hash was computed.

``requested`` and ``official`` call it before a load. It must stay fast, because it runs on every start, beside the
import of torch. That is why a hash is kept in a small JSON file beside the checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from service.engines.protocol import WeightsUnavailable

_READ_BYTES = 32 << 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Distinguishes two states of a file without reading the file."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Fingerprint:
        """The current fingerprint of the file.

        Raises:
            OSError: there is no such file.
        """
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


def file_hash(path: Path, algorithm: str) -> tuple[str, Fingerprint]:
    """The hex digest of a file, and the fingerprint of the file at that time.

    The digest is remembered in ``<file>.<algorithm>.json``, so that a warm start reads the checkpoint only once, to
    load it. A remembered digest is ignored if the size or the modification time has changed. The inode is not
    compared: it differs between containers that were made from one image. If the JSON file cannot be written, every
    start computes the digest again.

    Raises:
        WeightsUnavailable: the file cannot be read, or it changed while it was read.
    """
    remembered_in = path.with_name(f"{path.name}.{algorithm}.json")
    try:
        fingerprint = Fingerprint.of(path)
        file_state = {"size": fingerprint.size, "mtime_ns": fingerprint.mtime_ns}
        remembered = _remembered_digest(remembered_in, algorithm, file_state)
        if remembered:
            return remembered, fingerprint
        digest = _compute_digest(path, algorithm)
        if Fingerprint.of(path) != fingerprint:
            raise WeightsUnavailable(
                f"{path} changed while it was read; is another program writing to it?", path
            )
    except OSError as error:
        raise WeightsUnavailable(f"cannot read {path}: {error.strerror or error}", path) from error
    _remember(remembered_in, {algorithm: digest, **file_state})
    return digest, fingerprint


def _compute_digest(path: Path, algorithm: str) -> str:
    # Few large reads: each one has to wait for the interpreter lock, which the import of torch holds most of the time.
    hasher = hashlib.new(algorithm)
    buffer = memoryview(bytearray(_READ_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(buffer[:count])
    return hasher.hexdigest()


def _remembered_digest(remembered_in: Path, algorithm: str, file_state: dict[str, int]) -> str | None:
    try:
        record = json.loads(remembered_in.read_text())
        digest = record.pop(algorithm)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return digest if record == file_state and isinstance(digest, str) else None


def _remember(remembered_in: Path, record: dict[str, str | int]) -> None:
    part = remembered_in.with_name(f"{remembered_in.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(record))
        part.replace(remembered_in)
    except OSError as error:
        _log.debug("the hash was not remembered, so the next start computes it again: %s", error)
