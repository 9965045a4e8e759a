"""One side of ``benchmarks.around``: the work around the network, or the service without one, as the code of a tree.

``python _around_side.py TREE`` puts that tree first on the path, so that its ``service`` is measured, whatever version
it is. It reads one order a line from standard input, and answers each with a line of JSON. ``python _around_side.py
TREE serve MASK`` runs the service of that tree with an engine that answers at once; it listens on ``INSPYRENET_PORT``.
This file may use only what both trees have.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import re
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any


def answer_orders() -> None:
    """Measure what the orders say, until standard input ends."""
    import cv2
    import torch

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(_carry_out(json.loads(line))), flush=True)


def _carry_out(order: dict[str, Any]) -> dict[str, Any]:
    import numpy as np
    from PIL import Image

    from service.imaging.options import Format, Options, Output

    options = Options(output=Output(order["output"]), format=Format(order["format"]))
    data, small = Path(order["picture"]).read_bytes(), np.load(order["mask"])
    stages = _Stages()
    before = 0
    if order.get("memory"):
        ctypes.CDLL(None).malloc_trim(0)
        before = _resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    started, cpu = time.perf_counter(), time.process_time()
    pixels, body = _around(data, small, options, stages)
    found: dict[str, Any] = {
        "wall": 1000 * (time.perf_counter() - started),
        "cpu": 1000 * (time.process_time() - cpu),
        "stages": stages.milliseconds,
        "bytes": len(body),
    }
    if order.get("memory"):
        found["memory"] = (_resident("VmHWM") - before) / (pixels.shape[0] * pixels.shape[1])
    if order.get("check"):
        read = np.asarray(Image.open(BytesIO(body)))
        found["exact"] = read.shape == pixels.shape and bool(np.array_equal(read, pixels))
        visible = pixels
        if pixels.ndim == 3 and pixels.shape[2] == 4:  # what shows of each pixel
            visible = np.dstack([pixels[..., :3] * (pixels[..., 3:] > 0), pixels[..., 3:]])
        np.save(order["check"], visible)
    return found


def _around(data: bytes, small: Any, options: Any, stages: _Stages) -> tuple[Any, bytes]:
    """What ``service.inference.pipeline`` and the engine do for a picture, but for the network."""
    from service.engines.unmixing import estimate_foreground
    from service.imaging import compose, decode, encode
    from service.imaging.placement import place
    from service.imaging.subject import measure

    picture = stages.timed("decode", lambda: decode.decode(data, max_pixels=50_000_000))
    alpha = stages.timed("enlarge the mask", lambda: _enlarge(small, picture.rgb.shape[:2]))

    def composed() -> Any:
        subject = measure(picture, alpha, options)
        placement = place(picture.size, subject.box, options)
        return compose.compose(picture, alpha, options, estimate_foreground, placement=placement)

    pixels = stages.timed("compose", composed)
    return pixels, stages.timed("encode", lambda: encode.encode(pixels, options.format, picture.icc))


def _enlarge(small: Any, size: tuple[int, int]) -> Any:
    """The mask in the picture's size, as ``service.engines.inspyrenet.session`` makes it on a CPU."""
    if find_spec("service.native") is not None:
        from service.native import library, loops

        if library.LIBRARY is not None:
            return loops.enlarge_mask(small, size)
    import torch
    from torch.nn import functional

    with torch.inference_mode():
        mask = torch.from_numpy(small)[None, None]
        mask = functional.interpolate(mask, size, mode="bilinear", align_corners=True)
        return mask[0, 0].clamp_(0, 1).cpu().numpy()


class _Stages:
    """Milliseconds of processor time by stage."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    def timed(self, name: str, work: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = work()
        self.milliseconds[name] = 1000 * (time.process_time() - start)
        return result


def _resident(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) << 10 if found else 0


def serve_pictures(mask: str) -> None:
    """Run the service with an engine that takes a ready mask, the file of that path, for pictures of its size."""
    import numpy as np

    from service.app import create_app
    from service.engines.protocol import RGB, Mask
    from service.engines.u2netp.engine import U2netpEngine
    from service.server import serve
    from service.settings_reader import load_settings
    from service.startup import configure_libraries

    configure_libraries()
    ready = np.load(mask)

    class InstantEngine(U2netpEngine):
        def infer(self, image: RGB) -> Mask:
            height, width = image.shape[:2]
            if (height, width) == ready.shape:
                return Mask(ready.copy(), 1.0)
            return Mask(np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1)), 1.0)

    settings, _ = load_settings({}, os.environ)
    engine = InstantEngine()
    sys.exit(asyncio.run(serve(settings, make_app=lambda settings: create_app(settings, engine=engine))))


if __name__ == "__main__":
    # Instead of the folder of this file, which is that of one tree in particular.
    sys.path[0] = sys.argv[1]
    if sys.argv[2:3] == ["serve"]:
        serve_pictures(sys.argv[3])
    else:
        answer_orders()
