"""The InSPyReNet engine: the network of ``transparent_background`` behind the engine protocol.

``build`` creates it. The masks must stay those of ``Remover.process`` for a PIL image: the same Pillow resize,
normalisation, network and interpolation back. There are two differences: every size from 1 x 1 works, and large inputs
are limited. Torch is imported in ``prepare`` and ``load`` only, after the port is open.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from service.engines.inspyrenet import resize as sizes
from service.engines.package_config import mode_config
from service.engines.protocol import RGB, Alpha, EngineInfo, LoadPhase, Mask, ReportPhase
from service.engines.weights.checkpoint_file import Checkpoint
from service.engines.weights.requested import Weights

if TYPE_CHECKING:
    from service.engines.inspyrenet.session import Session

_log = logging.getLogger(__name__)


class InspyrenetEngine:
    """InSPyReNet behind the :class:`~service.engines.protocol.Engine` protocol.

    Args:
        mode: ``base``, ``fast`` or ``base-nightly``.
        resize: ``static`` or ``dynamic``.
        weights: where the checkpoint comes from.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32``, ``bf16``, or ``auto``: bf16 if the hardware supports it natively and the masks stay the
            same.
        max_model_pixels: upper limit for the pixels of the model input.
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
        self._session: Session | None = None
        self.info: EngineInfo | None = None
        """What ``infer`` computes with; set in the device thread."""

    @property
    def name(self) -> str:
        """``inspyrenet``."""
        return "inspyrenet"

    def prepare(self, report: ReportPhase) -> None:
        """Find the checkpoint, download it if necessary, and verify it; dummy weights need none of that.

        Computing its hash takes no longer than importing torch, so both run at the same time.
        """
        report(LoadPhase.WEIGHTS, "looking for the weights")
        if self._weights.on_disk():
            threading.Thread(target=_import_ahead, name="imports", daemon=True).start()
        self._checkpoint = self._weights.obtain(lambda line: report(LoadPhase.WEIGHTS, line))

    def load(self, report: ReportPhase) -> EngineInfo:
        """Import torch, read the weights, set up the device. With ``auto``, ``settle`` decides the precision later."""
        checkpoint = self._checkpoint
        if checkpoint is None:
            raise RuntimeError("prepare() has to succeed before load()")
        self._session = self.info = None  # a second load must not need memory for two networks
        report(LoadPhase.IMPORT, "importing torch and the network")
        session = _import_session()

        device = session.set_up_device(self._device)
        report(LoadPhase.WEIGHTS, f"reading {checkpoint.name}")
        _log.info("reading %s", checkpoint.source)
        network = session.read_network(checkpoint, self._mode)
        weights_hash = checkpoint.hash or session.hash_weights(network)
        report(LoadPhase.DEVICE, f"setting up {device}")
        self._session = session.Session(network, device, self._precision)
        _log_precision(self._session)
        self.info = EngineInfo(
            engine=self.name,
            fallback=False,
            fallback_reason="",
            mode=self._mode,
            resize=self._resize,
            device=str(device),
            precision=self._session.precision.name,
            precision_reason=self._session.precision.reason,
            weights=checkpoint.kind,
            weights_hash=weights_hash,
            weights_note=checkpoint.note,
            settled=self._session.settled,
        )
        return self.info

    def settle(self) -> EngineInfo:
        """Decide the precision if it is open; see :meth:`service.engines.inspyrenet.session.Session.settle`."""
        session, info = self._session, self.info
        if session is None or info is None:
            raise RuntimeError("load() has to succeed before settle()")
        try:
            session.settle()
        finally:  # a check that fails leaves fp32, and says so
            precision = session.precision
            self.info = replace(
                info, precision=precision.name, precision_reason=precision.reason, settled=session.settled
            )
        _log_precision(session)
        return self.info

    def model_input_size(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) of the model input; see :func:`service.engines.inspyrenet.resize.model_input_size`."""
        return sizes.model_input_size(
            width,
            height,
            resize=self._resize,
            base_size=self._base_size,
            max_model_pixels=self._max_model_pixels,
        )

    def infer(self, image: RGB) -> Mask:
        """The mask of one image at its own size, as ``Remover.process`` computes it, and its confidence."""
        if self._session is None:
            raise RuntimeError("load() has to succeed before infer()")
        return self._session.infer(image, self.model_input_size(image.shape[1], image.shape[0]))

    def foreground(self, image: RGB, alpha: Alpha) -> RGB:
        """The foreground's colours; see :func:`service.engines.unmixing.estimate_foreground`."""
        from service.engines.unmixing import estimate_foreground  # noqa: PLC0415  # imports OpenCV

        return estimate_foreground(image, alpha)

    def memory(self) -> dict[str, int]:
        """Bytes of device memory ``allocated`` and ``reserved``; zeros on a CPU and before a load."""
        session = self._session  # read once: a load in the device thread may set it to None at any time
        return {"allocated": 0, "reserved": 0} if session is None else session.memory()


def _log_precision(session: Session) -> None:
    _log.info("precision %s: %s", session.precision.name, session.precision.reason)


def _import_ahead() -> None:
    with suppress(Exception):  # the load imports the same modules, and reports the error
        _import_session()


def _import_session() -> ModuleType:
    """Import everything that a load needs. It takes seconds, so it must not happen before the port is open."""
    from service.engines import unmixing  # noqa: PLC0415, F401  # the first cut-out needs it
    from service.engines.inspyrenet import session  # noqa: PLC0415

    return session
