"""The file of the network's weights: where it is, and whether it is the published one.

``make setup`` and the Dockerfile install it (``deploy/fetch_u2netp.py``); the engine's ``prepare`` reads it. OpenCV's
parser must get no byte of the file before its hash has been checked.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from service.engines.protocol import WeightsUnavailable

SHA256 = "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8"
"""Of ``u2netp.onnx`` as the project rembg publishes it: the authors' weights, converted."""


def installed_path() -> Path:
    """Where the file belongs in this Python environment."""
    return Path(sys.prefix, "share", "inspyrenet-api", "u2netp.onnx")


def read_verified(path: Path) -> bytes:
    """The content of the file, 4.6 MB.

    Raises:
        WeightsUnavailable: the file is missing, cannot be read, or has another hash; and what to do about it.
    """
    cure = f"Run `make setup` (or build the image again), or put the file with the SHA-256 {SHA256} there by hand"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsUnavailable(
            f"u2netp's weights cannot be read from {path}: {error.strerror or error}. {cure}", path
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise WeightsUnavailable(
            f"{path} is damaged: its SHA-256 is {found}, so it is not loaded. {cure}", path
        )
    return content
