"""A GPU or codec thread that hangs: the endpoints, metrics and log report it, and then the process ends."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.support.photos import encoded
from tests.support.service_process import live

pytestmark = pytest.mark.process

PHOTO = encoded()
NOTICE = 1.0


def test_a_stuck_request_shows_in_every_report_and_ends_the_process(tmp_path: Path) -> None:
    with live(
        tmp_path,
        faults={"request": "hang"},
        request_timeout=1,
        hang_timeout=2.5,
        env={"STUCK_NOTICE": str(NOTICE)},
    ) as service:
        began = time.monotonic()
        posted = [service.posting(PHOTO) for _ in range(3)]
        service.until(lambda: service.metric("worker_busy") == 1)
        assert service.metric("inference_started_timestamp_seconds") == pytest.approx(time.time(), abs=5)
        assert (service.status("/readyz"), service.status("/livez")) == (200, 200)

        assert [answer.result().status for answer in posted] == [504] * 3
        service.until(lambda: service.status("/readyz") == 503)
        assert time.monotonic() - began < 2, "unready as soon as the job outlives the deadline"
        assert service.metric("ready") == 0
        assert service.status("/livez") == 200, "the job may still end"
        assert service.metric('http_requests_total{code="504",method="POST",route="/process"}') == 3
        assert service.metric('rejections_total{reason="timeout"}') == 3
        warm = service.ask("/warmup")
        assert warm.status == 500, "no client gets an answer"
        assert b'"failing"' in warm.body
        assert b'"job_hung"' in warm.body

        service.until(lambda: service.status("/livez") == 503)
        assert time.monotonic() - began > 2.5
        still_queued = service.posting(PHOTO)
        assert service.exit_code() == 1
        assert time.monotonic() - began < 2.5 + NOTICE + 2
        assert still_queued.result().status in {503, 504}
        [seen, ended] = service.log_messages("CRITICAL")
    assert "the GPU thread is stuck" in seen
    assert "a request has been running" in seen
    assert "2.5 s" in seen
    assert "ending the process" in ended


def test_a_stuck_job_that_ends_in_time_saves_the_process_and_its_places_come_back(tmp_path: Path) -> None:
    with live(
        tmp_path,
        faults={"request": "hang"},
        request_timeout=0.5,
        hang_timeout=1,
        queue_size=1,
        env={"STUCK_NOTICE": "60"},
    ) as service:
        assert [answer.result().status for answer in (service.posting(PHOTO), service.posting(PHOTO))] == [
            504
        ] * 2
        service.until(lambda: service.status("/livez") == 503)
        service.set_faults()
        service.until(lambda: service.status("/livez") == 200)
        service.until(lambda: service.status("/readyz") == 200)
        service.until(lambda: service.post(PHOTO).status == 200)
        assert service.metric("queue_depth") == service.metric("worker_busy") == 0


@pytest.mark.parametrize(
    ("stage", "settings", "reason"),
    [
        ("probe", {"warmup_timeout": 0.5, "hang_timeout": 1}, "a probe has been running"),
        ("load", {"load_timeout": 1}, "a load has been running"),
        ("prepare", {"load_timeout": 1}, "the preparation of the load has reported no progress"),
    ],
)
def test_a_stuck_probe_load_or_preparation_ends_the_process_as_well(
    tmp_path: Path, stage: str, settings: dict[str, float], reason: str
) -> None:
    with live(
        tmp_path, ready=False, faults={stage: "hang"}, env={"STUCK_NOTICE": str(NOTICE)}, **settings
    ) as service:
        service.until(lambda: service.status("/livez") == 200)
        waiting = service.posting(PHOTO)
        if stage == "probe":
            service.until(lambda: service.metric('warmup_runs_total{outcome="timeout"}') == 1)
            assert service.status("/warmup") == 500
        service.until(lambda: service.status("/livez") == 503)
        assert service.status("/readyz") == 503
        assert service.exit_code() == 1
        assert waiting.result().status == 503
        assert reason in service.log_messages("CRITICAL")[0]


@pytest.mark.parametrize("sender", ["request", "probe"])
def test_a_codec_thread_that_hangs_shows_as_what_it_is_and_ends_the_process(
    tmp_path: Path, sender: str
) -> None:
    with live(
        tmp_path,
        request_timeout=1,
        hang_timeout=2.5,
        warmup_interval=0.5,
        env={"STUCK_NOTICE": str(NOTICE)},
    ) as service:
        assert service.metric("codec_oldest_job_started_timestamp_seconds") == 0
        service.set_faults(**{f"codec_{sender}": "hang"})
        posted = [service.posting(PHOTO) for _ in range(3)]
        statuses = {answer.result().status for answer in posted}
        assert statuses == ({504} if sender == "request" else {200})
        # Jobs that end come and go before the one that hangs.
        service.until(
            lambda: (
                time.time() - 5
                < service.metric("codec_oldest_job_started_timestamp_seconds")
                < time.time() - 0.5
            )
        )
        assert service.status("/livez") == 200, "the job may still end"

        service.until(lambda: service.status("/livez") == 503)
        dead = json.loads(service.ask("/livez").body)
        assert dead["reason"].startswith("a codec thread (decoding and encoding of pictures) is stuck")
        assert f"the work for a {sender} has been running" in dead["reason"]
        assert service.exit_code() == 1
        [seen, ended] = service.log_messages("CRITICAL")
    assert "a codec thread" in seen
    assert "GPU" not in seen + ended
    assert "ending the process" in ended
