"""The InSPyReNet engine: the network of ``transparent_background`` behind the engine protocol.

``build`` creates it. The masks must stay those of ``Remover.process`` for a PIL image: the same Pillow resize,
normalisation, network and interpolation back. There are two differences: every size from 1 x 1 works, and large inputs
are limited. Torch is imported in ``prepare`` and ``load`` only, after the port is open.
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

    @property
    def name(self) -> str:
        """``inspyrenet``."""
        return "inspyrenet"

    def prepare(self, report: ReportPhase) -> None:
        """Find the checkpoint, download it if necessary, and verify it; dummy weights need none of that.

        Computing its hash takes about as long as importing torch, so both run at the same time.
        """
        report(LoadPhase.WEIGHTS, "looking for the weights")
        if self._weights.on_disk():
            threading.Thread(target=_import_ahead, name="imports", daemon=True).start()
        self._checkpoint = self._weights.obtain(lambda line: report(LoadPhase.WEIGHTS, line))

    def load(self, report: ReportPhase) -> EngineInfo:
        """Import torch, read the weights, set up the device. With ``auto``, ``settle`` decides the precision later."""
        if self._checkpoint is None:
            raise RuntimeError("prepare() has to succeed before load()")
        self._session = None  # a second load must not need memory for two networks
        report(LoadPhase.IMPORT, "importing torch and the network")
        session = _import_session()

        device = session.set_up_device(self._device)
        report(LoadPhase.WEIGHTS, f"reading {self._checkpoint.name}")
        _log.info("reading %s", self._checkpoint.source)
        network = session.read_network(self._checkpoint, self._mode)
        report(LoadPhase.DEVICE, f"setting up {device}")
        self._session = session.Session(network, device, self._precision)
        return self._info(self._session, self._checkpoint)

    def settle(self) -> EngineInfo:
        """Decide the precision if it is open; see :meth:`service.engines.inspyrenet.session.Session.settle`."""
        if self._session is None or self._checkpoint is None:
            raise RuntimeError("load() has to succeed before settle()")
        self._session.settle()
        return self._info(self._session, self._checkpoint)

    def _info(self, session: Session, checkpoint: Checkpoint) -> EngineInfo:
        precision = session.precision
        _log.info("precision %s: %s", precision.name, precision.reason)
        return EngineInfo(
            engine=self.name,
            fallback=False,
            fallback_reason="",
            mode=self._mode,
            resize=self._resize,
            device=str(session.device),
            precision=precision.name,
            precision_reason=precision.reason,
            weights=checkpoint.kind,
            weights_hash=checkpoint.hash,
            weights_note=checkpoint.note,
            settled=session.settled,
        )

    def model_input_size(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) of the model input; see :func:`service.engines.inspyrenet.resize.model_input_size`."""
        return sizes.model_input_size(
            width,
            height,
            resize=self._resize,
            base_size=self._base_size,
            max_model_pixels=self._max_model_pixels,
        )

    def infer(self, image: RGB) -> Alpha:
        """The mask of one image at its own size, as ``Remover.process`` computes it."""
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


def _import_ahead() -> None:
    with suppress(Exception):  # the load imports the same modules, and reports the error
        _import_session()


def _import_session() -> ModuleType:
    """Import everything that a load needs. It takes seconds, so it must not happen before the port is open."""
    from service.engines import unmixing  # noqa: PLC0415, F401  # the first cut-out needs it
    from service.engines.inspyrenet import session  # noqa: PLC0415

    return session
