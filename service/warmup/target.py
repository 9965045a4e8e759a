"""Implements the supervisor's ``Target`` for the engine.

It loads the engine, and probes it through the same admission and device thread as clients' pictures. The supervisor
decides what is proved when, and whether requests are served; ``canaries`` makes the pictures and judges the answers. A
probe must go through the pipeline of clients' pictures, or it proves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import structlog

from metrics import Metrics
from service.engines.memory_needs import memory_needs
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
from service.errors import ServiceError, Unavailable
from service.host.garbage_collection import resume_garbage_collection
from service.imaging.mask import BadMask
from service.imaging.options import Options, Output
from service.inference.admission import Admission
from service.inference.codec_pool import CodecPool
from service.inference.device_errors import DeviceErrors
from service.inference.device_thread import DeviceThread
from service.inference.jobs import Kind
from service.inference.load_preparation import LoadPreparation
from service.inference.memory_budget import TooLittleMemory
from service.inference.pipeline import EncodedPicture, Pipeline, Progress
from service.inference.thread_results import in_daemon_thread
from service.lifecycle import Lifecycle
from service.public_text import public_reason
from service.tracing.spans import Span, Tracer
from service.warmup.canaries import Canaries
from service.warmup.real_size import real_size
from service.warmup.references.reference_set import Gate, ReferenceSet
from service.warmup.stopwatch import PhaseStopwatch
from supervisor import refuses
from supervisor.protocol import (
    AtSize,
    Canary,
    LoadError,
    LoadReport,
    Outcome,
    ProbeError,
    ProbeReport,
    Reference,
    Settle,
    Size,
    Subject,
    Vitals,
)

T = TypeVar("T")

_log = structlog.get_logger("target")


class EngineTarget:
    """The engine as the supervisor sees it.

    Args:
        engine: loaded and probed.
        pipeline: the stages of every picture, also of the canary.
        admission: its gate opens once the engine has passed its proofs; it gives probes a place.
        device_thread: the thread in which the engine runs.
        codec_pool: asked which of its threads have been busy for too long.
        request_timeout: seconds after which that is so.
        preparation: prepares each load.
        device_errors: told of failures of the device.
        lifecycle: told when a setting can never work here.
        metrics: what is loaded is recorded here.
        tracer: each probe is recorded as a trace of its own.
        references: pictures of the operator with accepted masks; None if there are none.
        references_gate: which of them requests wait for.
        canary_side: side of the small canary in pixels.
        max_pixels: the largest picture that a client may send.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        pipeline: Pipeline,
        admission: Admission,
        device_thread: DeviceThread,
        codec_pool: CodecPool,
        request_timeout: float,
        preparation: LoadPreparation,
        device_errors: DeviceErrors,
        lifecycle: Lifecycle,
        metrics: Metrics,
        tracer: Tracer,
        references: ReferenceSet | None,
        references_gate: Gate,
        canary_side: int,
        max_pixels: int,
    ) -> None:
        self.info: EngineInfo | None = None
        """What is loaded; None before the first load."""
        self._engine = engine
        self._pipeline = pipeline
        self._admission = admission
        self._device_thread = device_thread
        self._codec_pool = codec_pool
        self._request_timeout = request_timeout
        self._preparation = preparation
        self._device_errors = device_errors
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._tracer = tracer
        self._canaries = Canaries(engine, side=canary_side)
        self._max_pixels = max_pixels
        self._references = references
        self._references_gate = references_gate

    def vitals(self) -> Vitals:
        """What runs now."""
        return Vitals(
            job_seconds=self._device_thread.job_seconds,
            late_codec_jobs=self._codec_pool.late(self._request_timeout),
            codec_threads=self._codec_pool.threads,
        )

    def serve(self) -> None:
        """Requests get their turns."""
        self._admission.open()

    def refuse(self, failure: str) -> None:
        """Requests are refused until ``serve`` is called."""
        _log.error("requests are refused, because a proof that they wait for has failed", failure=failure)
        self._admission.refuse(
            lambda: Unavailable(
                "The model was loaded, but a test picture failed. GET /warmup says why. The service tries again by "
                "itself.",
                retry_after=5,
            )
        )

    def limit_sizes(self, refused: tuple[Size, ...], proved: tuple[Size, ...]) -> None:
        """Refuse pictures by the size of their model input."""
        if refused:
            _log.warning(
                "pictures of some sizes are refused for now", model_inputs=[str(size) for size in refused]
            )

        def refusal(size: tuple[int, int]) -> ServiceError | None:
            if not refuses(refused, proved, Size(*size)):
                return None
            return Unavailable(
                "The model fails on pictures of this size at the moment. Send it smaller, or try again later.",
                retry_after=60,
            )

        self._admission.limit_sizes(refusal if refused else None)

    # -- load ----------------------------------------------------------------------------------------------------

    async def load(self, report: Callable[[str, str], None]) -> LoadReport:
        """Prepare in a separate thread, then load in the device thread.

        Raises:
            LoadError: with a reason that a person can act on; until a load succeeds, requests are refused with 503.
        """
        stopwatch = PhaseStopwatch()
        loaded = False
        try:
            info = await self._load(stopwatch, report)
            largest = self._set_info(info)
            loaded = True
        except ConfigurationError as error:
            self._cannot_start(error)
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
        real = real_size(self._engine.model_input_size, max_pixels=largest)
        self._canaries.forget()
        self._canaries.keep(real)
        announce = _log.warning if info.fallback or info.weights == "dummy" else _log.info
        announce("engine loaded", **info.labels())
        return LoadReport(
            seconds_by_phase=stopwatch.stop(),
            canary=self._canaries.small_model_input,
            real=real,
            settled=info.settled,
            real_gates=info.device.startswith("cuda"),
            references=self._references.names if self._references else (),
            gate_references=self._references.gate(self._references_gate) if self._references else (),
        )

    async def _load(self, stopwatch: PhaseStopwatch, report: Callable[[str, str], None]) -> EngineInfo:
        loop = asyncio.get_running_loop()

        def phase_began(phase: LoadPhase, detail: str) -> None:
            stopwatch.enter(phase)
            loop.call_soon_threadsafe(self._preparation.report_progress)
            loop.call_soon_threadsafe(report, phase.value, detail)

        await self._preparation.run(lambda: self._prepare(phase_began))
        self._admission.memory.check_before_load(self._engine.name)
        info = await self._device_thread.run(lambda: self._engine.load(phase_began), kind=Kind.LOAD)
        if self._references is not None:
            self._references.check_engine(info)
        self._admission.hold()
        return info

    def _prepare(self, phase_began: Callable[[LoadPhase, str], None]) -> None:
        """In a thread: whatever reads files, and may therefore hang."""
        self._canaries.make(self._canaries.small)
        if self._references is not None:
            self._references.verify()
        self._engine.prepare(phase_began)

    def _cannot_start(self, error: ConfigurationError) -> None:
        _log.critical("cannot start", error=str(error))
        self._lifecycle.fail(str(error), exit_code=2)

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

    def _set_info(self, info: EngineInfo) -> int:
        """What is loaded, or settled, is known; returns the pixels of the largest photograph that fits into memory."""
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
        memory, needs = self._admission.memory, memory_needs(info)
        # Until it is settled, it may still become the precision that needs less, and no client's picture runs.
        if info.settled:
            memory.engine_settled(needs, max_pixels=self._max_pixels, places=self._admission.capacity)
        largest = memory.largest_photograph(needs, most=self._max_pixels)
        self._metrics.largest_photograph_pixels.set(largest)
        return largest

    # -- probe ---------------------------------------------------------------------------------------------------

    async def probe(self, subject: Subject, on_running: Callable[[bool], None]) -> ProbeReport:
        """Prove one thing.

        Raises:
            ProbeError: what failed, and how.
        """
        with self._tracer.probe(type(subject).__name__.lower()) as span:
            try:
                return await self._probe(subject, on_running, span)
            except ProbeError as error:
                span.failed(error.outcome)
                raise

    async def _probe(self, subject: Subject, on_running: Callable[[bool], None], span: Span) -> ProbeReport:
        try:
            return await self._prove(subject, on_running, span)
        except TooLittleMemory as error:  # once the precision is settled
            self._cannot_start(error)
            raise self._probe_failed(Outcome.ERROR, error) from error
        except EngineError as error:
            self._device_errors.report(error)
            raise self._probe_failed(_outcome(error), error) from error
        except BadMask as error:
            raise ProbeError(Outcome.BAD_OUTPUT, str(error)) from error
        except Exception as error:
            if isinstance(error, ProbeError) or public_reason(error) == str(error):
                raise
            raise self._probe_failed(Outcome.ERROR, error) from error

    @staticmethod
    def _probe_failed(outcome: Outcome, error: Exception) -> ProbeError:
        reason = public_reason(error)
        if reason != str(error):
            _log.error("the probe failed", error=str(error), exc_info=error)  # for everyone, it is shortened
        return ProbeError(
            outcome, reason if isinstance(error, EngineError) else f"{type(error).__name__}: {reason}"
        )

    async def _prove(self, subject: Subject, on_running: Callable[[bool], None], span: Span) -> ProbeReport:
        progress = Progress(on_stage=lambda stage: span.stage(*stage))
        match subject:
            case Canary():
                self._check_canary_size()
                return await self._pass(self._canaries.small, on_running, progress)
            case Settle():
                return await self._settle(on_running)
            case AtSize(size):
                await _counted(lambda: self._canaries.make(size), on_running)
                return await self._pass(size, on_running, progress)
            case Reference(name):
                return await self._judge_reference(name, on_running, progress)

    def _check_canary_size(self) -> None:
        width, height = self._canaries.small_model_input
        if min(width, height) < 1:
            raise ProbeError(
                Outcome.BAD_SIZE,
                f"a canary of {self._canaries.small} pixels becomes a model input of {width}x{height}: "
                "height and width must be > 0",
            )

    async def _pass(self, size: Size, on_running: Callable[[bool], None], progress: Progress) -> ProbeReport:
        """Send the canary of this size and judge its cut-out."""
        with self._admission.probe_place(on_running) as place:
            cut_out = await self._pipeline.run(
                EncodedPicture(self._canaries.picture(size)), Options(), place=place, progress=progress
            )
            await place.run_in_codec_pool(self._canaries.judge(size).check, cut_out.body)
        return ProbeReport(progress.running_seconds)

    async def _judge_reference(
        self, name: str, on_running: Callable[[bool], None], progress: Progress
    ) -> ProbeReport:
        """Cut a picture of the operator and compare its mask with the accepted one."""
        references, info = self._references, self.info
        if references is None or info is None:
            raise RuntimeError("there are no references, or nothing is loaded")
        data = await _counted(lambda: references.encoded(name), on_running)
        with self._admission.probe_place(on_running) as place:
            mask = await self._pipeline.run(
                EncodedPicture(data), Options(output=Output.MASK), place=place, progress=progress
            )
            measured = await place.run_in_codec_pool(lambda: references.judge(name, mask.body, info=info))
        return ProbeReport(progress.running_seconds, measured)

    async def _settle(self, on_running: Callable[[bool], None]) -> ProbeReport:
        """Settle the precision; if that fails, the precision that has passed its proof stays in use."""
        before = self.info
        if before is None:
            raise RuntimeError("load() has to succeed before anything is settled")
        try:
            after = await self._device_thread.run(
                self._engine.settle,
                kind=Kind.PROBE,
                on_start=lambda: on_running(True),  # noqa: FBT003 - it has one argument
                on_end=lambda _: on_running(False),  # noqa: FBT003 - it has one argument
            )
        except Exception as error:
            why = error.public if isinstance(error, EngineError) else type(error).__name__
            reason = f"the self-check could not be finished: {why}"
            self._set_info(replace(before, precision_reason=reason, settled=True))
            raise
        if after.precision != before.precision:
            self._canaries.forget()
        self._set_info(after)
        _log.info("engine settled", **after.labels())
        return ProbeReport(0.0)


async def _counted(fn: Callable[[], T], on_running: Callable[[bool], None]) -> T:
    """Run ``fn`` in a thread of its own, which counts as running: a disk that hangs must not hang a probe for ever."""
    on_running(True)  # noqa: FBT003 - it has one argument
    try:
        return await in_daemon_thread(fn, name="canary")
    finally:
        on_running(False)  # noqa: FBT003 - it has one argument


def _outcome(error: EngineError) -> Outcome:
    if isinstance(error, OutOfMemory):
        return Outcome.OOM
    if isinstance(error, DeviceError):
        return Outcome.DEVICE_ERROR
    return Outcome.ERROR
