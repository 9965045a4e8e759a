"""What every engine is: the protocol, what it reports about itself, and the ways it can fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

RGB = npt.NDArray[np.uint8]
"""An image: H x W x 3, uint8, C-contiguous, sRGB."""

Alpha = npt.NDArray[np.float32]
"""A mask: H x W, float32, 0 = background, 1 = foreground."""


class LoadPhase(StrEnum):
    """The phases of a load, in the order in which they begin."""

    WEIGHTS = "weights"
    IMPORT = "import"
    DEVICE = "device"


ReportPhase = Callable[[LoadPhase, str], None]
"""Called from whatever thread does the work when a phase begins, with a line a person can read.

Phases may be reported more than once, to say how far a download has come.
"""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What was loaded; the labels of the ``engine_info`` metric and part of every ``/warmup`` answer."""

    engine: str
    """``inspyrenet`` or ``grabcut``."""
    fallback: bool
    """True if this engine stands in for another (``INSPYRENET_ENGINE=auto`` found no weights)."""
    fallback_reason: str
    """Why, in one line; empty if ``fallback`` is false."""
    mode: str
    resize: str
    device: str
    """As torch names it: ``cpu``, ``cuda:0``."""
    precision: str
    """What is in use: ``fp32`` or ``bf16``."""
    precision_reason: str
    """Why that precision, with the self-check's figures if it ran."""
    weights: str
    """``official``, ``file``, ``dummy``, or ``none`` (grabcut)."""
    weights_hash: str
    """``sha256:<hex>`` or ``md5:<hex>`` of the checkpoint, verified or not (see the note); empty if none."""
    weights_note: str
    """Anything a person must know of the weights: ``verified``, ``unverified``, ``dummy weights``."""
    settled: bool = True
    """False if ``load`` left a decision open that would have delayed the first proof: ``Engine.settle`` makes it."""

    def labels(self) -> dict[str, str | bool]:
        """Everything that can be shown, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "settled"}


class Engine(Protocol):
    """Turns an RGB image into an alpha mask.

    ``prepare`` runs once per load attempt on an ordinary thread (it may download); ``load`` and everything
    after it run in the GPU thread, one call at a time. A failed ``prepare`` or ``load`` may be tried again on
    the same object. ``model_input_size`` is pure and may be called from any thread at any time.
    """

    @property
    def name(self) -> str:
        """``inspyrenet`` or ``grabcut``: what serves now."""
        ...

    def prepare(self, report: ReportPhase) -> None:
        """Have everything on the local disk that ``load`` needs; downloads, verifies.

        Raises:
            WeightsUnavailable: what is missing or wrong, and what would mend it.
        """
        ...

    def load(self, report: ReportPhase) -> EngineInfo:
        """Import the libraries, read the weights, set the device up.

        Raises:
            WeightsUnavailable: the checkpoint is truncated, of another network, or does not match its hash.
            DeviceError, OutOfMemory: the device failed.
        """
        ...

    def settle(self) -> EngineInfo:
        """Make the decision that ``load`` left open (the precision), in the GPU thread.

        Returns:
            What serves from now on; the same as before if nothing was open. If the precision differs from before, the
            masks have to be proved again.

        Raises:
            DeviceError, OutOfMemory: the device failed; what ``load`` set up goes on serving.
        """
        ...

    def model_input_size(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) in pixels fed to the network for an image of that size."""
        ...

    def infer(self, image: RGB) -> Alpha:
        """The mask of one image, at the image's own size.

        Raises:
            OutOfMemory: the device had no room; its caches were emptied and the next call may succeed.
            DeviceError: the device failed; ``sticky`` if only a new process mends it.
        """
        ...

    def foreground(self, image: RGB, alpha: Alpha) -> RGB:
        """The colours of the foreground alone, with the background's bleed taken out of soft edges.

        Pure CPU work: runs beside the GPU thread, on any thread, several at a time.
        """
        ...

    def memory(self) -> Mapping[str, int]:
        """Bytes of device memory by kind, ``allocated`` and ``reserved``; 0 on a CPU. Cheap, from any thread."""
        ...


class EngineError(Exception):
    """A failure of the engine that the service knows how to tell; the message may be shown to an operator."""


class WeightsUnavailable(EngineError):
    """The weights are missing, truncated, of another network, or fail their hash; they may yet appear."""


class OutOfMemory(EngineError):
    """The device had no room for this image."""


class DeviceError(EngineError):
    """The device failed.

    Args:
        message: what happened, for the log.
        sticky: True if the process can never use the device again (a CUDA context error).
    """

    def __init__(self, message: str, *, sticky: bool) -> None:
        super().__init__(message)
        self.sticky = sticky


class ConfigurationError(EngineError):
    """A setting that can never work here (a named device that is missing): start-up must end."""
