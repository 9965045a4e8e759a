"""Cuts out one file: reads it, sends it through the service's own parts, and writes the result.

``run`` calls it for several files at the same time. Reading and writing happen in threads of their own, so that neither
the codec threads nor the device wait for a disk. A file holds a place from before it is read until its result is
written, so memory is bounded as it is for requests.
"""

from __future__ import annotations

import asyncio
from functools import partial

import structlog

from service.batch.problem import system_reason
from service.batch.results import CannotWrite, WouldReplace
from service.batch.tasks import NotCutOut, Task
from service.engines.protocol import EngineError
from service.errors import QueueFull, ServiceError, Unavailable
from service.imaging.mask import BadMask
from service.imaging.options import Options
from service.inference.admission import Admission
from service.inference.device_errors import DeviceErrors
from service.inference.pipeline import EncodedPicture, Pipeline, Progress, join_queue
from service.inference.place import Place
from service.inference.thread_results import in_daemon_thread

_log = structlog.get_logger("cut")


class Cutter:
    """Cuts files out through the parts of the service.

    Args:
        pipeline: makes the results.
        admission: gives the places; its gate must be open.
        device_errors: told of failures of the device.
        options: what the results look like.
        background: the file of the picture that is put behind the subjects, if the options ask for one.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        admission: Admission,
        device_errors: DeviceErrors,
        options: Options,
        background: bytes | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._admission = admission
        self._device_errors = device_errors
        self._options = options
        self._background = background
        self._next = asyncio.Lock()
        """Held by the picture that joins the queue next: a large one must not be passed by small ones for ever."""

    async def cut(self, task: Task) -> None:
        """Cut one file out.

        Raises:
            NotCutOut: there is no result.
            CannotWrite: the disk is full, or cannot be written any more.
            Unavailable: the device has failed for good. The file is as good as before.
        """
        try:
            await self._cut(task)
        except Unavailable:
            raise
        except ServiceError as error:
            raise NotCutOut(error.message) from error
        except (EngineError, WouldReplace) as error:
            raise NotCutOut(str(error)) from error
        except BadMask as error:
            raise NotCutOut(f"The engine made no usable mask: {error}.") from error
        except OSError as error:
            raise NotCutOut(system_reason(error)) from error
        except (NotCutOut, CannotWrite):
            raise
        except Exception as error:
            _log.exception("a picture failed by a bug")
            raise NotCutOut(f"This is a bug: {error!r}.") from error

    async def _cut(self, task: Task) -> None:
        options, progress = self._options, Progress()
        with self._admission.take_place() as place:
            encoded = EncodedPicture(await in_daemon_thread(task.read, name="read"))
            background = None if self._background is None else EncodedPicture(self._background)
            async with self._next:
                await self._join_queue(place, encoded, background)
            try:
                cut_out = await self._pipeline.run(
                    encoded,
                    options,
                    place=place,
                    progress=progress,
                    background=background,
                )
            except (EngineError, BadMask) as error:
                self._device_errors.report_picture(error, progress.size)
                raise
            await in_daemon_thread(partial(task.write, cut_out.body), name="write")

    async def _join_queue(
        self, place: Place, picture: EncodedPicture, background: EncodedPicture | None
    ) -> None:
        """Join the queue as soon as there is memory for this picture beside those that are under way."""
        while True:
            freed = self._admission.place_freed()
            try:
                await join_queue(self._admission, place, picture, self._options, background=background)
            except QueueFull:
                await freed.wait()
            else:
                return
