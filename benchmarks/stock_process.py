"""Stock ``transparent-background``, used as its README says; one JSON order a line, one answer a line.

``python -m benchmarks.stock_process CHECKPOINT RESIZE``. As it starts, a line tells how far it has come.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from pathlib import Path


def main(checkpoint: str, resize: str) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # Remover prints

    def tell(**what: object) -> None:
        answers.write(json.dumps(what) + "\n")

    tell(moment="running")
    _mend_torchvision()
    from PIL import Image
    from transparent_background import Remover

    tell(moment="imported")
    remover = Remover(ckpt=checkpoint, resize=resize)
    tell(moment="built")
    for line in sys.stdin:
        order = json.loads(line)
        data = Path(order["picture"]).read_bytes()
        start = time.perf_counter()
        image = Image.open(io.BytesIO(data)).convert("RGB")
        result = remover.process(image, type=order["kind"])
        buffer = io.BytesIO()
        result.save(buffer, "PNG")
        seconds = time.perf_counter() - start
        Path(order["out"]).write_bytes(buffer.getvalue())
        tell(seconds=seconds)


def _mend_torchvision() -> None:
    """Where torchvision's compiled operators cannot load beside a CPU torch, declare the two its import asks for."""
    import importlib.metadata as metadata

    if "+cpu" in metadata.version("torch") and "+cpu" not in metadata.version("torchvision"):
        import torch

        global _library  # noqa: PLW0603 - collected, it would take the declarations back
        _library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


_library = None

if __name__ == "__main__":
    main(*sys.argv[1:])
