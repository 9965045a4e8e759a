"""What main memory InSPyReNet takes for a picture of any size, estimated without computing.

``tests/behaviour/test_engine_memory.py`` searches for the worst shape with it, and compares it with what a process
takes. ARCHITECTURE.md states the same figures. They are for fp32 on a CPU, which takes the most.
"""

from __future__ import annotations

from service.engines.inspyrenet.resize import ResizeMode, model_input_size
from service.engines.package_config import mode_config

FIXED_BYTES = 600 << 20
"""Blocks of work whose size does not depend on the picture, in every thread and cache."""

BYTES_PER_MODEL_PIXEL = 1400
"""Feature maps of the whole model input, and what lies between them in the heap."""

BYTES_PER_PICTURE_PIXEL = 4
"""The mask at the picture's size, or the copy of the picture that is resized."""

BYTES_PER_SIDE = 24
"""Positions and weights for each row and column, when the picture is resized and the mask is enlarged."""

_PADDED = 48
"""Pixels: the transformer pads every side to whole windows of 12 tokens of 4 pixels."""

MODES = [(mode, resize) for mode in ("base", "fast", "base-nightly") for resize in ("static", "dynamic")]


def model_input(width: int, height: int, mode: str, resize: str, max_model_pixels: int) -> tuple[int, int]:
    """The model input of a picture in one of ``MODES``."""
    kind: ResizeMode = "static" if resize == "static" else "dynamic"
    return model_input_size(
        width,
        height,
        resize=kind,
        base_size=mode_config(mode).base_size,
        max_model_pixels=max_model_pixels,
    )


def inference_bytes(width: int, height: int, model: tuple[int, int]) -> int:
    """The most memory that the mask of a picture takes, beside the loaded network and the picture itself."""
    padded_width, padded_height = (-(-side // _PADDED) * _PADDED for side in model)
    return (
        FIXED_BYTES
        + BYTES_PER_MODEL_PIXEL * padded_width * padded_height
        + BYTES_PER_PICTURE_PIXEL * width * height
        + BYTES_PER_SIDE * (width + height)
    )
