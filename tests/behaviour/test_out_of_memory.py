"""No main memory: every stage tells it as what it is, for every format; nothing is called damaged, and no bug of ours.

The limit is that of the address space (``ulimit -v``), in a process of its own. Decoding, composing and encoding are
tried with more and more of it, from hardly any to enough.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from service.engines.protocol import RGB, Alpha
from tests.support.photos import encoded
from tests.support.running_service import Start
from tests.support.scripted_engine import ScriptedEngine

AT_ONCE = "glibc.malloc.mmap_threshold=65536:glibc.malloc.trim_threshold=65536:glibc.malloc.arena_max=1"
"""The C library returns what is freed, so that the limit says how much there is."""

LIMITED = """
import re, resource, sys

def address_space():
    return int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10

def limited(megabytes):
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + (megabytes << 20), resource.RLIM_INFINITY))

def unlimited():
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""

STAGES = (
    LIMITED
    + """
import numpy as np
from PIL import Image
from service.engines.protocol import OutOfMemory
from service.engines.unmixing import estimate_foreground
from service.host.memory import trim_heap
from service.host.out_of_memory import says_no_memory
from service.imaging import compose, encode
from service.imaging.decode import configure_pillow, decode
from service.imaging.options import Format, IMAGE_FORMATS, Options, Output
from service.imaging.picture import Picture
from tests.support import heic_files, photos

WIDTH, HEIGHT = 1024, 768
configure_pillow()
pixels = photos.photograph(WIDTH, HEIGHT)
rgba = np.dstack([pixels, pixels[..., 0]])
files = {name: photos.save(pixels, name) for name in photos.FORMATS}
files |= {name + " RGBA": photos.save(rgba, name) for name in ("WEBP", "AVIF")}
files["JPEG progressive"] = photos.save(pixels, "JPEG", progressive=True)
files["TIFF LZW"] = photos.save(pixels, "TIFF", compression="tiff_lzw")
files["HEIC"] = heic_files.grid(size=(WIDTH, HEIGHT), rows=12, columns=16, tiles=("left",) * 192)
ramp = np.linspace(0, 1, pixels[..., 0].size, dtype=np.float32).reshape(pixels.shape[:2])

def jobs():
    for name, data in files.items():
        yield f"decode {name}", lambda data=data: decode(data, max_pixels=10**7)
    for output in Output:
        colour = (1, 2, 3) if output is Output.COLOUR else None
        options = Options(output=output, colour=colour)
        yield f"compose {output.name}", lambda options=options: compose.compose(
            Picture(pixels),
            ramp,
            options,
            estimate_foreground,
            background=Picture(pixels) if options.output is Output.BACKGROUND else None,
        )
    for answer in IMAGE_FORMATS:
        shown = pixels if answer is Format.JPEG else rgba
        yield f"encode {answer.name}", lambda answer=answer, shown=shown: encode.encode(shown, answer)

for name, job in jobs():
    job()  # imports what it needs, and shows that it works
    outcomes = []
    for megabytes in (1, 2, 4, 6, 9, 13, 20, 30, 45, 200):
        trim_heap()
        limited(megabytes)
        try:
            job()
            outcomes.append("done")
        except Exception as error:
            told = says_no_memory(error) or isinstance(error, OutOfMemory)
            outcomes.append("no memory" if told else repr(error))
        finally:
            unlimited()
    print(name, *outcomes, sep="|", flush=True)
"""
)

SERVICE = (
    LIMITED
    + """
import asyncio
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from service.app import PARTS, create_app
from service.http import connection
from service.settings import Settings
from service.startup import configure_libraries
from tests.support.photos import encoded
from tests.support.scripted_engine import ScriptedEngine
from tests.support.waiting import until

async def main():
    configure_libraries()
    app = create_app(Settings(), engine=ScriptedEngine())
    server = TestServer(app)
    await server.start_server(**connection.OPTIONS)
    await until(lambda: app[PARTS].supervisor.ready)
    good = encoded(1600, 1200, "JPEG")
    async with ClientSession() as session:
        async def post():
            async with session.post(
                server.make_url("/process"), data=good, headers={"Content-Type": "image/jpeg"}
            ) as response:
                await response.read()
                return response.status, "Retry-After" in response.headers
        print("answer", *await post())
        limited(12)
        print("answer", *await post())
        unlimited()
        print("answer", *await post())
    await server.close()

asyncio.run(main())
"""
)


def run(code: str) -> list[str]:
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"GLIBC_TUNABLES": AT_ONCE},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.memory
def test_every_stage_says_that_there_is_no_memory_or_does_its_work() -> None:
    lines = [line.split("|") for line in run(STAGES)]
    assert len(lines) > 20
    for name, *outcomes in lines:
        assert set(outcomes) <= {"no memory", "done"}, (name, outcomes)
        if name not in ("compose MASK", "encode PNG"):  # they can do with a megabyte
            assert outcomes[0] == "no memory", name
        assert outcomes[-1] == "done", name


@pytest.mark.memory
def test_a_good_picture_without_memory_is_a_503_and_is_served_when_there_is_some_again() -> None:
    answers = [line.removeprefix("answer ") for line in run(SERVICE) if line.startswith("answer ")]
    assert answers == ["200 False", "503 True", "200 False"]


async def test_opencv_without_memory_is_a_503(start: Start) -> None:
    engine = ScriptedEngine()
    service = await start(engine)

    def fail(_: RGB) -> Alpha:
        raise cv2.error(
            "OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"
        )

    engine.on_infer = fail
    status, body, headers = await service.post(encoded())
    assert status == 503
    assert headers["Retry-After"]
    assert b"OpenCV" not in body
    assert service.value("device_errors_total", kind="oom") == 1
