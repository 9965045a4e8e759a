"""An engine whose behaviour the test decides.

Tests pass it to ``create_app`` or ``start`` to inject faults. It must follow ``service.engines.protocol``, and it must
work without torch and OpenCV.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from service.engines.protocol import RGB, Alpha, EngineInfo, LoadPhase, Mask, ReportPhase

LONGEST_SIDE = 256
"""Pixels of a model input: small, so that proofs at the size of a photograph take little time."""
WEIGHTS_HASH = "sha256:0123456789abcdef"
"""Of weights that do not exist."""


def disc(image: RGB) -> Alpha:
    """A soft mask that depends on the picture: how far each pixel is from the mean colour."""
    difference = np.abs(image.astype(np.float32) - image.mean(axis=(0, 1), dtype=np.float32)).mean(axis=2)
    span = float(difference.max() - difference.min())
    return ((difference - difference.min()) / span if span else np.zeros_like(difference)).astype(np.float32)


class ScriptedEngine:
    """Loads at once and answers with ``disc``, unless a test replaces one of the functions.

    Attributes:
        on_size: the size of the model input; a picture's own size up to 256 pixels a side.
        on_prepare, on_load, on_infer: replace them to raise, to block on an event, to return nonsense.
        on_settle: if set, the load leaves the precision open, and this is called when it is settled.
        settled_precision: the precision after that.
        weights_hash: what the next load reports.
        confidence: of every mask.
        seen: sizes (width, height) of the pictures that reached the device thread.
        threads: names of the threads in which ``infer`` ran.
    """

    name = "inspyrenet"

    def __init__(self) -> None:
        self.on_prepare: Callable[[], None] = lambda: None
        self.on_load: Callable[[], None] = lambda: None
        self.on_infer: Callable[[RGB], Alpha] = disc
        self.on_size: Callable[[int, int], tuple[int, int]] = lambda width, height: (
            min(width, LONGEST_SIDE),
            min(height, LONGEST_SIDE),
        )
        self.confidence = 1.0
        self.seen: list[tuple[int, int]] = []
        self.threads: set[str] = set()
        self.device = "cpu"
        self.weights_hash = WEIGHTS_HASH
        self.info: EngineInfo | None = None
        self.on_settle: Callable[[], None] | None = None
        self.settled_precision = "bf16"

    def prepare(self, report: ReportPhase) -> None:
        report(LoadPhase.WEIGHTS, "looking for the weights")
        self.on_prepare()

    def load(self, report: ReportPhase) -> EngineInfo:
        report(LoadPhase.IMPORT, "importing")
        report(LoadPhase.WEIGHTS, "reading")
        report(LoadPhase.DEVICE, "setting up")
        self.on_load()
        self.info = EngineInfo(
            engine=self.name,
            fallback=False,
            fallback_reason="",
            mode="base",
            resize="dynamic",
            device=self.device,
            precision="fp32",
            precision_reason="asked for",
            weights="dummy",
            weights_hash=self.weights_hash,
            weights_note="scripted",
            settled=self.on_settle is None,
        )
        return self.info

    def settle(self) -> EngineInfo:
        assert self.on_settle is not None
        self.threads.add(threading.current_thread().name)
        self.seen.append((0, 0))
        self.on_settle()
        on_settle, self.on_settle = self.on_settle, None
        try:
            info = self.load(lambda *_: None)
        finally:
            self.on_settle = on_settle
        self.info = replace(
            info, precision=self.settled_precision, precision_reason="it was checked", settled=True
        )
        return self.info

    def model_input_size(self, width: int, height: int) -> tuple[int, int]:
        return self.on_size(width, height)

    def infer(self, image: RGB) -> Mask:
        self.seen.append((image.shape[1], image.shape[0]))
        self.threads.add(threading.current_thread().name)
        return Mask(self.on_infer(image), self.confidence)

    def foreground(self, image: RGB, alpha: Alpha) -> RGB:
        return image

    def memory(self) -> dict[str, int]:
        return {"allocated": 0, "reserved": 0}


class Hold:
    """Blocks the device thread in ``infer`` until ``release`` is set; sets ``reached`` when the thread arrives."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.release = threading.Event()

    def __call__(self, image: RGB) -> Alpha:
        self.reached.set()
        if not self.release.wait(timeout=60):
            raise RuntimeError("the test never released the engine")
        return disc(image)
