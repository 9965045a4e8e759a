"""The GrabCut engine: OpenCV's GrabCut behind the engine protocol, started from a saliency map instead of a hint.

``build`` creates it. Its masks are good for a product or a person in front of a calm background. On harder pictures,
they are much worse than InSPyReNet's. The same picture must always give the same mask. OpenCV must not be imported
before ``load``.
"""

from __future__ import annotations

import math

from service.engines.protocol import RGB, Alpha, EngineInfo, LoadPhase, ReportPhase

_CUT_PIXELS = 360_000  # about 600 x 600: a larger cut takes seconds, and a person sees no difference
_MIN_SIDE = 16  # a thinner picture is stretched, because superpixels and colour models need some pixels
_MAX_SIDE = 2048  # for pictures of an extreme ratio


class GrabCutEngine:
    """GrabCut (Rother, Kolmogorov, Blake 2004) without a user's hint.

    Args:
        max_model_pixels: upper limit for the pixels of the reduced picture that is cut.
    """

    name = "grabcut"

    def __init__(self, *, max_model_pixels: int) -> None:
        self._pixels = min(_CUT_PIXELS, max(max_model_pixels, _MIN_SIDE**2))

    def prepare(self, report: ReportPhase) -> None:
        """Do nothing but report: there are no weights."""
        report(LoadPhase.WEIGHTS, "grabcut needs no weights")

    def load(self, report: ReportPhase) -> EngineInfo:
        """Import OpenCV."""
        report(LoadPhase.IMPORT, "importing OpenCV")
        from service.engines.grabcut import graphcut, matting  # noqa: F401, PLC0415  # a failing import fails the load

        report(LoadPhase.DEVICE, "grabcut runs on the CPU")
        return self.settle()

    def settle(self) -> EngineInfo:
        """What is loaded; the precision is never left open."""
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
        scale = min(1.0, math.sqrt(self._pixels / (width * height)), _MAX_SIDE / max(width, height))
        return max(_MIN_SIDE, round(width * scale)), max(_MIN_SIDE, round(height * scale))

    def infer(self, image: RGB) -> Alpha:
        """The mask of one picture; it is 0 everywhere if the picture is constant."""
        from service.engines.grabcut import graphcut, matting  # noqa: PLC0415  # they import OpenCV

        small = graphcut.shrink(image, *self.model_input_size(image.shape[1], image.shape[0]))
        return matting.refine(image, small, graphcut.cut(small))

    def foreground(self, image: RGB, alpha: Alpha) -> RGB:
        """The foreground's colours; see :func:`service.engines.unmixing.estimate_foreground`."""
        from service.engines.unmixing import estimate_foreground  # noqa: PLC0415  # imports OpenCV

        return estimate_foreground(image, alpha)

    def memory(self) -> dict[str, int]:
        """Bytes of device memory ``allocated`` and ``reserved``: 0, because GrabCut runs on the CPU."""
        return {"allocated": 0, "reserved": 0}
