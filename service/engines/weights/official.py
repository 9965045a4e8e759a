"""The official checkpoints: found where transparent-background keeps them, verified, and downloaded if necessary.

``requested`` calls it for ``INSPYRENET_WEIGHTS=official``, and so does ``./inspyrenet weights``. A file whose hash
differs from the published one must never be loaded. This module must not import torch, so that a check takes little
time.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from service.engines.package_config import ModeConfig
from service.engines.protocol import ReportLine, WeightsUnavailable
from service.engines.weights.checkpoint_file import Checkpoint
from service.engines.weights.hashing import file_hashes

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Description:
    """What is known about the official checkpoint on this disk."""

    path: Path
    present: bool
    state: str
    """``verified``, ``unverified: <why>``, ``missing``, or what is wrong with the file."""


def official_path(config: ModeConfig) -> Path:
    """Where transparent-background keeps the mode's checkpoint; its environment variable is respected."""
    home = os.environ.get("TRANSPARENT_BACKGROUND_FILE_PATH") or os.path.expanduser("~")
    return Path(home, ".transparent-background", config.ckpt_name)


def describe(config: ModeConfig) -> Description:
    """The state of the file on this disk. Reads the whole file, and downloads nothing."""
    path = official_path(config)
    present = path.exists()
    try:
        state = _verify(path, config).note if present else "missing"
    except WeightsUnavailable as error:
        state = str(error)
    return Description(path, present=present, state=state)


def fetch(config: ModeConfig, *, report: ReportLine, progress: bool = True) -> Checkpoint:
    """Get the official checkpoint: the file on the disk if it is good, else a verified download in its place.

    A file with a wrong hash is never loaded; it stays on the disk until a verified download replaces it.

    Args:
        config: the mode's configuration, with the address and the published MD5.
        report: receives a line for each step of a download.
        progress: draw a progress bar on standard error.

    Raises:
        WeightsUnavailable: what was expected, what was found, and why the download failed.
    """
    from service.engines.weights.download import download  # noqa: PLC0415  # imports an HTTP client, rarely needed

    path = official_path(config)
    problem = f"{path} is missing"
    try:
        if path.exists():
            return _verify(path, config)
    except WeightsUnavailable as error:
        problem = str(error)
        _log.warning("%s; downloading it again", problem)
    try:
        download(config.url, path, md5=config.md5, progress=progress, report=report)
    except WeightsUnavailable as error:
        raise WeightsUnavailable(
            f"{problem}, and it could not be downloaded: {error}. To bring it by hand, download {config.url} "
            f"elsewhere and save it as {path}",
            path,
            *error.paths,
        ) from error
    return _verify(path, config)


def _verify(path: Path, config: ModeConfig) -> Checkpoint:
    if config.md5 is None:
        note = "unverified: upstream publishes no hash of this checkpoint"
        digests, fingerprint = file_hashes(path, "sha256")
        _log.warning("%s is %s", path, note)
    else:
        note = "verified"
        digests, fingerprint = file_hashes(path, "sha256", "md5")
        if digests["md5"] != config.md5:
            raise WeightsUnavailable(
                f"{path} has the MD5 {digests['md5']}, but upstream publishes {config.md5}: it is not loaded",
                path,
            )
    return Checkpoint("official", path, f"sha256:{digests['sha256']}", note, fingerprint)
