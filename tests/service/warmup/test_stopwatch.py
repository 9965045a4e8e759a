"""The stopwatch of a load: every phase has its time, also one that begins more than once."""

from __future__ import annotations

from service.engines.protocol import LoadPhase
from service.warmup.stopwatch import PhaseStopwatch
from tests.support.clock import FakeClock


def test_a_phase_that_begins_twice_is_counted_as_a_whole() -> None:
    clock = FakeClock()
    stopwatch = PhaseStopwatch(clock=clock)
    for phase, seconds in [(LoadPhase.WEIGHTS, 1.0), (LoadPhase.IMPORT, 2.0), (LoadPhase.WEIGHTS, 4.0)]:
        stopwatch.enter(phase)
        clock.now += seconds
    assert stopwatch.stop() == {"weights": 5.0, "import": 2.0}
