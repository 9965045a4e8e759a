"""Runs stock ``transparent-background`` as its README says. ``benchmarks/_sides.py`` starts it.

``python -m benchmarks.stock_process CHECKPOINT RESIZE`` reads orders from standard input, one JSON object a line, and
writes one answer a line. During its start it writes a line for each step: ``running``, ``imported``, ``built``.
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
    os.dup2(2, 1)  # Remover prints to standard output, which must contain only answers

    def answer(**values: object) -> None:
        answers.write(json.dumps(values) + "\n")

    answer(moment="running")
    _declare_torchvision_operators()
    from PIL import Image
    from transparent_background import Remover

    answer(moment="imported")
    remover = Remover(ckpt=checkpoint, resize=resize)
    answer(moment="built")
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
        answer(seconds=seconds)


def _declare_torchvision_operators() -> None:
    """Declare two operators that the import of torchvision needs.

    The compiled operators of PyPI's torchvision cannot be loaded beside a CPU build of torch.
    """
    import importlib.metadata as metadata

    if "+cpu" in metadata.version("torch") and "+cpu" not in metadata.version("torchvision"):
        import torch

        global _library  # noqa: PLW0603 - if the library object is collected, the declarations are gone
        _library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


_library = None

if __name__ == "__main__":
    main(*sys.argv[1:])
