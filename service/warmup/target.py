"""Implements the supervisor's ``Target`` for the engine.

It loads the engine, and probes it through the same admission and device thread as clients' pictures. The supervisor
calls ``load`` and ``probe``. ``proof_plan`` says what a probe has to do; ``canary`` makes its picture and judges the
answer. A probe must go through the pipeline of clients' pictures, or it proves nothing.
"""

from __future__ import annotations

import asyncio
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
from service.host.garbage_collection import resume_garbage_collection
from service.imaging.compose import BadMask
from service.imaging.options import Options
from service.inference.admission import Admission
from service.inference.device_errors import DeviceErrors
from service.inference.device_thread import DeviceThread, Kind
from service.inference.load_preparation import LoadPreparation
from service.inference.pipeline import EncodedPicture, Pipeline, Progress
from service.inference.thread_results import in_daemon_thread
from service.lifecycle import Lifecycle
from service.public_text import public_reason
from service.warmup.canary import Judge, picture
from service.warmup.proof_plan import Proof, ProofPlan
from service.warmup.stopwatch import PhaseStopwatch
from supervisor.protocol import LoadError, Outcome, ProbeError, ProbeReport

CLIENT_SIDE = 1024
"""Side in pixels of the pass at a client's size."""

_log = structlog.get_logger("target")


class EngineTarget:
    """The engine as the supervisor sees it.

    Args:
        engine: loaded and probed.
        pipeline: the stages of every picture, also of the canary.
        admission: its gate opens once the engine has passed its proofs; it gives probes a place.
        device_thread: the thread in which the engine runs.
        preparation: prepares each load.
        device_errors: told of failures of the device.
        lifecycle: told when a setting can never work here.
        metrics: what is loaded is recorded here.
        canary_side: side of the canary in pixels.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        pipeline: Pipeline,
        admission: Admission,
        device_thread: DeviceThread,
        preparation: LoadPreparation,
        device_errors: DeviceErrors,
        lifecycle: Lifecycle,
        metrics: Metrics,
        canary_side: int,
    ) -> None:
        self.info: EngineInfo | None = None
        """What is loaded; None before the first load."""
        self._engine = engine
        self._pipeline = pipeline
        self._admission = admission
        self._device_thread = device_thread
        self._preparation = preparation
        self._device_errors = device_errors
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._side = canary_side
        self._canary = b""
        self._judge = Judge(canary_side)
        self._plan = ProofPlan()

    def job_seconds(self) -> float:
        """How long the job now in the device thread has been running."""
        return self._device_thread.job_seconds

    def drain(self) -> None:
        """Draining begins: requests that wait only for the precision to be settled are served now."""
        if self._plan.gate_opens_at_drain:
            self._open_gate()

    # -- load ----------------------------------------------------------------------------------------------------

    async def load(self, report: Callable[[str, str], None]) -> Mapping[str, float]:
        """Prepare in a separate thread, then load in the device thread.

        Returns:
            Seconds by phase.

        Raises:
            LoadError: with a reason that a person can act on; until a load succeeds, requests are refused with 503.
        """
        self._plan = ProofPlan()
        stopwatch = PhaseStopwatch()
        loaded = False
        try:
            info = await self._load(stopwatch, report)
            loaded = True
        except ConfigurationError as error:
            _log.critical("cannot start", error=str(error))
            self._lifecycle.fail(str(error), exit_code=2)
            raise self._load_failed(Outcome.ERROR, error) from error
        except WeightsUnavailable as error:
            raise self._load_failed(Outcome.WEIGHTS_UNAVAILABLE, error) from error
        except EngineError as error:
            self._device_errors.report(error)
            outcome = Outcome.OOM if isinstance(error, OutOfMemory) else Outcome.DEVICE_ERROR
            raise self._load_failed(outcome, error) from error
        except MemoryError as error:
            raise self._load_failed(Outcome.OOM, error) from error
        except Exception as error:
            raise self._load_failed(Outcome.ERROR, error) from error
        finally:
            resume_garbage_collection(keep=loaded)
        self._plan = ProofPlan.after_load(settled=info.settled, on_cuda=_on_cuda(info))
        self._judge = Judge(self._side)
        self._set_info(info)
        announce = _log.warning if info.fallback or info.weights == "dummy" else _log.info
        announce("engine loaded", **info.labels())
        return stopwatch.stop()

    async def _load(self, stopwatch: PhaseStopwatch, report: Callable[[str, str], None]) -> EngineInfo:
        loop = asyncio.get_running_loop()

        def phase_began(phase: LoadPhase, detail: str) -> None:
            stopwatch.enter(phase)
            loop.call_soon_threadsafe(self._preparation.report_progress)
            loop.call_soon_threadsafe(report, phase.value, detail)

        if not self._canary:
            self._canary = await in_daemon_thread(lambda: picture(self._side), name="canary")
        await self._preparation.run(lambda: self._engine.prepare(phase_began))
        return await self._device_thread.run(lambda: self._engine.load(phase_began), kind=Kind.LOAD)

    def _load_failed(self, outcome: Outcome, error: Exception) -> LoadError:
        self._admission.refuse(
            lambda: Unavailable(
                "The model could not be loaded. GET /warmup says why. The service tries again by itself.",
                retry_after=5,
            )
        )
        reason = public_reason(error) or type(error).__name__
        if reason != str(error):
            _log.error("the model could not be loaded", error=str(error))  # for everyone, it is shortened
        return LoadError(outcome, reason)

    def _set_info(self, info: EngineInfo) -> None:
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

    # -- probe ---------------------------------------------------------------------------------------------------

    async def probe(self, on_start: Callable[[], None]) -> ProbeReport:
        """Settle the precision if the plan says so, then make the passes that it names.

        Raises:
            ProbeError: what failed, and how.
        """
        try:
            self._check_canary_size(on_start)
            return await self._probe(on_start)
        except EngineError as error:
            self._device_errors.report(error)
            raise self._probe_failed(_outcome(error), error) from error
        except BadMask as error:
            raise ProbeError(Outcome.BAD_OUTPUT, str(error)) from error
        except Exception as error:
            if isinstance(error, ProbeError) or public_reason(error) == str(error):
                raise
            raise self._probe_failed(Outcome.ERROR, error) from error
        finally:
            if self._plan.gate_opens_after_probe:
                self._open_gate()

    @staticmethod
    def _probe_failed(outcome: Outcome, error: Exception) -> ProbeError:
        reason = public_reason(error)
        if reason != str(error):
            _log.error("the probe failed", error=str(error), exc_info=error)  # for everyone, it is shortened
        return ProbeError(
            outcome, reason if isinstance(error, EngineError) else f"{type(error).__name__}: {reason}"
        )

    def _check_canary_size(self, on_start: Callable[[], None]) -> None:
        width, height = self._engine.model_input_size(self._side, self._side)
        if min(width, height) < 1:
            on_start()
            raise ProbeError(
                Outcome.BAD_SIZE,
                f"a canary of {self._side}x{self._side} pixels becomes a model input of {width}x{height}: "
                "height and width must be > 0",
            )

    async def _probe(self, on_start: Callable[[], None]) -> ProbeReport:
        if self._plan.settles_next:
            await self._settle()
        seconds = await self._pass_canary(on_start)
        if self._plan.client_size_owed:
            await self._pass_at_client_size()
        self._plan = self._plan.after_pass()
        return ProbeReport(
            running_seconds=seconds,
            again=self._plan.settles_next,
        )

    async def _pass_canary(self, on_start: Callable[[], None]) -> float:
        """Send the canary and judge its cut-out; return the seconds for which it ran."""
        progress = Progress()

        def turn_came() -> None:
            self._open_gate_for(Proof.CANARY)
            on_start()

        with self._admission.probe_place() as place:
            cut_out = await self._pipeline.run(
                EncodedPicture(self._canary), Options(), place=place, progress=progress, on_start=turn_came
            )
            await place.run_in_codec_pool(self._judge.check, cut_out.body)
        return progress.running_seconds

    async def _pass_at_client_size(self) -> None:
        data = await in_daemon_thread(lambda: picture(CLIENT_SIDE), name="canary")
        with self._admission.probe_place() as place:
            await self._pipeline.run(
                EncodedPicture(data),
                Options(),
                place=place,
                progress=Progress(),
                on_start=lambda: self._open_gate_for(Proof.CLIENT_SIZE),
            )

    async def _settle(self) -> None:
        """Settle the precision; if that fails, the precision that has passed its proof stays in use."""
        before = self.info
        if before is None:
            raise RuntimeError("load() has to succeed before anything is settled")
        try:
            after = await self._device_thread.run(self._engine.settle, kind=Kind.PROBE)
        except Exception as error:
            why = error.public if isinstance(error, EngineError) else type(error).__name__
            reason = f"the self-check could not be finished: {why}"
            self._plan = self._plan.after_settling(changed=False, on_cuda=_on_cuda(before))
            self._set_info(replace(before, precision_reason=reason, settled=True))
            raise
        changed = after.precision != before.precision
        if changed:
            self._judge = Judge(self._side)
        self._plan = self._plan.after_settling(changed=changed, on_cuda=_on_cuda(after))
        self._set_info(after)
        _log.info("engine settled", **after.labels())

    def _open_gate_for(self, proof: Proof) -> None:
        if self._plan.opens_gate(proof):
            self._open_gate()

    def _open_gate(self) -> None:
        if self._plan.gate_closed:
            self._plan = self._plan.after_opening()
            self._admission.open()


def _on_cuda(info: EngineInfo) -> bool:
    return info.device.startswith("cuda")


def _outcome(error: EngineError) -> Outcome:
    if isinstance(error, OutOfMemory):
        return Outcome.OOM
    if isinstance(error, DeviceError):
        return Outcome.DEVICE_ERROR
    return Outcome.ERROR
