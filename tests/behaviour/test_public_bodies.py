"""Nothing that everyone may read names a path of the server's disk, however the service fails; the log does."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from pathlib import Path

import pytest

from service.engines.build import build_engine
from service.engines.fallback import EngineWithFallback
from service.engines.protocol import (
    ConfigurationError,
    DeviceError,
    OutOfMemory,
    WeightsUnavailable,
)
from tests.support.photos import encoded
from tests.support.running_service import Service, Start
from tests.support.scripted_engine import ScriptedEngine

SECRET = Path("/srv/jane doe/models/ckpt.pth")
FAILURES: dict[str, Exception] = {
    "weights": WeightsUnavailable(f"{SECRET} is truncated; download it again", SECRET),
    "configuration": ConfigurationError(f"INSPYRENET_WEIGHTS={SECRET}: that cannot work", SECRET),
    "device": DeviceError("CUDA error in /srv/jane/torch/Copy.cu:7", sticky=False),
    "memory": OutOfMemory("/srv/jane/torch/alloc.cpp:1: no memory"),
    "system": PermissionError(13, "Permission denied", str(SECRET)),
    "library": RuntimeError("open file failed because of errno 2: /srv/jane/lib/a.so"),
    "import": ImportError("cannot import name 'x' from 'y' (/srv/jane/lib/y.py)"),
}
STEPS = ("on_prepare", "on_load", "on_infer", "on_settle")
PAGES = ("/warmup", "/status", "/readyz", "/livez", "/metrics", "/", "/docs", "/openapi.json", "/nothing")
PATH = re.compile(r"/(?:home|opt|usr|tmp|var|etc|root|srv|work|mnt)/|site-packages|jane")


async def everything_public(service: Service) -> str:
    bodies = []
    for page in PAGES:
        async with service.client.get(page) as response:
            bodies.append(await response.text())
    for path, data in (("/warmup", b""), ("/process", encoded(8, 8)), ("/process", b"junk")):
        _, body, headers = await service.post(data, path)
        bodies += [
            body.decode("latin-1") if headers["Content-Type"] == "application/json" else "",
            str(headers),
        ]
    return "\n".join(bodies)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("failure", FAILURES)
async def test_no_failure_shows_a_path_to_everyone_and_the_log_shows_it(
    start: Start, step: str, failure: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = FAILURES[failure]

    def fail(*_: object) -> None:
        raise error

    engine = ScriptedEngine()
    setattr(engine, step, fail)
    service = await start(engine, wait=False, warmup_interval=0.05)
    await service.until(
        lambda: (
            service.value("warmup_success") == 0 and service.parts.supervisor.snapshot().failure is not None
        )
    )
    found = await everything_public(service)
    assert not PATH.search(found), found
    assert "/srv/jane" in capsys.readouterr().out


@pytest.fixture(params=["missing", "empty"])
def unusable(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where the weights should be. The path has a space."""
    path = tmp_path / "some where" / f"{request.param}.pth"
    path.parent.mkdir()
    if request.param == "empty":
        path.touch()
    return path


async def test_a_fallback_says_why_without_the_path(start: Start, unusable: Path) -> None:
    build = partial(
        build_engine, engine="inspyrenet", mode="base", resize="dynamic", weights=str(unusable), device="cpu",
        precision="fp32", max_model_pixels=1 << 20,
    )  # fmt: skip
    preferred = await asyncio.to_thread(build)
    service = await start(EngineWithFallback(preferred, make_fallback=ScriptedEngine), requested="auto")
    async with service.client.get("/warmup") as response:
        answer = await response.json()
    assert answer["fallback"] is True
    assert answer["fallback_reason"].startswith("inspyrenet has no weights: ")
    assert unusable.name in answer["fallback_reason"], "the name of the file helps, and gives nothing away"
    assert str(unusable.parent) not in await everything_public(service)
