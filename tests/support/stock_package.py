"""The results of the unmodified transparent-background package for a few photographs, to compare ours with.

It runs in a separate process (``python -m tests.support.stock_package OUT.npz BASE.pth FAST.pth``), because importing
the package is slow: without numba's cache it takes most of a minute. The session fixture ``stock`` in
``tests/conftest.py`` runs it once for all workers and loads the result, a mapping of names to arrays:

* ``image/<name>``: the input, H x W x 3 uint8; the names are those of :data:`PICTURES`.
* ``alpha/<mode>/<resize>/<name>``: the package's float32 mask, H x W, before it is rounded.
* ``rgba/<mode>/<resize>/<name>``: its cut-out, H x W x 4 uint8.
* ``type/<type>``, ``type/<type>/threshold``, ``type/<type>/reverse``: every output type of mode ``fast``, ``static``,
  for the picture ``chelsea``: plain, with ``threshold=0.5``, and with ``reverse=True``. The types are in
  :data:`TYPES`. All of them are made from the mask ``alpha/fast/static/chelsea``.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PICTURES = {"astronaut": (320, 256), "coffee": (250, 333), "chelsea": (301, 199)}
"""Photographs of scikit-image, and the (width, height) to which they are shrunk."""

RUNS = {
    ("base", "dynamic"): ("astronaut", "coffee", "chelsea"),
    ("base", "static"): ("astronaut",),
    ("fast", "dynamic"): ("coffee",),
    ("fast", "static"): ("coffee", "chelsea"),
}
TYPES = ("map", "rgba", "green", "white", "[10, 200, 30]", "blur", "overlay")


def photograph(name: str) -> Image.Image:
    """One of :data:`PICTURES`."""
    from skimage import data

    return Image.fromarray(getattr(data, name)()).resize(PICTURES[name], Image.Resampling.BILINEAR)


def main(out: str, base: str, fast: str) -> None:
    """Compute everything and write it to ``out``."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    os.environ["TRANSPARENT_BACKGROUND_FILE_PATH"] = tempfile.mkdtemp()
    remover_class = _import_package().Remover
    checkpoints = {"base": base, "fast": fast}
    results: dict[str, Any] = {f"image/{name}": np.array(photograph(name)) for name in PICTURES}
    for (mode, resize), names in RUNS.items():
        remover = remover_class(mode=mode, resize=resize, device="cpu", ckpt=checkpoints[mode])
        matting, seen = remover.matting_fn, []
        remover.matting_fn = lambda image, alpha, matting=matting, seen=seen: (
            seen.append(alpha.copy()) or matting(image, alpha)
        )
        for name in names:
            results[f"rgba/{mode}/{resize}/{name}"] = np.array(remover.process(photograph(name), type="rgba"))
            results[f"alpha/{mode}/{resize}/{name}"] = seen.pop()
    mask = remover.model(remover.transform(photograph("chelsea")).unsqueeze(0)).detach()
    remover.model = lambda _: mask  # instead of computing the same mask for each type
    for kind in TYPES:
        for variant, options in (
            ("", {}),
            ("/threshold", {"threshold": 0.5}),
            ("/reverse", {"reverse": True}),
        ):
            output = remover.process(photograph("chelsea"), type=kind, **options)
            results[f"type/{kind}{variant}"] = np.array(output)
    part = Path(f"{out}.part.npz")
    np.savez(part, **results)
    part.replace(out)


def _import_package() -> Any:
    """Import the package. If torchvision's compiled operators cannot be loaded, declare the two that it needs."""
    import torch

    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept_libraries.append(library)
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
    return importlib.import_module("transparent_background")


_kept_libraries: list[Any] = []
"""Keeps libraries from garbage collection, which would remove the operators that they declare."""

if __name__ == "__main__":
    main(*sys.argv[1:])
