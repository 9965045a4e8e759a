"""The service with an engine whose faults a file switches: ``python -m tests.support.faulty_service FILE``.

The file holds a JSON object: where (``prepare``, ``load``, ``probe``, ``request``) -> what (``hang``, ``sleep 0.5``,
``oom``, ``sticky``, ``raise``). It is read at every call, and a hang ends when its entry goes. Settings come from the
environment; ``STUCK_NOTICE`` shortens the ten seconds for which a stuck process shows itself before it ends.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from aiohttp import web

from service import logs, startup
from service.app import create_app
from service.cli.serve import serve
from service.engines.protocol import RGB, Alpha, ConfigurationError, DeviceError, OutOfMemory
from service.lifecycle import STUCK_NOTICE_SECONDS, Lifecycle
from service.settings import Settings
from service.settings_reader import load_settings
from tests.support.scripted_engine import ScriptedEngine, disc

CANARY = (64, 64)
POLL_SECONDS = 0.02


class SwitchedEngine(ScriptedEngine):
    """Works, until the file says otherwise."""

    def __init__(self, switch: Path) -> None:
        super().__init__()
        self._switch = switch
        self.on_prepare = lambda: self._act("prepare")
        self.on_load = lambda: self._act("load")
        self.on_infer = self._infer

    def _fault(self, where: str) -> str:
        fault = json.loads(self._switch.read_text()).get(where, "")
        assert isinstance(fault, str)
        return fault

    def _act(self, where: str) -> None:
        match (fault := self._fault(where)).split():
            case ["hang"]:
                while self._fault(where) == fault:
                    time.sleep(POLL_SECONDS)
            case ["sleep", seconds]:
                time.sleep(float(seconds))
            case ["oom"]:
                raise OutOfMemory("the device has no room")
            case ["sticky"]:
                raise DeviceError("an illegal memory access was encountered", sticky=True)
            case ["missing"]:
                raise ConfigurationError("INSPYRENET_DEVICE=cuda:7: there is no CUDA device here")
            case ["raise"]:
                raise RuntimeError("boom")

    def _infer(self, image: RGB) -> Alpha:
        self._act("probe" if image.shape[:2] == CANARY else "request")
        return disc(image)


def main() -> None:
    settings, _ = load_settings({}, os.environ)
    logs.configure("json", project=None)
    engine = SwitchedEngine(Path(sys.argv[1]))
    notice = float(os.environ.get("STUCK_NOTICE", STUCK_NOTICE_SECONDS))

    def app_with_faults(settings: Settings) -> web.Application:
        lifecycle = Lifecycle(drain_timeout=settings.drain_timeout, stuck_notice=notice)
        return create_app(settings, engine=engine, lifecycle=lifecycle)

    serve(settings, make_app=app_with_faults)


if __name__ == "__main__":
    startup.prepare_to_serve()
    main()
