"""The two sides of ``benchmarks.batch`` with an engine that returns at once: the service, and the command ``cut``.

``python -m benchmarks._batch_side serve`` listens on ``INSPYRENET_PORT``; ``... cut INPUT --to FOLDER`` is the command.
Everything but the engine must be real.
"""

from __future__ import annotations

import asyncio
import os
import sys

import numpy as np

from service.app import create_app
from service.cli import commands, cut
from service.engines.protocol import RGB, Alpha
from service.server import serve
from service.settings_reader import load_settings
from service.startup import configure_libraries
from tests.support.scripted_engine import ScriptedEngine


def gradient(image: RGB) -> Alpha:
    """A mask that costs nothing to make, and something to encode."""
    height, width = image.shape[:2]
    return np.broadcast_to(np.linspace(0, 1, width, dtype=np.float32), (height, width)).copy()


def instant_engine(_: object = None) -> ScriptedEngine:
    engine = ScriptedEngine()
    engine.on_infer = gradient
    return engine


def main(argv: list[str]) -> int:
    if argv[0] == "cut":
        return cut.run(commands.parse(argv), os.environ, make_engine=instant_engine)
    configure_libraries()
    settings, _ = load_settings({}, os.environ)
    return asyncio.run(
        serve(settings, make_app=lambda settings: create_app(settings, engine=instant_engine()))
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
