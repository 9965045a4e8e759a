"""The embedded engine: OpenCV's GrabCut, started from what stands out; no weights, no network, no person's hint.

It serves where InSPyReNet's weights cannot be had: good on a product or a person before a calm background,
no match for the network on anything harder.
"""

from __future__ import annotations

import math

from service.engines.protocol import RGB, Alpha, EngineInfo, LoadPhase, ReportPhase

_CUT_PIXELS = 360_000  # about 600 x 600: beyond that a cut takes seconds and gains nothing a person sees
_LEAST_SIDE = 16  # a thinner picture is stretched: superpixels and colour models need some pixels
_LONGEST_SIDE = 2048  # of an extreme ratio


class GrabCutEngine:
    """GrabCut (Rother, Kolmogorov, Blake 2004) without a hint.

    Args:
        max_model_pixels: bound on the reduced picture that is cut, in pixels.
    """

    name = "grabcut"

    def __init__(self, *, max_model_pixels: int) -> None:
        self._pixels = min(_CUT_PIXELS, max(max_model_pixels, _LEAST_SIDE**2))

    def prepare(self, report: ReportPhase) -> None:
        """Nothing to fetch."""
        report(LoadPhase.WEIGHTS, "grabcut needs no weights")

    def load(self, report: ReportPhase) -> EngineInfo:
        """Import OpenCV."""
        report(LoadPhase.IMPORT, "importing OpenCV")
        from service.engines.grabcut import graphcut, matting  # noqa: F401, PLC0415  # what is broken shows now

        report(LoadPhase.DEVICE, "grabcut runs on the CPU")
        return self.settle()

    def settle(self) -> EngineInfo:
        """What is loaded; nothing is ever left open."""
        import cv2  # noqa: PLC0415  # only once the port is open

        return EngineInfo(
            engine=self.name,
            fallback=False,
            fallback_reason="",
            mode="none",
            resize="none",
            device="cpu",
            precision="fp32",
            precision_reason=f"OpenCV {cv2.__version__} computes GrabCut in full precision",
            weights="none",
            weights_hash="",
            weights_note="grabcut needs no weights",
        )

    def model_input_size(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) in pixels of the reduced picture that is cut."""
        scale = min(1.0, math.sqrt(self._pixels / (width * height)), _LONGEST_SIDE / max(width, height))
        return max(_LEAST_SIDE, round(width * scale)), max(_LEAST_SIDE, round(height * scale))

    def infer(self, image: RGB) -> Alpha:
        """The mask of one picture; the same picture gives the same mask, a constant one gives 0 everywhere."""
        from service.engines.grabcut import graphcut, matting  # noqa: PLC0415  # they import OpenCV

        small = graphcut.shrink(image, *self.model_input_size(image.shape[1], image.shape[0]))
        return matting.refine(image, small, graphcut.cut(small))

    def foreground(self, image: RGB, alpha: Alpha) -> RGB:
        """The colours of the foreground alone; on any thread, several at a time."""
        from service.engines.grabcut import matting  # noqa: PLC0415  # imports OpenCV

        return matting.foreground_colours(image, alpha)

    def memory(self) -> dict[str, int]:
        """Bytes of device memory in use, by kind: none, this runs on the CPU."""
        return {"allocated": 0, "reserved": 0}
