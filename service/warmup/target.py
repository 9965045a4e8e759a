"""What the supervisor warms: the engine behind the worker, loaded and probed through the path clients take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from metrics import Metrics
from service.engines.protocol import (
    ConfigurationError,
    DeviceError,
    Engine,
    EngineError,
    EngineInfo,
    LoadPhase,
    OutOfMemory,
    WeightsUnavailable,
)
from service.errors import Unavailable
from service.host.interpreter import resume_collection
from service.imaging.compose import BadMask
from service.imaging.options import Options
from service.inference.pipeline import Pipeline, Progress
from service.inference.place import Kind
from service.inference.threads import in_daemon_thread
from service.inference.worker import Worker
from service.lifecycle import Lifecycle
from service.warmup.canary import Judge, picture
from supervisor.protocol import LoadError, Outcome, ProbeError, ProbeReport

CLIENT_SIDE = 1024
"""Side in pixels of the extra pass on a CUDA device: a small canary does not set up what real pictures use."""

_log = structlog.get_logger("target")


def device_error_kind(error: EngineError) -> str | None:
    """The ``kind`` label of ``device_errors_total`` for this error; None if the device is not to blame."""
    if isinstance(error, OutOfMemory):
        return "oom"
    if isinstance(error, DeviceError):
        return "sticky" if error.sticky else "other"
    return None


class EngineTarget:
    """The engine as the supervisor sees it.

    Args:
        engine: loaded and probed.
        pipeline: the path of every picture.
        worker: owns the thread that the engine lives in.
        lifecycle: told when only a new process can mend things.
        metrics: device errors and what is loaded are recorded here.
        canary_side: side of the canary in pixels, already safe.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        pipeline: Pipeline,
        worker: Worker,
        lifecycle: Lifecycle,
        metrics: Metrics,
        canary_side: int,
    ) -> None:
        self.info: EngineInfo | None = None
        """What is loaded; None before the first load."""
        self._engine = engine
        self._pipeline = pipeline
        self._worker = worker
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._side = canary_side
        self._canary = b""
        self._judge = Judge(canary_side)
        self._gate_owed = False
        self._client_size_owed = False
        self._settle_owed = False
        self._proved = False

    async def load(self, report: Callable[[str, str], None]) -> Mapping[str, float]:
        """Prepare on a thread of its own, load in the GPU thread.

        Returns:
            Seconds by phase.

        Raises:
            LoadError: with a reason a person can act on; until a load succeeds, requests are refused with 503.
        """
        stopwatch = _PhaseStopwatch()
        loop = asyncio.get_running_loop()

        def phase_began(phase: LoadPhase, detail: str) -> None:
            stopwatch.enter(phase)
            loop.call_soon_threadsafe(self._worker.heard)
            loop.call_soon_threadsafe(report, phase.value, detail)

        self._proved = False
        loaded = False
        try:
            if not self._canary:
                self._canary = await in_daemon_thread(lambda: picture(self._side), name="canary")
            await self._worker.before_load(lambda: self._engine.prepare(phase_began))
            info = await self._worker.run(lambda: self._engine.load(phase_began), kind=Kind.LOAD)
            loaded = True
        except ConfigurationError as error:
            _log.critical("cannot start", error=str(error))
            self._lifecycle.fail(str(error), exit_code=2)
            raise self._load_failed(Outcome.ERROR, error) from error
        except WeightsUnavailable as error:
            raise self._load_failed(Outcome.WEIGHTS_UNAVAILABLE, error) from error
        except EngineError as error:
            self.note_device_error(error)
            outcome = Outcome.OOM if isinstance(error, OutOfMemory) else Outcome.DEVICE_ERROR
            raise self._load_failed(outcome, error) from error
        except MemoryError as error:
            raise self._load_failed(Outcome.OOM, error) from error
        except Exception as error:
            raise self._load_failed(Outcome.ERROR, error) from error
        finally:
            resume_collection(keep=loaded)
        self._gate_owed = True
        self._settle_owed = False
        self._prove_anew(info)
        self._adopt(info)
        announce = _log.warning if info.fallback or info.weights == "dummy" else _log.info
        announce("engine loaded", **info.labels())
        return stopwatch.stop()

    def _prove_anew(self, info: EngineInfo) -> None:
        """Nothing that was proved of what served before counts for this."""
        self._judge = Judge(self._side)
        self._client_size_owed = info.device.startswith("cuda")

    def _adopt(self, info: EngineInfo) -> None:
        self.info = info
        self._metrics.set_engine_info(
            engine=info.engine,
            fallback=info.fallback,
            mode=info.mode,
            resize=info.resize,
            device=info.device,
            precision=info.precision,
            precision_reason=info.precision_reason,
            weights_hash=info.weights_hash,
        )

    async def probe(self, started: Callable[[], None]) -> ProbeReport:
        """One canary, bytes in to bytes out, through the path clients take.

        What the load left open is settled by the second probe, before its canary: requests wait for that, so that the
        first of them is served as every later one.

        Raises:
            ProbeError: what failed, and how.
        """
        side = self._side
        width, height = self._engine.model_input_size(side, side)
        if min(width, height) < 1:
            started()
            self._open_gate()
            raise ProbeError(
                Outcome.BAD_SIZE,
                f"a canary of {side}x{side} pixels becomes a model input of {width}x{height}: "
                "height and width must be > 0",
            )
        progress = Progress()
        settles, self._settle_owed = self._settle_owed, False
        leaves_open = self.info is not None and not self.info.settled and not settles

        def on_start() -> None:
            if not self._client_size_owed and not leaves_open:
                self._open_gate()  # requests that waited for the load come right behind this probe
            started()

        try:
            if settles and self.info is not None and not self.info.settled:
                await self._settle(self.info)
            with self._worker.probe_place() as place:
                cut_out = await self._pipeline.run(
                    self._canary,
                    Options(),
                    place=place,
                    progress=progress,
                    kind=Kind.PROBE,
                    on_start=on_start,
                )
                await place.in_pool(self._judge.check, cut_out.body)
            if self._client_size_owed:
                await self._pass_at_client_size(opens=not leaves_open)
            self._settle_owed, self._proved = leaves_open, True
        except EngineError as error:
            self.note_device_error(error)
            raise ProbeError(_outcome(error), str(error)) from error
        except BadMask as error:
            raise ProbeError(Outcome.BAD_OUTPUT, str(error)) from error
        finally:
            if not self._settle_owed:
                self._open_gate()
        return ProbeReport(
            again=self._settle_owed,
            running_seconds=progress.running_seconds,
        )

    def drain(self) -> None:
        """The end begins: requests that wait for nothing but what the load left open need wait no longer."""
        if self._proved:
            self._open_gate()

    def job_seconds(self) -> float:
        """How long the job now in the GPU thread has been running."""
        return self._worker.job_seconds

    def note_device_error(self, error: EngineError) -> None:
        """Count an error of the device; one that only a new process mends begins the end of this one."""
        kind = device_error_kind(error)
        if kind is None:
            return
        self._metrics.device_errors_total.labels(kind=kind).inc()
        if kind == "sticky":
            self._gate_owed = False
            self._worker.refuse(
                lambda: Unavailable("The device has failed; the service is restarting.", retry_after=30)
            )
            self._lifecycle.fail(f"the device has failed for good: {error}")

    async def _settle(self, before: EngineInfo) -> None:
        """Finish what the load left open; if that fails, what was proved goes on serving."""
        try:
            after = await self._worker.run(self._engine.settle, kind=Kind.PROBE)
        except Exception as error:
            why = str(error) if isinstance(error, EngineError) else type(error).__name__
            reason = f"the self-check could not be finished: {why}"
            self._adopt(replace(before, precision_reason=reason, settled=True))
            raise
        if after.precision != before.precision:
            self._prove_anew(after)
        self._adopt(after)
        _log.info("engine settled", **after.labels())

    async def _pass_at_client_size(self, *, opens: bool) -> None:
        canary = await in_daemon_thread(lambda: picture(CLIENT_SIDE), name="canary")
        with self._worker.probe_place() as place:
            # The gate is still shut at the first probe, so it gets its turn at once: to wait is not to run.
            await self._pipeline.run(
                canary,
                Options(),
                place=place,
                progress=Progress(),
                kind=Kind.PROBE,
                on_start=self._open_gate if opens else None,
            )
        self._client_size_owed = False

    def _open_gate(self) -> None:
        if self._gate_owed:
            self._gate_owed = False
            self._worker.open()

    def _load_failed(self, outcome: Outcome, error: Exception) -> LoadError:
        self._worker.refuse(
            lambda: Unavailable(
                "The model could not be loaded; GET /warmup says why. It is tried again.", retry_after=5
            )
        )
        return LoadError(outcome, str(error) or type(error).__name__)


def _outcome(error: EngineError) -> Outcome:
    if isinstance(error, OutOfMemory):
        return Outcome.OOM
    if isinstance(error, DeviceError):
        return Outcome.DEVICE_ERROR
    return Outcome.ERROR


class _PhaseStopwatch:
    """Seconds spent in each phase; entered from the thread that does the work, one phase at a time."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._phase: str | None = None
        self._since = 0.0

    def enter(self, phase: LoadPhase) -> None:
        self._close()
        self._phase = phase.value

    def stop(self) -> Mapping[str, float]:
        self._close()
        return self._seconds

    def _close(self) -> None:
        now = time.monotonic()
        if self._phase is not None:
            self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._since
        self._since = now
