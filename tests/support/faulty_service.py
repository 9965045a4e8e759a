"""The real service around an engine with faults that a file controls: ``python -m tests.support.faulty_service FILE``.

``service_process`` starts it. The file holds a JSON object: place -> fault. It is read again at every use, so a test
can switch faults on and off while the service runs. A hang ends when its entry is removed.

* ``prepare``, ``load``: the steps of a load.
* ``probe``, ``request``: a picture in the device thread. A picture of the canary's default size counts as a probe,
  every other one as a request. ``photograph``, ``panorama``: only the requests and proofs whose model input is that of
  a photograph, or is wider.
* ``codec_probe``, ``codec_request``, ``codec_photograph``, ``codec_panorama``: the same in a codec thread, when the
  cut-out is made.
* Their faults: ``hang``, ``sleep SECONDS``, ``raise``, ``oom``, ``sticky`` (only a restart would help), ``no device``;
  for a picture also ``bad mask`` (not finite) and ``zeros``.
* ``supervisor``: ``kill`` ends the coroutine of the warmup supervisor once, and its guard restarts it.
  ``kill for good`` ends the guard as well, until the entry is removed.

Everything but the engine must be the real thing, built by ``service.app``; the settings come from the environment. The
environment variable ``STUCK_NOTICE`` replaces the ten seconds for which a stuck process reports itself before it ends,
``HEARTBEAT`` the five seconds within which the supervisor's heartbeat moves.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import numpy as np
from aiohttp import web

from service import logs, startup
from service.app import PARTS, create_app
from service.cli.serve import serve
from service.engines.protocol import RGB, Alpha, ConfigurationError, DeviceError, OutOfMemory
from service.http import platforms
from service.lifecycle import STUCK_NOTICE_SECONDS, Lifecycle
from service.server import start_tracing
from service.settings import Settings
from service.settings_reader import load_settings
from service.tracing.requested import traces_requested
from service.tracing.spans import OFF
from supervisor import guarded, supervisor
from tests.support.scripted_engine import LONGEST_SIDE, ScriptedEngine, disc

CANARY = (64, 64)
WIDEST_SIDE = 512
"""Pixels of a model input: of a panorama. A photograph's model input is ``LONGEST_SIDE`` squared."""
POLL_SECONDS = 0.02


class Faults:
    """The file, read at every call."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def at(self, place: str) -> str:
        """The fault of a place; empty if there is none."""
        fault = json.loads(self._file.read_text()).get(place, "")
        assert isinstance(fault, str)
        return fault


class FaultyEngine(ScriptedEngine):
    """Works until the file names a fault."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self._faults = faults
        self.on_prepare = partial(self._act, "prepare")
        self.on_load = partial(self._act, "load")
        self.on_infer = self._infer
        self.on_size = model_input_size

    def foreground(self, image: RGB, alpha: Alpha) -> RGB:
        self._act(self._place(image, "codec_"))
        return super().foreground(image, alpha)

    def _infer(self, image: RGB) -> Alpha:
        place = self._place(image)
        self._act(place)
        match self._faults.at(place):
            case "bad mask":
                return np.full(image.shape[:2], np.nan, np.float32)
            case "zeros":
                return np.zeros(image.shape[:2], np.float32)
        return disc(image)

    def _place(self, image: RGB, prefix: str = "") -> str:
        """The place of this picture: the first that has a fault, else any."""
        places = [prefix + place for place in places_of(image)]
        return next((place for place in places if self._faults.at(place)), places[0])

    def _act(self, place: str) -> None:
        match (fault := self._faults.at(place)).split():
            case ["hang"]:
                while self._faults.at(place) == fault:
                    time.sleep(POLL_SECONDS)
            case ["sleep", seconds]:
                time.sleep(float(seconds))
            case ["raise"]:
                raise RuntimeError("height and width must be > 0")
            case ["oom"]:
                raise OutOfMemory("the device has no room")
            case ["sticky"]:
                raise DeviceError("an illegal memory access was encountered", sticky=True)
            case ["no", "device"]:
                raise ConfigurationError("INSPYRENET_DEVICE=cuda:7: there is no CUDA device here")


def model_input_size(width: int, height: int) -> tuple[int, int]:
    """A picture's own size up to 256 pixels a side; only a low picture may be wider."""
    widest = WIDEST_SIDE if height < LONGEST_SIDE else LONGEST_SIDE
    return min(width, widest), min(height, LONGEST_SIDE)


def places_of(image: RGB) -> list[str]:
    """The places whose faults this picture meets, the most special one first."""
    height, width = image.shape[:2]
    if (height, width) == CANARY:
        return ["probe"]
    model_input = model_input_size(width, height)
    if model_input == (LONGEST_SIDE, LONGEST_SIDE):
        return ["photograph", "request"]
    return ["panorama", "request"] if model_input[0] > LONGEST_SIDE else ["request"]


async def switch_supervisor(app: web.Application, faults: Faults) -> None:
    """Kill the supervisor when the file says so; guard it again when the entry is removed."""
    current = ""
    async with AsyncExitStack() as repairs:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if (fault := faults.at("supervisor")) == current:
                continue
            tasks = {task.get_name(): task for task in asyncio.all_tasks()}
            if fault == "kill":
                tasks["warmup supervisor"].cancel()
            elif fault == "kill for good":
                tasks["warmup guard"].cancel()
            elif current == "kill for good":
                await repairs.enter_async_context(guarded(app[PARTS].supervisor))
            current = fault


def main(file: Path) -> None:
    """Serve until told to stop."""
    faults = Faults(file)

    def create_faulty_app(settings: Settings) -> web.Application:
        notice = float(os.environ.get("STUCK_NOTICE", STUCK_NOTICE_SECONDS))
        lifecycle = Lifecycle(drain_timeout=settings.drain_timeout, stuck_notice=notice)
        platform = platforms.find(settings.platform, os.environ)
        make_tracer = start_tracing if traces_requested(os.environ) else (lambda _: OFF)
        app = create_app(
            settings,
            engine=FaultyEngine(faults),
            lifecycle=lifecycle,
            platform=platform,
            make_tracer=make_tracer,
        )
        app.cleanup_ctx.append(switching)
        return app

    @asynccontextmanager
    async def switching(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(switch_supervisor(app, faults), name="faults of the supervisor")
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    # The end-to-end tests divide every duration by sixty; this one is neither a setting nor an argument.
    supervisor.HEARTBEAT_SECONDS = float(os.environ.get("HEARTBEAT", supervisor.HEARTBEAT_SECONDS))
    settings, _ = load_settings({}, os.environ)
    logs.configure("json", project=None)
    serve(settings, make_app=create_faulty_app)


if __name__ == "__main__":
    startup.prepare_to_serve([], os.environ)
    main(Path(sys.argv[1]))
