"""Errors of the device: they are counted by kind, and end the process only where nothing but a restart helps."""

from __future__ import annotations

import pytest

from metrics import Metrics
from service.engines.protocol import DeviceError, EngineError, OutOfMemory, WeightsUnavailable
from service.errors import Unavailable
from service.inference.admission import Admission
from service.inference.device_errors import DeviceErrors
from service.lifecycle import Lifecycle


@pytest.mark.parametrize(
    ("error", "kind", "ends"),
    [
        (OutOfMemory("no room"), "oom", False),
        (DeviceError("a kernel failed", sticky=False), "other", False),
        (DeviceError("an illegal memory access", sticky=True), "sticky", True),
        (WeightsUnavailable("no file"), None, False),
    ],
)
async def test_an_error_of_the_device_is_counted_and_ends_the_process_only_if_it_is_sticky(
    admission: Admission, error: EngineError, kind: str | None, ends: bool
) -> None:
    metrics, lifecycle = Metrics(), Lifecycle(drain_timeout=8)
    DeviceErrors(metrics=metrics, admission=admission, lifecycle=lifecycle).report(error)
    counted = {
        sample.labels["kind"]: sample.value
        for metric in metrics.device_errors_total.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }
    assert counted == {name: float(name == kind) for name in ("oom", "sticky", "other")}
    assert (lifecycle.draining, lifecycle.exit_code) == (ends, int(ends))
    admission.open()
    if ends:
        with pytest.raises(Unavailable, match="restarting"):
            admission.take_place()
    else:
        admission.take_place().release()
