"""The main memory that a picture takes on its way, by engine and precision, on a CPU: measured, and rounded up.

``inference.memory_budget`` compares it with the limit of the container. ``docs/memory.md`` has the measurements and a
table that follows from these figures; a test compares the two. They are for photographs that come one at a time. The
bound for the worst shape that there is, which is larger, is in ``ARCHITECTURE.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.engines.protocol import EngineInfo


@dataclass(frozen=True, slots=True)
class MemoryNeeds:
    """What a process takes."""

    idle: int
    """Bytes: the process with the loaded engine, and the blocks of work that do not depend on the picture."""
    per_model_pixel: int
    """Bytes for each pixel of the model input, while the network runs."""
    per_pixel: int = 24
    """Bytes for each pixel of a picture, while it is decoded, composed or encoded."""
    per_waiting_pixel: int = 8
    """Bytes for each pixel of a picture that waits: its pixels, then its mask as well."""

    def bytes_for(self, pixels: int, model_pixels: int) -> int:
        """The most that the process takes while it works on one picture."""
        return self.idle + self.per_model_pixel * model_pixels + self.per_pixel * pixels


INSPYRENET = {
    "fp32": MemoryNeeds(idle=1_400_000_000, per_model_pixel=800),
    "bf16": MemoryNeeds(idle=1_100_000_000, per_model_pixel=500),
}
INSPYRENET_ON_GPU = MemoryNeeds(idle=1_000_000_000, per_model_pixel=0)
"""The network's memory is the device's; that of the process was not measured with one."""

U2NETP = MemoryNeeds(idle=420_000_000, per_model_pixel=0)
"""Its network always gets 320 x 320 pixels, and what it takes is in ``idle``."""


def memory_needs(info: EngineInfo) -> MemoryNeeds:
    """Of the engine that is loaded."""
    if info.engine == "u2netp":
        return U2NETP
    return INSPYRENET[info.precision] if info.device == "cpu" else INSPYRENET_ON_GPU
