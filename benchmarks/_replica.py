"""A real service whose pictures take a known time, as a process of its own: ``python -m benchmarks._replica PORT``.

``fleet`` starts one or several. A picture takes so long that three of them and their clients leave a small machine idle
most of the time: otherwise the machine would be measured, and not the queues.
"""

from __future__ import annotations

import asyncio
import sys

from benchmarks.goodput import QUEUE
from service.app import create_app
from service.server import serve
from service.settings import Settings
from service.startup import configure_libraries
from tests.behaviour.test_overload import taking
from tests.support.scripted_engine import ScriptedEngine

SECONDS_A_PICTURE = 0.2

if __name__ == "__main__":
    configure_libraries()
    engine = ScriptedEngine()
    engine.on_infer = taking(SECONDS_A_PICTURE)
    settings = Settings(host="127.0.0.1", port=int(sys.argv[1]), queue_size=QUEUE)
    sys.exit(asyncio.run(serve(settings, make_app=lambda settings: create_app(settings, engine=engine))))
