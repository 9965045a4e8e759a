"""The real engine: InSPyReNet, the network of ``transparent_background``, without the package's overhead.

The masks are those of ``Remover.process`` for a PIL image: the same Pillow resize, normalisation, network and
interpolation back. What differs is what fails there: every size works, from 1 x 1 up, and large inputs are bounded.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from service.engines.inspyrenet import resize as sizes
from service.engines.package_config import mode_config
from service.engines.protocol import RGB, Alpha, EngineInfo, LoadPhase, ReportPhase
from service.engines.weights.source import Checkpoint, Weights

if TYPE_CHECKING:
    from service.engines.inspyrenet.session import Runtime

_log = logging.getLogger(__name__)


class InspyrenetEngine:
    """InSPyReNet behind the :class:`~service.engines.protocol.Engine` protocol.

    Args:
        mode: ``base``, ``fast`` or ``base-nightly``.
        resize: ``static`` or ``dynamic``.
        weights: where the checkpoint comes from.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32``, ``bf16``, or ``auto``: bf16 where the hardware is made for it and the masks stay the same.
        max_model_pixels: bound on the model input.
    """

    def __init__(
        self,
        *,
        mode: str,
        resize: sizes.ResizeMode,
        weights: Weights,
        device: str,
        precision: Literal["auto", "fp32", "bf16"],
        max_model_pixels: int,
    ) -> None:
        self._mode = mode
        self._resize = resize
        self._weights = weights
        self._device = device
        self._precision = precision
        self._max_model_pixels = max_model_pixels
        self._base_size = mode_config(mode).base_size
        self._checkpoint: Checkpoint | None = None
        self._runtime: Runtime | None = None

    @property
    def name(self) -> str:
        """``inspyrenet``."""
        return "inspyrenet"

    def prepare(self, report: ReportPhase) -> None:
        """Find, download and verify the checkpoint; nothing to do for dummy weights.

        Hashing it and importing torch take about as long as each other, and are done side by side.
        """
        report(LoadPhase.WEIGHTS, "looking for the weights")
        if self._weights.at_hand():
            threading.Thread(target=_import_ahead, name="imports", daemon=True).start()
        self._checkpoint = self._weights.obtain(lambda line: report(LoadPhase.WEIGHTS, line))

    def load(self, report: ReportPhase) -> EngineInfo:
        """Import torch, read the weights, set the device up; whether bf16 is used is decided after the first proof."""
        if self._checkpoint is None:
            raise RuntimeError("prepare() has to succeed before load()")
        self._runtime = None  # a second load must not need room for two networks
        report(LoadPhase.IMPORT, "importing torch and the network")
        runtime = _import_runtime()

        device = runtime.set_up_device(self._device)
        report(LoadPhase.WEIGHTS, f"reading {self._checkpoint.source}")
        network = runtime.read_network(self._checkpoint, self._mode)
        report(LoadPhase.DEVICE, f"setting up {device}")
        self._runtime = runtime.Runtime(network, device, self._precision)
        return self._info(self._runtime, self._checkpoint)

    def settle(self) -> EngineInfo:
        """Decide the precision, if that is open; see :meth:`service.engines.inspyrenet.session.Runtime.settle`."""
        if self._runtime is None or self._checkpoint is None:
            raise RuntimeError("load() has to succeed before anything is settled")
        self._runtime.settle()
        return self._info(self._runtime, self._checkpoint)

    def _info(self, runtime: Runtime, checkpoint: Checkpoint) -> EngineInfo:
        _log.info("precision %s: %s", runtime.precision, runtime.precision_reason)
        return EngineInfo(
            engine=self.name,
            fallback=False,
            fallback_reason="",
            mode=self._mode,
            resize=self._resize,
            device=str(runtime.device),
            precision=runtime.precision,
            precision_reason=runtime.precision_reason,
            weights=checkpoint.kind,
            weights_hash=checkpoint.hash,
            weights_note=checkpoint.note,
            settled=runtime.settled,
        )

    def model_input_size(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) fed to the network; see :func:`service.engines.inspyrenet.resize.model_input_size`."""
        return sizes.model_input_size(
            width,
            height,
            resize=self._resize,
            base_size=self._base_size,
            max_model_pixels=self._max_model_pixels,
        )

    def infer(self, image: RGB) -> Alpha:
        """The mask of one image at its own size, as ``Remover.process`` makes it."""
        if self._runtime is None:
            raise RuntimeError("load() has to succeed before infer()")
        return self._runtime.infer(image, self.model_input_size(image.shape[1], image.shape[0]))

    def foreground(self, image: RGB, alpha: Alpha) -> RGB:
        """The foreground's colours; see :func:`service.engines.unmixing.estimate_foreground`."""
        from service.engines.unmixing import estimate_foreground  # noqa: PLC0415  # imports OpenCV

        return estimate_foreground(image, alpha)

    def memory(self) -> dict[str, int]:
        """Bytes of device memory ``allocated`` and ``reserved``; zeros on a CPU and before a load."""
        return {"allocated": 0, "reserved": 0} if self._runtime is None else self._runtime.memory()


def _import_ahead() -> None:
    with suppress(Exception):  # the load imports the same, and tells
        _import_runtime()


def _import_runtime() -> ModuleType:
    """Everything that a load needs; seconds, so only once the port is open."""
    from service.engines.inspyrenet import session as runtime  # noqa: PLC0415

    return runtime
