"""Handles failures of the device: counts them, and ends the process if only a restart repairs the device.

``http.process`` reports the failures of clients' pictures, ``warmup.target`` those of loads and probes, ``pipeline``
those that come when nobody waits any more. An error that is not the fault of the device must not be counted.
"""

from __future__ import annotations

from collections.abc import Callable

from metrics import Metrics
from service.engines.protocol import DeviceError, OutOfMemory
from service.errors import Unavailable
from service.inference.admission import Admission
from service.lifecycle import Lifecycle


class DeviceErrors:
    """Counts errors of the device, and ends this process if only a new one can use the device again.

    Args:
        metrics: errors are counted here.
        admission: refuses every request once the device has failed for good.
        lifecycle: told when only a new process can use the device again.
    """

    def __init__(self, *, metrics: Metrics, admission: Admission, lifecycle: Lifecycle) -> None:
        self._metrics = metrics
        self._admission = admission
        self._lifecycle = lifecycle
        self._listeners: list[Callable[[tuple[int, int]], None]] = []

    def on_picture_failed(self, listener: Callable[[tuple[int, int]], None]) -> None:
        """Call ``listener`` with the (width, height) in pixels of every client's picture on which the engine failed."""
        self._listeners.append(listener)

    def report_picture(self, error: Exception, size: tuple[int, int] | None) -> None:
        """Note that the engine failed on a client's picture.

        Args:
            error: what it raised, or what was wrong with its mask.
            size: of the picture; None if it failed before that was known, so that the device cannot be the cause.
        """
        self.report(error)
        if size is not None:
            for listener in self._listeners:
                listener(size)

    def report(self, error: Exception) -> None:
        """Note an error of the engine; it is ignored if the device did not cause it."""
        kind = _kind(error)
        if kind is None:
            return
        self._metrics.device_errors_total.labels(kind=kind).inc()
        if kind == "sticky":
            self._admission.refuse(device_lost, for_good=True)
            self._lifecycle.fail(f"the device has failed for good: {error}")


def device_lost() -> Unavailable:
    """The error for requests when only a restart can repair the device."""
    return Unavailable("The device has failed; the service is restarting.", retry_after=30)


def _kind(error: Exception) -> str | None:
    """The ``kind`` label of ``device_errors_total``; None if the device did not cause it."""
    if isinstance(error, OutOfMemory | MemoryError):
        return "oom"
    if isinstance(error, DeviceError):
        return "sticky" if error.sticky else "other"
    return None
