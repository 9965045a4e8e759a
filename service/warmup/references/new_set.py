"""The files of a set of references while it is made: its masks, then its manifest and contact sheet.

``acceptance`` uses it. The manifest is replaced in one step, when everything else is on the disk: at every moment the
directory holds the old set or the new one, whole. Nothing fails after that step. Of what the directory held before,
only files that ``accept`` wrote itself may be removed: an operator's pictures may be the only copies.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from service.imaging.encode import encode
from service.imaging.options import Format
from service.warmup.references import contact_sheet, manifest
from service.warmup.references.contact_sheet import Thumbnails
from service.warmup.references.gathering import NotAccepted
from service.warmup.references.manifest import Manifest
from service.warmup.references.masks import Mask

_MASKS = re.compile(r"accepted-[a-z0-9_]{8}")
"""The directory of a set's masks; each set has its own, so that the old set stays whole until it is replaced."""

_WRITTEN = ".written-by-accept"
"""A file in that directory: the names of the files that were written there, each with a zero byte behind it. Only these
are removed with the set, and a directory without such a list is not ours."""


class NewSet:
    """The files of a set that is being made; ``new_set`` makes it.

    Args:
        directory: of the pictures.
        masks: an empty directory in it.

    Attributes:
        committed: whether the masks belong to the set that counts.
    """

    def __init__(self, directory: Path, masks: Path) -> None:
        self.committed = False
        self._directory = directory
        self._masks = masks

    def read(self, file: str) -> bytes:
        """The bytes of a picture, or of a mask that was added."""
        return (self._directory / file).read_bytes()

    def add_mask(self, picture: str, mask: Mask) -> tuple[str, str]:
        """Write the mask of a picture; return its path in the directory, and its hash."""
        data = encode(mask, Format.PNG)
        path = self._masks / f"{Path(picture).stem}.png"  # so that the directory can be given as --masks
        with (self._masks / _WRITTEN).open("ab") as written:
            written.write(os.fsencode(path.name) + b"\0")
        _write(path, data)
        return f"{self._masks.name}/{path.name}", hashlib.sha256(data).hexdigest()

    def commit(self, made: Manifest, thumbnails: Mapping[str, Thumbnails]) -> None:
        """Put the manifest and the contact sheet in place, and remove the masks of earlier sets.

        Raises:
            OSError: a file cannot be written or replaced; the old set and its contact sheet are in place.
        """
        page, text = contact_sheet.render(made, thumbnails).encode(), made.to_text().encode()
        sheet, listing = self._directory / contact_sheet.FILE_NAME, self._directory / manifest.FILE_NAME
        new_sheet, new_listing = _beside(sheet, "new"), _beside(listing, "new")
        try:
            _write(new_sheet, page)
            _write(new_listing, text)
            with _replaced(sheet, new_sheet):
                self._replace_manifest(listing, new_listing)
        finally:
            _remove(new_listing)
            _remove(new_sheet)
        self._remove_older()

    def _replace_manifest(self, listing: Path, new: Path) -> None:
        self.committed = (
            True  # before it is true: if a signal ends the process in between, the masks must stay
        )
        try:
            new.replace(listing)
        except OSError:
            self.committed = False
            raise

    def _remove_older(self) -> None:
        with suppress(OSError):
            for path in self._directory.iterdir():
                if _MASKS.fullmatch(path.name) and path != self._masks and not path.is_symlink():
                    _remove_written(path)


@contextmanager
def new_set(directory: Path) -> Iterator[NewSet]:
    """The files of a set while it is made; unless it is committed, nothing of it stays.

    Raises:
        NotAccepted: another run is at work in the directory.
        OSError: a file cannot be written.
    """
    with _lock(directory):
        masks = Path(tempfile.mkdtemp(prefix="accepted-", dir=directory))
        new = NewSet(directory, masks)
        try:
            masks.chmod(0o755)  # the service may run as another user than the one who accepts
            yield new
        finally:
            if not new.committed:
                shutil.rmtree(masks, ignore_errors=True)


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Keep a second run out of the directory: each would remove the masks of the other."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise NotAccepted([f"another run of accept is at work in {directory}"]) from error
    finally:
        os.close(descriptor)


@contextmanager
def _replaced(target: Path, new: Path) -> Iterator[None]:
    """Put a new file in the place of another; if the body fails, the old one is back in its place."""
    old = _beside(target, "old")
    existed = target.exists()
    if existed:
        target.replace(old)
    try:
        new.replace(target)
        yield
    except BaseException:
        if existed:
            old.replace(target)
        else:
            target.unlink(missing_ok=True)
        raise
    _remove(old)


def _beside(path: Path, ending: str) -> Path:
    """A hidden file in the same directory."""
    return path.with_name(f".{path.name}.{ending}")


def _write(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on the disk: after a crash, a manifest must not be there without its masks."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    """Remove a file if that is possible."""
    with suppress(OSError):
        path.unlink()


def _remove_written(masks: Path) -> None:
    """Remove what was written into a directory of masks, and the directory if nothing else is there."""
    try:
        names = (masks / _WRITTEN).read_bytes().split(b"\0")
    except OSError:
        return
    for name in map(os.fsdecode, names):
        if name and Path(name).name == name:
            _remove(masks / name)
    _remove(masks / _WRITTEN)
    with suppress(OSError):
        masks.rmdir()
