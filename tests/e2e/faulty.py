"""The service with an engine whose faults a file switches on and off: ``python -m tests.e2e.faulty FILE``.

Everything but the engine is the real service, composed where it always is; settings come from the environment.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import numpy as np
from aiohttp import web

from service import logs, server
from service.app import PARTS, create_app
from service.engines.protocol import RGB, Alpha, OutOfMemory
from service.settings import Settings
from service.settings_reader import load_settings
from service.startup import configure_libraries
from supervisor import guarded
from tests.support.scripted_engine import ScriptedEngine, disc

POLL_SECONDS = 0.02


class FaultyEngine(ScriptedEngine):
    """Works, until the file names a fault."""

    def __init__(self, switch: Path) -> None:
        super().__init__()
        self._switch = switch
        self.on_infer = self._infer

    def fault(self) -> str:
        return self._switch.read_text().strip()

    def _infer(self, image: RGB) -> Alpha:
        match self.fault():
            case "raising":
                raise RuntimeError("height and width must be > 0")
            case "bad output":
                return np.full(image.shape[:2], np.nan, np.float32)
            case "out of memory":
                raise OutOfMemory("the device has no room")
            case "hung":
                while self.fault() == "hung":
                    time.sleep(POLL_SECONDS)
        return disc(image)


async def strike(engine: FaultyEngine, apps: list[web.Application]) -> None:
    """Kill the supervisor when the file says so, once or for good; bring it back when the file is empty."""
    done, kept = "", []
    while True:
        await asyncio.sleep(POLL_SECONDS)
        fault = engine.fault()
        if fault == done or not apps:
            continue
        tasks = {task.get_name(): task for task in asyncio.all_tasks()}
        if fault == "supervisor killed":
            tasks["warmup supervisor"].cancel()
        elif fault == "supervisor dead":
            tasks["warmup guard"].cancel()
        elif done == "supervisor dead":
            kept.append(guarded(apps[0][PARTS].supervisor))
            await kept[0].__aenter__()
        done = fault


async def main(switch: Path) -> int:
    settings, _ = load_settings({}, os.environ)
    logs.configure("json", project=None)
    configure_libraries()
    engine = FaultyEngine(switch)
    apps: list[web.Application] = []

    def app_with_faults(settings: Settings) -> web.Application:
        apps.append(create_app(settings, engine=engine))
        return apps[0]

    striking = asyncio.create_task(strike(engine, apps), name="strike")
    code = await server.serve(settings, make_app=app_with_faults)
    striking.cancel()
    return code


if __name__ == "__main__":
    runner = asyncio.Runner()
    os._exit(runner.run(main(Path(sys.argv[1]))))
