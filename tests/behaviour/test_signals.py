"""SIGTERM to the service as a process: every accepted request gets an answer, and the process ends in time."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tests.support.photos import encoded
from tests.support.service_process import live

pytestmark = pytest.mark.process

PHOTO = encoded()
LARGE = encoded(256, 200)
"""Its time is not taken for that of a canary."""
GRACE = 4.0
SLACK = 1.0
"""Seconds that a busy machine may need beyond what the service promises."""


@pytest.mark.parametrize("stage", ["prepare", "load", "probe"])
def test_a_service_that_is_not_warm_ends_promptly_and_answers_waiting_requests(
    tmp_path: Path, stage: str
) -> None:
    with live(tmp_path, ready=False, faults={stage: "hang"}, drain_timeout=GRACE) as service:
        service.until(lambda: service.status("/livez") == 200)
        waiting = service.posting(PHOTO)
        service.until(lambda: service.metric('http_requests_in_progress{route="/process"}') == 1)
        if stage == "probe":  # until the probe runs, the service is still loading
            service.until(lambda: service.metric("inference_started_timestamp_seconds") > 0)
        sent = service.terminate()
        answer = waiting.result(timeout=10)
        assert service.exit_code() == 0, "nothing was accepted that could have been served"
        took = time.monotonic() - sent
    assert (answer.status, answer.code) == (503, "draining")
    assert answer.headers["Retry-After"]
    assert took < 1.0 + SLACK


def test_accepted_work_finishes_and_late_requests_are_served_while_they_fit(
    tmp_path: Path,
) -> None:
    with live(tmp_path, faults={"request": "sleep 0.5"}, drain_timeout=GRACE) as service:
        assert service.post(PHOTO).status == 200
        accepted = [service.posting(PHOTO) for _ in range(3)]
        service.until(lambda: service.metric('http_requests_in_progress{route="/process"}') == 3)
        sent = service.terminate()
        service.until(lambda: service.status("/readyz") == 503)
        late = service.ask("/process", method="POST", body=PHOTO)
        assert service.ask("/livez").status == 200
        assert [answer.result().status for answer in accepted] == [200, 200, 200]
        assert (late.status, late.headers["Connection"]) == (200, "close")
        assert service.exit_code() == 0
        assert time.monotonic() - sent < GRACE + SLACK
        assert service.log_messages("ERROR") == service.log_messages("CRITICAL") == []


def test_work_that_no_longer_fits_the_grace_is_503_at_once(tmp_path: Path) -> None:
    with live(tmp_path, faults={"request": "sleep 1.5"}, drain_timeout=GRACE) as service:
        assert service.post(LARGE).status == 200
        accepted = [service.posting(LARGE) for _ in range(2)]
        service.until(lambda: service.metric("queue_depth") == 1)
        service.terminate()
        service.until(lambda: service.status("/readyz") == 503)
        began = time.monotonic()
        late = service.post(LARGE)
        assert time.monotonic() - began < 1
        assert (late.status, late.code, late.headers["Connection"]) == (503, "draining", "close")
        assert late.headers["Retry-After"]
        assert [answer.result().status for answer in accepted] == [200, 200]
        assert service.exit_code() == 0


def test_waiting_requests_get_an_answer_at_the_end_of_the_grace(tmp_path: Path) -> None:
    with live(tmp_path, faults={"request": "hang"}, drain_timeout=2) as service:
        accepted = [service.posting(PHOTO) for _ in range(4)]
        service.until(lambda: service.metric("queue_depth") == 3)
        sent = service.terminate()
        answers = [answer.result(timeout=10) for answer in accepted]
        assert service.exit_code() == 1, "work was cut off"
        assert time.monotonic() - sent < 2 + SLACK
    assert [(answer.status, answer.code) for answer in answers] == [(503, "draining")] * 4


def test_an_upload_that_does_not_end_gets_503_and_is_no_lost_work(tmp_path: Path) -> None:
    with live(tmp_path, drain_timeout=2) as service:
        with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
            client.sendall(
                b"POST /process HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9999\r\n\r\n\x89PNG"
            )
            service.until(lambda: service.metric('http_requests_in_progress{route="/process"}') == 1)
            service.terminate()
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 503")
        assert b'"code": "draining"' in answer
        assert service.exit_code() == 0


def test_a_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    with live(tmp_path, faults={"request": "hang"}, drain_timeout=30) as service:
        accepted = service.posting(PHOTO)
        service.until(lambda: service.metric("worker_busy") == 1)
        service.terminate()
        service.until(lambda: service.status("/readyz") == 503)
        sent = service.terminate()
        assert accepted.result(timeout=10).status == 503
        assert service.exit_code() == 1
        assert time.monotonic() - sent < 1 + SLACK


def test_an_abandoned_job_does_not_delay_the_end(tmp_path: Path) -> None:
    with live(tmp_path, faults={"request": "hang"}, drain_timeout=30, request_timeout=0.3) as service:
        assert service.post(PHOTO).status == 504
        sent = service.terminate()
        assert service.exit_code() == 0
        assert time.monotonic() - sent < 2 + SLACK


def test_an_idle_service_ends_after_a_moment_of_quiet(tmp_path: Path) -> None:
    with live(tmp_path, drain_timeout=30) as service:
        sent = service.terminate()
        assert service.exit_code() == 0
        assert time.monotonic() - sent < 1 + SLACK + 1
