"""The metrics and log lines of a running service that only the complete application can produce."""

from __future__ import annotations

import asyncio
import socket
import threading
from importlib.metadata import version
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from metrics.catalogue import STAGES
from service.engines.protocol import RGB, Alpha
from service.imaging import deflate
from service.imaging.formats import jpeg_pixels
from service.native import library
from service.version import __version__
from tests.support.photos import encoded
from tests.support.running_service import Start
from tests.support.scripted_engine import WEIGHTS_HASH, Hold, ScriptedEngine
from tests.support.service_process import live

TORCH = version("torch")  # read here, because reading the file would block the event loop


async def test_a_picture_is_counted_once_in_every_stage_and_in_its_size(start: Start) -> None:
    service = await start()
    assert [service.value("stage_duration_seconds_count", stage=stage) for stage in STAGES] == [0] * 5
    assert (await service.post(encoded(40, 30)))[0] == 200
    assert [service.value("stage_duration_seconds_count", stage=stage) for stage in STAGES] == [1] * 5
    assert service.value("input_pixels_count") == 1
    assert service.value("input_pixels_sum") == 40 * 30


async def test_info_metrics_name_the_loaded_engine_and_the_build(start: Start) -> None:
    service = await start()
    loaded = {"mode": "base", "resize": "dynamic", "device": "cpu", "weights_hash": WEIGHTS_HASH}
    loaded |= {"precision": "fp32", "precision_reason": "asked for"}
    assert service.value("engine_info", engine="inspyrenet", fallback="false", **loaded) == 1
    build = {
        "version": __version__,
        "torch": TORCH,
        "deflate": deflate.in_use(),
        "jpeg": jpeg_pixels.in_use(),
        "loops": library.in_use(),
    }
    assert service.value("build_info", **build) == 1


async def test_gauges_show_the_state_of_the_worker_and_the_device(start: Start, photo: bytes) -> None:
    class WithMemory(ScriptedEngine):
        def memory(self) -> dict[str, int]:
            return {"allocated": 300 + len(self.seen), "reserved": 4000}

    engine, hold = WithMemory(), Hold()
    service = await start(engine, queue_size=3)
    assert service.value("queue_capacity") == 3
    assert (service.value("worker_busy"), service.value("queue_depth")) == (0, 0)
    assert service.value("expected_wait_seconds") == 0
    assert service.value("inference_started_timestamp_seconds") == 0
    engine.on_infer = hold
    posted = [asyncio.create_task(service.post(photo)) for _ in range(2)]
    await service.until(lambda: hold.reached.is_set() and service.value("queue_depth") == 1)
    assert service.value("worker_busy") == 1
    assert service.value("expected_wait_seconds") > 0, "the first probe has told how long a picture takes"
    assert service.value("inference_started_timestamp_seconds") > 0
    assert service.value("device_memory_bytes", kind="allocated") == 300 + len(engine.seen)
    assert service.value("device_memory_bytes", kind="reserved") == 4000
    hold.release.set()
    assert [status for status, _, _ in await asyncio.gather(*posted)] == [200, 200]


async def test_the_queue_depth_counts_accepted_pictures_whose_turn_has_not_come(
    start: Start, photo: bytes
) -> None:
    """Neither uploads, nor the running picture, nor one that is encoded, nor one whose client has its answer."""
    engine, hold, encoding = ScriptedEngine(), Hold(), threading.Event()
    encoding_began = threading.Event()

    def slow_foreground(image: RGB, alpha: Alpha) -> RGB:
        encoding_began.set()
        assert encoding.wait(60)
        return image

    service = await start(engine, queue_size=5, warmup_interval=3600)
    engine.foreground = slow_foreground  # type: ignore[method-assign]
    finishing = asyncio.create_task(service.post(photo))
    await service.until(encoding_began.is_set)
    assert service.value("queue_depth") == 0, "one is encoded"
    with service.admission.take_place():
        assert service.value("queue_depth") == 0, "one is uploaded"
        engine.on_infer = hold
        running = asyncio.create_task(service.post(photo))
        await service.until(hold.reached.is_set)
        assert service.value("queue_depth") == 0, "one runs"
        waiting = asyncio.create_task(service.post(photo))
        await service.until(lambda: service.device_thread.waiting == 1)
        assert service.value("queue_depth") == 1
    running.cancel()
    await service.until(lambda: service.admission.clients == 2)
    assert service.value("queue_depth") == 1, "the running one is abandoned"
    hold.release.set()
    encoding.set()
    assert [(await task)[0] for task in (finishing, waiting)] == [200, 200]
    assert service.value("queue_depth") == 0


async def test_the_queue_depth_stays_within_the_capacity_while_nothing_runs(
    start: Start, photo: bytes
) -> None:
    """There is a place for each waiting picture and for the running one; before the first proof none runs."""
    engine, loading = ScriptedEngine(), threading.Event()
    engine.on_load = lambda: (loading.wait(60), None)[1]
    service = await start(engine, wait=False, queue_size=2)
    posted = [asyncio.create_task(service.post(photo)) for _ in range(3)]
    await service.until(lambda: service.device_thread.waiting == 3)
    assert service.value("queue_depth") == service.value("queue_capacity") == 2
    loading.set()
    assert [status for status, _, _ in await asyncio.gather(*posted)] == [200] * 3


@pytest.mark.parametrize(
    ("method", "path", "lines"),
    [
        ("POST", "/process", 1),
        ("POST", "/warmup", 1),
        ("GET", "/warmup", 0),
        ("GET", "/livez", 0),
        ("GET", "/readyz", 0),
        ("GET", "/metrics", 0),
        ("GET", "/status", 0),
    ],
)
async def test_the_access_log_has_lines_for_posts_and_none_for_polled_routes(
    start: Start, photo: bytes, method: str, path: str, lines: int
) -> None:
    service = await start()
    with capture_logs() as logs:
        body = photo if path == "/process" else None
        async with service.client.request(
            method, path, data=body, headers={"Content-Type": "image/png"}
        ) as response:
            await response.read()
        await service.until(lambda: service.value("http_requests_in_progress", route=path) == 0)
    found = [(line["method"], line["route"], line["status"]) for line in logs if line["event"] == "request"]
    assert found == [(method, path, 200)] * lines


@pytest.mark.process
def test_a_package_that_is_not_installed_is_named_in_the_log_and_the_metric_says_what_is_used(
    tmp_path: Path,
) -> None:
    (tmp_path / "simplejpeg.py").write_text("raise ImportError")
    (tmp_path / "inspyrenet_native.so").write_text("no library")
    with live(tmp_path, warmup_size=64, env={"PYTHONPATH": str(tmp_path)}) as service:
        scrape = service.ask("/metrics").body.decode()
        assert 'jpeg="pillow ' in scrape
        assert 'loops="NumPy"' in scrape
        service.terminate()
        assert service.exit_code() == 0
        assert any("listening" in line and " pillow " in line for line in service.log_messages("INFO"))
        assert any("['simplejpeg']" in line for line in service.log_messages("WARNING"))
        assert any("run in NumPy" in line for line in service.log_messages("WARNING"))


@pytest.mark.process
def test_the_server_notices_that_a_client_leaves_the_queue(tmp_path: Path) -> None:
    photo = encoded()
    with live(tmp_path, faults={"request": "hang"}, warmup_size=64, warmup_interval=3600) as service:
        working = service.posting(photo)
        service.until(lambda: service.metric("worker_busy") == 1)
        with socket.create_connection(("127.0.0.1", service.port)) as waiting:
            head = f"POST /process HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(photo)}"
            waiting.sendall(head.encode() + b"\r\n\r\n" + photo)
            service.until(lambda: service.metric("queue_depth") == 1)
        service.until(lambda: service.metric('client_disconnects_total{stage="queue"}') == 1, seconds=10)
        assert service.metric("queue_depth") == 0
        service.set_faults()
        assert working.result().status == 200
