"""Engines for workers on a Ray cluster: each worker imports this module and makes its own.

``tests/service/cli/test_cluster_run.py`` names these functions. The process of each worker notes its id in the folder
``CUT_PIDS``, so that a test can kill it.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from service.engines.protocol import RGB, Alpha, WeightsUnavailable
from service.settings import Settings
from tests.support.scripted_engine import ScriptedEngine, disc

DEADLY = (40, 30)
"""Width and height of a picture that ends the process."""


def steady(_: Settings) -> ScriptedEngine:
    """Takes a little while for each picture, so that a worker can be killed in the middle of its work."""
    (Path(os.environ["CUT_PIDS"]) / str(os.getpid())).touch()
    engine = ScriptedEngine()
    engine.on_infer = _slowly
    return engine


def mortal(_: Settings) -> ScriptedEngine:
    """Ends the process at one picture."""
    engine = ScriptedEngine()
    engine.on_infer = _until_the_deadly_one
    return engine


def without_weights(_: Settings) -> ScriptedEngine:
    """Cannot be loaded."""
    engine = ScriptedEngine()
    engine.on_prepare = _no_weights
    return engine


def interrupting(_: Settings) -> ScriptedEngine:
    """Sends this process a SIGTERM while it is loaded."""
    engine = ScriptedEngine()
    engine.on_load = _terminate
    return engine


def _terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _slowly(image: RGB) -> Alpha:
    time.sleep(0.05)
    return disc(image)


def _until_the_deadly_one(image: RGB) -> Alpha:
    if (image.shape[1], image.shape[0]) == DEADLY:
        os._exit(9)
    return disc(image)


def _no_weights() -> None:
    raise WeightsUnavailable("There are no weights here.")
