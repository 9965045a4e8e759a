"""U^2-Net-p behind the engine protocol.

``service.engines.build`` creates it, alone or as the fallback of ``auto``. The weights must be verified before OpenCV
reads them, and OpenCV must be imported only during the load. The engine runs on the CPU only, and the same picture must
always give the same mask.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.engines import out_of_memory
from service.engines.protocol import (
    RGB,
    Alpha,
    ConfigurationError,
    EngineInfo,
    LoadPhase,
    Mask,
    ReportPhase,
)
from service.engines.u2netp import weights
from service.host.cpu import available_cpus
from service.host.memory import trim_heap

_SIDE = 320  # as in service.engines.u2netp.network, which imports OpenCV

_log = logging.getLogger(__name__)


class U2netpEngine:
    """U^2-Net-p (Qin et al. 2020) on OpenCV's DNN module.

    Args:
        device: ``INSPYRENET_DEVICE``.
        fallback: it replaces another engine. Then ``device`` was meant for that engine, and is ignored.
        path: the file of the weights; the default is the installed one.

    Raises:
        ConfigurationError: the settings name this engine and a GPU.
    """

    name = "u2netp"

    def __init__(self, *, device: str = "auto", fallback: bool = False, path: Path | None = None) -> None:
        self._unused_device = device if device.startswith("cuda") else ""
        if self._unused_device and not fallback:
            raise ConfigurationError(
                f"INSPYRENET_DEVICE={device}: the engine u2netp runs on the CPU only. Set INSPYRENET_DEVICE to auto or "
                "cpu, or choose another INSPYRENET_ENGINE"
            )
        self._path = path or weights.installed_path()
        self._model: npt.NDArray[np.uint8] | None = None
        self.info: EngineInfo | None = None

    def prepare(self, report: ReportPhase) -> None:
        """Read and verify the weights."""
        report(LoadPhase.WEIGHTS, f"reading {self._path.name}")
        _log.info("reading %s", self._path)
        self._model = np.frombuffer(weights.read_verified(self._path), np.uint8)

    def load(self, report: ReportPhase) -> EngineInfo:
        """Import OpenCV, and give it as many threads as the container has CPUs."""
        report(LoadPhase.IMPORT, "importing OpenCV")
        import cv2  # noqa: PLC0415  # only once the port is open

        from service.engines.u2netp import network, refine  # noqa: F401, PLC0415  # an import that fails has to fail here

        report(LoadPhase.DEVICE, "u2netp runs on the CPU")
        cv2.setNumThreads(available_cpus())
        if self._unused_device:
            _log.warning("INSPYRENET_DEVICE=%s is not used: u2netp runs on the CPU", self._unused_device)
        self.info = self._describe(cv2.__version__)
        return self.info

    def settle(self) -> EngineInfo:
        """Return what is loaded: this engine has no precision to decide."""
        if self.info is None:
            raise RuntimeError("load() has to succeed before settle()")
        return self.info

    def _describe(self, opencv: str) -> EngineInfo:
        reason = f"OpenCV {opencv} computes u2netp in full precision"
        if self._unused_device:
            reason += f", on the CPU although INSPYRENET_DEVICE={self._unused_device}"
        return EngineInfo(
            engine=self.name,
            fallback=False,
            fallback_reason="",
            mode="none",
            resize="none",
            device="cpu",
            precision="fp32",
            precision_reason=reason,
            weights="installed",
            weights_hash=f"sha256:{weights.SHA256}",
            weights_note="verified",
        )

    def model_input_size(self, width: int, height: int) -> tuple[int, int]:  # noqa: ARG002  # as the protocol says
        """The (width, height) in pixels fed to the network: the same for every picture."""
        return _SIDE, _SIDE

    def infer(self, image: RGB) -> Mask:
        """The mask of one picture at its own size, from 1 x 1; the same picture gives the same mask.

        Raises:
            OutOfMemory: there was not enough main memory; the next call may succeed.
        """
        from service.engines.u2netp import network, refine  # noqa: PLC0415  # they import OpenCV

        if self._model is None:
            raise RuntimeError("prepare() has to succeed before infer()")
        with out_of_memory.main_memory():
            square = np.asarray(Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
            mask = network.predict(self._model, square)
            trim_heap()
            return Mask(refine.refine(image, square, mask.alpha), mask.confidence)

    def foreground(self, image: RGB, alpha: Alpha) -> RGB:
        """The foreground's colours; see :func:`service.engines.unmixing.estimate_foreground`."""
        from service.engines.unmixing import estimate_foreground  # noqa: PLC0415  # imports OpenCV

        return estimate_foreground(image, alpha)

    def memory(self) -> dict[str, int]:
        """Bytes of device memory in use, by kind: none, since this engine runs on the CPU."""
        return {"allocated": 0, "reserved": 0}
