"""Makes sets of references by hand, without an engine, for tests of what reads them.

The masks are soft ramps, so that a test can move them by any amount. Every file must be small.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from service.engines.protocol import EngineInfo
from service.warmup.references.manifest import FILE_NAME, Manifest, Reference
from tests.support import photos

Mask = npt.NDArray[np.uint8]

WIDTH, HEIGHT = 24, 16
WEIGHTS = "sha256:" + "ab" * 32

INFO = EngineInfo(
    engine="u2netp",
    fallback=False,
    fallback_reason="",
    mode="none",
    resize="none",
    device="cpu",
    precision="fp32",
    precision_reason="asked for",
    weights="installed",
    weights_hash=WEIGHTS,
    weights_note="verified",
)
"""The engine that the sets are accepted with."""


def ramp(width: int = WIDTH, height: int = HEIGHT) -> Mask:
    """A mask from 50 at the left to 200 at the right."""
    return np.broadcast_to(np.linspace(50, 200, width).astype(np.uint8), (height, width)).copy()


def cut_out(mask: Mask) -> bytes:
    """An RGBA PNG with that alpha, as the pipeline answers."""
    rgba = np.zeros((*mask.shape, 4), np.uint8)
    rgba[..., 3] = mask
    return photos.save(rgba, "PNG")


def make_reference(directory: Path, file: str = "photo.png", **changed: Any) -> Reference:
    """Write a picture and its mask, and return what the manifest says of them, with some fields changed."""
    picture, mask = photos.encoded(WIDTH, HEIGHT), photos.save(ramp(), "PNG")
    mask_file = f"masks/{Path(file).stem}.png"
    (directory / "masks").mkdir(exist_ok=True)
    (directory / file).write_bytes(picture)
    (directory / mask_file).write_bytes(mask)
    fields: dict[str, Any] = {
        "file": file,
        "sha256": hashlib.sha256(picture).hexdigest(),
        "size": (WIDTH, HEIGHT),
        "mask": mask_file,
        "mask_sha256": hashlib.sha256(mask).hexdigest(),
        "mask_from": "engine",
        "engine": INFO.engine,
        "weights": WEIGHTS,
        "measured": 0.0,
        "max_error": 2 / 255,
    }
    return Reference(**(fields | changed))


def write_manifest(directory: Path, references: Sequence[Reference]) -> Manifest:
    """Write the manifest of a directory."""
    made = Manifest(accepted_at="2026-01-01T00:00:00+00:00", references=tuple(references))
    (directory / FILE_NAME).write_text(made.to_text())
    return made
