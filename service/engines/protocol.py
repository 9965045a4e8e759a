"""The interface of every engine: its methods, what it reports about itself, and its errors.

``service.inference`` and ``service.warmup`` call engines only through this protocol. If it changes, every engine and
every fake engine in the tests must change too. It may import NumPy, but neither torch nor OpenCV.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from service.public_text import without_paths

RGB = npt.NDArray[np.uint8]
"""An image: H x W x 3, uint8, C-contiguous, sRGB."""

Alpha = npt.NDArray[np.float32]
"""A mask: H x W, float32, 0 = background, 1 = foreground."""


LEAST_CONFIDENCE = 0.5
"""The networks are trained to give the probability that a pixel is foreground. ``docs/outputs.md`` has what
u2netp says of photographs and of empty scenes; InSPyReNet has not been measured."""


class Mask(NamedTuple):
    """What an engine made of an image."""

    alpha: Alpha
    """Stretched to the range 0 to 1, so that even an empty wall has a foreground."""
    confidence: float
    """0-1: the greatest value before it was stretched. An empty wall has a low one."""

    @property
    def is_sure(self) -> bool:
        """Whether the engine holds at least one pixel for foreground rather than background."""
        return self.confidence >= LEAST_CONFIDENCE


class LoadPhase(StrEnum):
    """The phases of a load, in the order in which they begin."""

    WEIGHTS = "weights"
    IMPORT = "import"
    DEVICE = "device"


ReportPhase = Callable[[LoadPhase, str], None]
"""Called at the beginning of a phase, in the thread that does the work, with a line for a person.

A phase may be reported several times, for example to show the progress of a download.
"""

ReportLine = Callable[[str], None]
"""Called with a line for a person that says what is being done, in the thread that does the work."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What was loaded. It becomes the labels of the ``engine_info`` metric and part of every ``/warmup`` answer."""

    engine: str
    """``inspyrenet`` or ``u2netp``."""
    fallback: bool
    """True if this engine replaces the preferred one (``INSPYRENET_ENGINE=auto`` found no weights)."""
    fallback_reason: str
    """Why, in one line; empty if ``fallback`` is false."""
    mode: str
    resize: str
    device: str
    """In torch's notation: ``cpu``, ``cuda:0``."""
    precision: str
    """The precision in use: ``fp32`` or ``bf16``."""
    precision_reason: str
    """Why that precision is in use, with the figures of the self-check if it ran."""
    weights: str
    """``official``, ``file``, ``dummy``, or ``installed`` (u2netp)."""
    weights_hash: str
    """``sha256:<hex>`` of the file whose bytes were loaded; of dummy weights, which have no file, of the tensors."""
    weights_note: str
    """What a person must know about the weights: ``verified``, ``unverified: <why>``, ``dummy weights: <why>``."""
    settled: bool = True
    """False if ``load`` left the precision open, so as not to delay the first proof. ``Engine.settle`` decides it."""

    @property
    def weights_id(self) -> str:
        """The first 12 digits of the hash, as answers name their weights."""
        return self.weights_hash.removeprefix("sha256:")[:12]

    def labels(self) -> dict[str, str | bool]:
        """Everything that is shown to people, by field name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "settled"}


class Engine(Protocol):
    """Turns an RGB image into an alpha mask.

    ``prepare`` runs once for each load attempt, on an ordinary thread, because it may download. ``load``, ``settle``
    and ``infer`` run in the device thread, one call at a time. After a failed ``prepare`` or ``load``, both may be
    called again on the same object. ``model_input_size``, ``foreground`` and ``memory`` may be called from any thread.
    """

    @property
    def name(self) -> str:
        """``inspyrenet`` or ``u2netp``: the engine in use now."""
        ...

    @property
    def info(self) -> EngineInfo | None:
        """What the next ``infer`` computes with; None before the first load. In the device thread nothing changes it
        between an ``infer`` and this."""
        ...

    def prepare(self, report: ReportPhase) -> None:
        """Get everything that ``load`` needs onto the local disk: download it if necessary, and verify it.

        Raises:
            WeightsUnavailable: what is missing or wrong, and what to do.
        """
        ...

    def load(self, report: ReportPhase) -> EngineInfo:
        """Import the libraries, read the weights, set up the device.

        Raises:
            WeightsUnavailable: the checkpoint is truncated, belongs to another network, or has changed.
            ConfigurationError: a setting can never work here.
            DeviceError, OutOfMemory: the device failed.
        """
        ...

    def settle(self) -> EngineInfo:
        """Decide the precision if ``load`` left it open, in the device thread.

        Returns:
            What is in use from now on; unchanged if nothing was open. If the precision changed, the masks need a new
            proof.

        Raises:
            DeviceError, OutOfMemory: the device failed; the engine continues with the precision that ``load`` set up.
        """
        ...

    def model_input_size(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) in pixels that the network gets for an image of that size. A pure function."""
        ...

    def infer(self, image: RGB) -> Mask:
        """The mask of one image, at the image's own size, and how sure the engine is that there is a foreground.

        Raises:
            OutOfMemory: the device had too little memory; its caches were emptied, and the next call may succeed.
            DeviceError: the device failed; ``sticky`` if only a new process can use it again.
        """
        ...

    def foreground(self, image: RGB, alpha: Alpha) -> RGB:
        """The colours of the foreground alone: at soft edges, the background's share of each colour is removed.

        Pure CPU work. It may run on any thread beside the device thread, and on several threads at the same time.

        Raises:
            OutOfMemory: there was not enough main memory.
        """
        ...

    def memory(self) -> Mapping[str, int]:
        """Bytes of device memory, ``allocated`` and ``reserved``; 0 on a CPU. Fast, and callable from any thread."""
        ...


class EngineError(Exception):
    """An expected failure of the engine.

    Args:
        message: what happened and what to do, for the operator, with paths.
        paths: those that the message names.
    """

    def __init__(self, message: str, *paths: Path) -> None:
        super().__init__(message)
        self.paths = paths

    @property
    def public(self) -> str:
        """The message without paths; for everyone."""
        return without_paths(str(self), self.paths)


class WeightsUnavailable(EngineError):
    """The weights are missing, truncated, of another network, or have a wrong hash. A later attempt may succeed."""


class OutOfMemory(EngineError):
    """There was too little memory for this image: on the device, or in the machine."""


class DeviceError(EngineError):
    """The device failed.

    Args:
        message: what happened, for the log.
        sticky: True if this process can never use the device again (a CUDA context error).
    """

    def __init__(self, message: str, *, sticky: bool) -> None:
        super().__init__(message)
        self.sticky = sticky


class ConfigurationError(EngineError):
    """A setting that can never work here, such as a device that is missing. The start must end."""
