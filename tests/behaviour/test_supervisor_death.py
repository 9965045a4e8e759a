"""A supervisor that is cancelled or whose parts raise is restarted and counted, and clients are served meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from supervisor import guard
from tests.support.photos import encoded
from tests.support.running_service import Service, Start
from tests.support.scripted_engine import ScriptedEngine, disc

PHOTO = encoded()


@pytest.fixture(autouse=True)
def short_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "RESTART_SECONDS", 0.2)


async def statuses(service: Service) -> dict[str, int]:
    found = {}
    for path in ("/warmup", "/readyz", "/livez"):
        async with service.client.get(path) as response:
            found[path] = response.status
    return found


def supervising() -> asyncio.Task[object]:
    return next(task for task in asyncio.all_tasks() if task.get_name() == "warmup supervisor")


async def test_a_cancelled_supervisor_is_restarted_and_counted_and_process_goes_on(start: Start) -> None:
    service = await start()
    for deaths in (1, 2):
        supervising().cancel()
        await service.until(lambda: service.value("warmup_supervisor_up") == 0)
        assert await statuses(service) == {"/warmup": 503, "/readyz": 200, "/livez": 200}
        assert (await service.post(PHOTO))[0] == 200
        await service.until(lambda: service.value("warmup_supervisor_up") == 1)
        assert service.value("warmup_supervisor_restarts_total") == deaths
        assert await statuses(service) == {"/warmup": 200, "/readyz": 200, "/livez": 200}


async def test_clients_get_their_own_pictures_while_the_supervisor_is_down(start: Start) -> None:
    service = await start()
    _, alone, _ = await service.post(PHOTO)
    supervising().cancel()
    answers = await asyncio.gather(*(service.post(PHOTO) for _ in range(8)))
    assert [status for status, _, _ in answers] == [200] * 8
    assert {body for _, body, _ in answers} == {alone}


ANYTHING = [
    RuntimeError("boom"), MemoryError(), RecursionError(), StopIteration(), StopAsyncIteration(), TimeoutError(),
    OSError(28, "No space left on device"), SystemExit(1), KeyboardInterrupt(), GeneratorExit(),
    asyncio.CancelledError(),
]  # fmt: skip


@pytest.mark.parametrize("error", ANYTHING, ids=repr)
@pytest.mark.parametrize("where", ["on_prepare", "on_load", "on_infer"])
async def test_an_engine_that_raises_anything_is_reported_counted_and_tried_again(
    start: Start, where: str, error: BaseException
) -> None:
    engine = ScriptedEngine()
    works: Callable[..., object] = getattr(engine, where)

    def fail(*_: object) -> None:
        raise error

    setattr(engine, where, fail)
    service = await start(engine, wait=False, warmup_interval=0.05)
    outcome = "oom" if isinstance(error, MemoryError) else "error"
    await service.until(lambda: service.value("warmup_runs_total", outcome=outcome) >= 2)
    assert (await statuses(service))["/readyz"] == 503
    assert service.value("warmup_supervisor_up") == 1
    setattr(engine, where, works)
    await service.ready()
    assert (await service.post(PHOTO))[0] == 200
    assert service.value("warmup_supervisor_restarts_total") == 0


async def test_a_supervisor_whose_log_raises_is_restarted_until_the_log_works_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supervisor import recorder

    service = await start(warmup_interval=0.05)

    class Broken:
        def __getattr__(self, _: str) -> Callable[..., None]:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(recorder, "_log", Broken())
        patch.setattr(guard, "_log", Broken())
        await service.until(lambda: service.value("warmup_supervisor_restarts_total") >= 2)
        assert (await service.post(PHOTO))[0] == 200
    before = service.value("warmup_runs_total", outcome="success")
    await service.until(lambda: service.value("warmup_runs_total", outcome="success") >= before + 2)
    assert await statuses(service) == {"/warmup": 200, "/readyz": 200, "/livez": 200}


async def test_a_client_that_waits_for_a_probe_is_answered_even_if_the_log_raises(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supervisor import recorder

    engine = ScriptedEngine()
    service = await start(engine, warmup_interval=3600)
    await service.until(lambda: not service.device_thread.busy)

    def fail(_: object) -> None:
        raise RuntimeError("boom")

    class Broken:
        def __getattr__(self, _: str) -> Callable[..., None]:
            raise OSError(28, "No space left on device")

    engine.on_infer = fail  # type: ignore[assignment]
    monkeypatch.setattr(recorder, "_log", Broken())
    async with asyncio.timeout(20):
        status = 200
        while status == 200:  # the last success is at first recent enough to be the answer
            async with service.client.post("/warmup") as response:
                status = response.status
    assert status == 500
    engine.on_infer = disc
