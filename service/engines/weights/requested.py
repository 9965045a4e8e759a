"""The weights that ``INSPYRENET_WEIGHTS`` asks for: official, dummy, or a file of the operator.

``build`` creates :class:`Weights`, and the engine's ``prepare`` calls it on an ordinary thread. This module must not
import torch, because ``prepare`` imports torch in another thread at the same time.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from service.engines.package_config import ModeConfig
from service.engines.protocol import ReportLine, WeightsUnavailable
from service.engines.weights import official
from service.engines.weights.checkpoint_file import Checkpoint
from service.engines.weights.hashing import file_hashes

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Weights:
    """What ``INSPYRENET_WEIGHTS`` asks for.

    Args:
        spec: ``official``, ``dummy``, or the path of a checkpoint.
        config: the mode whose official checkpoint is meant.
    """

    spec: str
    config: ModeConfig

    def on_disk(self) -> bool:
        """Whether the weights are probably there without a download. Checks that a file exists, not its hash."""
        if self.spec == "official":
            return official.official_path(self.config).exists()
        return self.spec == "dummy" or Path(self.spec).expanduser().is_file()

    def obtain(self, report: ReportLine) -> Checkpoint:
        """Get the checkpoint onto the local disk, verified if a hash is published. A download may take minutes.

        Raises:
            WeightsUnavailable: what was expected, what was found, and what to do.
        """
        if self.spec == "dummy":
            note = "dummy weights: seeded random numbers, masks mean nothing"
            _log.warning("INSPYRENET_WEIGHTS=dummy: %s", note)
            return Checkpoint("dummy", None, "", note, None)
        if self.spec == "official":
            try:
                return official.fetch(self.config, report=report, progress=False)
            except WeightsUnavailable as error:
                raise WeightsUnavailable(
                    f"{error}. Run `./inspyrenet weights` where there is a network, set INSPYRENET_WEIGHTS to the path "
                    "of a checkpoint, or set INSPYRENET_ENGINE to u2netp or auto",
                    *error.paths,
                ) from error
        return _operators_file(Path(self.spec).expanduser())


def _operators_file(path: Path) -> Checkpoint:
    if not path.is_file():
        found = "a directory" if path.is_dir() else "nothing"
        raise WeightsUnavailable(
            f"INSPYRENET_WEIGHTS={path}: there is {found} at that path. Set it to official, to dummy, or to the path "
            "of a checkpoint",
            path,
        )
    digests, fingerprint = file_hashes(path, "sha256")
    return Checkpoint(
        "file", path, f"sha256:{digests['sha256']}", "unverified: a file given by the operator", fingerprint
    )
