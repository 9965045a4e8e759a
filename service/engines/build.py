"""Creates the engine that the settings ask for.

``server`` calls it once, before the port is open. So it must stay cheap: it imports no torch and no OpenCV, and reads
no weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from service.engines.fallback import EngineWithFallback
from service.engines.inspyrenet.engine import InspyrenetEngine
from service.engines.package_config import mode_config
from service.engines.protocol import Engine
from service.engines.u2netp.engine import U2netpEngine
from service.engines.weights.requested import Weights


def build_engine(
    *,
    engine: Literal["inspyrenet", "u2netp", "auto"],
    mode: str,
    resize: Literal["static", "dynamic"],
    weights: str,
    device: str,
    precision: Literal["auto", "fp32", "bf16"],
    max_model_pixels: int,
    weights_url: str | None = None,
) -> Engine:
    """The engine that the settings of the same names ask for. It is not loaded yet, and nothing is downloaded.

    Args:
        engine: ``auto`` is InSPyReNet if its weights are there or can be downloaded, else u2netp as a fallback.
        mode: ``base``, ``fast`` or ``base-nightly``.
        resize: ``static`` or ``dynamic``.
        weights: ``official``, ``dummy``, or the path of a checkpoint.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32``, ``bf16`` or ``auto``.
        max_model_pixels: upper limit for the pixels of the model input.
        weights_url: the address of the official checkpoint, instead of upstream's; for tests.
    """

    def inspyrenet() -> Engine:
        config = mode_config(mode)
        if weights_url is not None:
            config = replace(config, url=weights_url)
        return InspyrenetEngine(
            mode=mode,
            resize=resize,
            weights=Weights(weights, config),
            device=device,
            precision=precision,
            max_model_pixels=max_model_pixels,
        )

    if engine == "u2netp":
        return U2netpEngine(device=device)
    if engine == "inspyrenet":
        return inspyrenet()
    return EngineWithFallback(inspyrenet(), make_fallback=lambda: U2netpEngine(device=device, fallback=True))
