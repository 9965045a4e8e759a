"""Builds the engine that the settings ask for."""

from __future__ import annotations

from typing import Literal

from service.engines.auto import AutoEngine
from service.engines.grabcut.engine import GrabCutEngine
from service.engines.inspyrenet.engine import InspyrenetEngine
from service.engines.protocol import Engine
from service.engines.u2netp.engine import U2netpEngine
from service.engines.weights.source import Weights


def build_engine(
    *,
    engine: Literal["inspyrenet", "grabcut", "u2netp", "auto"],
    mode: str,
    resize: Literal["static", "dynamic"],
    weights: str,
    device: str,
    precision: Literal["auto", "fp32", "bf16"],
    max_model_pixels: int,
    weights_url: str | None = None,
) -> Engine:
    """The engine that the settings of the same names ask for; nothing is imported, read or downloaded yet.

    Args:
        engine: ``auto`` is InSPyReNet if its weights are or can be had, else GrabCut, announced as a fallback.
        mode: ``base``, ``fast`` or ``base-nightly``.
        resize: ``static`` or ``dynamic``.
        weights: ``official``, ``dummy``, or the path of a checkpoint.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32``, ``bf16`` or ``auto``.
        max_model_pixels: bound on the model input.
        weights_url: where the official checkpoint is downloaded from instead of upstream's address; for tests.
    """

    def inspyrenet() -> Engine:
        return InspyrenetEngine(
            mode=mode,
            resize=resize,
            weights=Weights(weights, mode, weights_url),
            device=device,
            precision=precision,
            max_model_pixels=max_model_pixels,
        )

    def grabcut() -> Engine:
        return GrabCutEngine(max_model_pixels=max_model_pixels)

    if engine == "grabcut":
        return grabcut()
    if engine == "u2netp":
        return U2netpEngine(device=device)
    if engine == "inspyrenet":
        return inspyrenet()
    return AutoEngine(inspyrenet(), make_fallback=grabcut)
