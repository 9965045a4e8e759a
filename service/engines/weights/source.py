"""Where the weights come from, and whether they are what upstream published: nothing here imports torch."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from service.engines.package_config import ModeConfig, mode_config
from service.engines.protocol import WeightsUnavailable

OFFICIAL = "official"
FILE = "file"
DUMMY = "dummy"

_PIECE_BYTES = 32 << 20

Say = Callable[[str], None]
"""Told, in lines a person can read, what is being done."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells one state of a file from another without reading it."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Fingerprint:
        """The fingerprint now; ``OSError`` if there is no such file."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights that are there to be loaded."""

    kind: str
    """``official``, ``file`` or ``dummy``."""
    path: Path | None
    """None for dummy weights, which are computed."""
    hash: str
    """``md5:<hex>`` or ``sha256:<hex>``; empty for dummy weights."""
    note: str
    """``verified``, ``unverified: <why>``, or ``dummy weights: <what that means>``."""
    fingerprint: Fingerprint | None

    @property
    def source(self) -> str:
        """A name for messages."""
        return str(self.path) if self.path else "dummy weights"

    def check_unchanged(self) -> None:
        """Make sure that the file is still the one whose hash was taken.

        Raises:
            WeightsUnavailable: it was replaced, rewritten or removed since.
        """
        if self.path is None:
            return
        try:
            unchanged = Fingerprint.of(self.path) == self.fingerprint
        except OSError:
            unchanged = False
        if not unchanged:
            raise WeightsUnavailable(
                f"{self.path} changed after it had been verified; it will be verified again"
            )


@dataclass(frozen=True, slots=True)
class Weights:
    """What ``INSPYRENET_WEIGHTS`` asks for.

    Args:
        spec: ``official``, ``dummy``, or the path of a checkpoint.
        mode: whose weights.
        url: where the official checkpoint is downloaded from instead of upstream's address; for tests.
    """

    spec: str
    mode: str
    url: str | None = None

    def at_hand(self) -> bool:
        """Whether nothing has to be downloaded, as far as can be told at once."""
        if self.spec == OFFICIAL:
            return official_path(self.mode).exists()
        return self.spec == DUMMY or Path(self.spec).expanduser().is_file()

    def obtain(self, say: Say) -> Checkpoint:
        """Have the checkpoint on the local disk, verified where that is possible; may download, so may take minutes.

        Raises:
            WeightsUnavailable: what was expected, what was found, and what would mend it.
        """
        if self.spec == DUMMY:
            note = "dummy weights: seeded random numbers, masks mean nothing"
            _log.warning("INSPYRENET_WEIGHTS=dummy: %s", note)
            return Checkpoint(DUMMY, None, "", note, None)
        if self.spec == OFFICIAL:
            try:
                return fetch(self.mode, progress=False, say=say, url=self.url)
            except WeightsUnavailable as error:
                raise WeightsUnavailable(
                    f"{error}. Run `./inspyrenet weights` where there is a network, or set INSPYRENET_WEIGHTS to "
                    "the path of a checkpoint"
                ) from error
        return _given_file(Path(self.spec).expanduser())


@dataclass(frozen=True, slots=True)
class Description:
    """What is on the disk of a mode's official weights."""

    mode: str
    path: Path
    url: str
    published_md5: str | None
    present: bool
    state: str
    """``verified``, ``unverified: <why>``, ``missing``, or what is wrong with the file."""


def official_path(mode: str) -> Path:
    """Where transparent-background keeps the checkpoint of ``mode``, its environment variable included."""
    home = os.environ.get("TRANSPARENT_BACKGROUND_FILE_PATH") or os.path.expanduser("~")
    return Path(home, ".transparent-background", mode_config(mode).ckpt_name)


def describe(mode: str) -> Description:
    """What is there already; reads the file where its hash is not known yet, downloads nothing."""
    config = mode_config(mode)
    path = official_path(mode)
    try:
        state = _verify_official(path, config).note if path.exists() else "missing"
    except WeightsUnavailable as error:
        state = str(error)
    return Description(mode, path, config.url, config.md5, present=path.exists(), state=state)


def fetch(mode: str, *, progress: bool = True, say: Say | None = None, url: str | None = None) -> Checkpoint:
    """Have the official checkpoint of ``mode``: the cached file if it is good, else a download put in its place.

    A file whose hash is wrong is never loaded; it stays where it is until a verified one replaces it.

    Args:
        mode: as in the package's configuration.
        progress: draw a bar on standard error.
        say: told what happens.
        url: instead of upstream's address; for tests.

    Raises:
        WeightsUnavailable: what was expected, what was found, and why nothing better could be had.
    """
    from service.engines.weights.download import download  # noqa: PLC0415  # an HTTP client, for the few starts that need one

    say = say or _log.info
    config = mode_config(mode)
    path = official_path(mode)
    problem = f"{path} is missing"
    try:
        if path.exists():
            return _verify_official(path, config)
    except WeightsUnavailable as error:
        problem = str(error)
        _log.warning("%s; downloading it again", problem)
    try:
        download(url or config.url, path, md5=config.md5, progress=progress, say=say)
    except WeightsUnavailable as error:
        raise WeightsUnavailable(f"{problem}, and it could not be downloaded: {error}") from error
    return _verify_official(path, config)


def _verify_official(path: Path, config: ModeConfig) -> Checkpoint:
    if config.md5 is None:
        digest, fingerprint = file_hash(path, "sha256")
        note = "unverified: upstream publishes no hash of this checkpoint"
        _log.warning("%s is %s", path, note)
        return Checkpoint(OFFICIAL, path, f"sha256:{digest}", note, fingerprint)
    digest, fingerprint = file_hash(path, "md5")
    if digest != config.md5:
        raise WeightsUnavailable(
            f"{path} has the MD5 {digest}, but upstream publishes {config.md5}: it is not loaded"
        )
    return Checkpoint(OFFICIAL, path, f"md5:{digest}", "verified", fingerprint)


def _given_file(path: Path) -> Checkpoint:
    if not path.is_file():
        found = "a directory" if path.is_dir() else "nothing"
        raise WeightsUnavailable(
            f"INSPYRENET_WEIGHTS={path}: there is {found} at that path. It takes official, dummy, or the path of "
            "a checkpoint"
        )
    digest, fingerprint = file_hash(path, "sha256")
    return Checkpoint(FILE, path, f"sha256:{digest}", "unverified: a file given by the operator", fingerprint)


def file_hash(path: Path, algorithm: str) -> tuple[str, Fingerprint]:
    """The hex digest of a file, and the state of the file that it belongs to.

    The digest is remembered beside the file, so that a warm start reads the checkpoint once, to load it; a changed
    size or time makes it void. Not so the inode, which is another in every container made from one image. Where
    nothing can be written beside the file, each start takes it anew.

    Raises:
        WeightsUnavailable: the file cannot be read, or changes while it is.
    """
    memory = path.with_name(f"{path.name}.{algorithm}.json")
    try:
        fingerprint = Fingerprint.of(path)
        stamp = {"size": fingerprint.size, "mtime_ns": fingerprint.mtime_ns}
        remembered = _remembered(memory, algorithm, stamp)
        if remembered:
            return remembered, fingerprint
        digest = _digest(path, algorithm)
        if Fingerprint.of(path) != fingerprint:
            raise WeightsUnavailable(f"{path} changed while it was read; is something still writing to it?")
    except OSError as error:
        raise WeightsUnavailable(f"cannot read {path}: {error.strerror or error}") from error
    _remember(memory, {algorithm: digest, **stamp})
    return digest, fingerprint


def _digest(path: Path, algorithm: str) -> str:
    """In few, large pieces: each has to wait for Python's lock, which the imports beside it hold most of the time."""
    hasher = hashlib.new(algorithm)
    piece = memoryview(bytearray(_PIECE_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(piece):
            hasher.update(piece[:count])
    return hasher.hexdigest()


def _remembered(memory: Path, algorithm: str, stamp: dict[str, int]) -> str | None:
    try:
        record = json.loads(memory.read_text())
        digest = record.pop(algorithm)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return digest if record == stamp and isinstance(digest, str) else None


def _remember(memory: Path, record: dict[str, str | int]) -> None:
    part = memory.with_name(f"{memory.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(record))
        part.replace(memory)
    except OSError as error:
        _log.debug("the hash will be taken again at the next start: %s", error)
