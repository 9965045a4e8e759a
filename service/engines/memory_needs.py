"""The main memory that an engine takes, by precision and device: measured, and rounded up.

``inference.memory_budget`` adds what the work on pictures takes and compares the sum with the limit of the container.
``docs/memory.md`` has the measurements and a table that follows from these figures; a test compares the two. They are
for photographs. The bound for the worst shape that there is, which is larger, is in ``ARCHITECTURE.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.engines.protocol import EngineInfo
from service.host.cpu import has_native_bf16


@dataclass(frozen=True, slots=True)
class MemoryNeeds:
    """What an engine takes."""

    idle: int
    """Bytes: the process with the loaded engine, and the blocks of work that do not depend on the picture."""
    per_model_pixel: int
    """Bytes for each of the first million pixels of the model input, while the network runs."""
    per_further_model_pixel: int = 0
    """Bytes for each pixel beyond these."""
    per_pixel: int = 0
    """Bytes for each pixel of the picture, while the network runs, beside its pixels and its mask."""

    def network_bytes(self, *, model_pixels: int, pixels: int) -> int:
        """What a forward pass takes beside the loaded engine, the picture and its mask.

        Args:
            model_pixels: of the model input.
            pixels: of the picture.
        """
        first = min(model_pixels, 1_000_000)
        return (
            self.per_model_pixel * first
            + self.per_further_model_pixel * (model_pixels - first)
            + self.per_pixel * pixels
        )


INSPYRENET = {
    "fp32": MemoryNeeds(idle=1_150_000_000, per_model_pixel=2000, per_further_model_pixel=600),
    "bf16": MemoryNeeds(idle=1_100_000_000, per_model_pixel=500, per_further_model_pixel=500),
}
INSPYRENET_ON_GPU = MemoryNeeds(idle=1_000_000_000, per_model_pixel=0)
"""The network's memory is the device's; that of the process was not measured with one."""

U2NETP = MemoryNeeds(idle=420_000_000, per_model_pixel=0, per_pixel=7)
"""Its network always gets 320 x 320 pixels, and what it takes is in ``idle``."""


def memory_needs(info: EngineInfo) -> MemoryNeeds:
    """Of the engine that is loaded."""
    if info.engine == "u2netp":
        return U2NETP
    return INSPYRENET[info.precision] if info.device == "cpu" else INSPYRENET_ON_GPU


def least_needs(engine: str, *, device: str, precision: str) -> MemoryNeeds:
    """What an engine takes at least, before it is loaded: of all that the settings leave open, the smallest.

    Args:
        engine: ``inspyrenet``, ``u2netp``, or ``auto`` while that is not decided.
        device: as the settings say it.
        precision: as the settings say it.
    """
    if engine != "inspyrenet":
        return U2NETP
    if device.startswith("cuda"):
        return INSPYRENET_ON_GPU
    if precision == "auto":
        precision = "bf16" if has_native_bf16() else "fp32"
    on_cpu = INSPYRENET[precision]
    return on_cpu if device == "cpu" else min(on_cpu, INSPYRENET_ON_GPU, key=lambda needs: needs.idle)


def foreground_bytes(pixels: int) -> int:
    """The most that ``Engine.foreground`` takes for a picture of so many pixels: its result, and what it solves.

    That has a sixteenth of the pixels, up to a limit; see ``unmixing``.
    """
    return 3 * pixels + min(16 * pixels, 250_000_000)
