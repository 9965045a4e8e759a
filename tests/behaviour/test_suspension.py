"""The process is stopped and continued, as platforms do that scale to zero: the time between is nobody's fault."""

from __future__ import annotations

import http.client
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.support.photos import encoded
from tests.support.raw_http import head
from tests.support.service_process import Live, live

pytestmark = pytest.mark.process

PHOTO = encoded()
LIMIT = 2.5
"""Seconds: of every limit of time that a suspension could break."""


def suspend(service: Live, *, seconds: float) -> None:
    service.process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)  # real, because the kernel's clocks are what is tested
    service.process.send_signal(signal.SIGCONT)


def test_a_suspension_longer_than_every_limit_costs_no_client_its_answer_and_ends_nothing(
    tmp_path: Path,
) -> None:
    with (
        live(
            tmp_path,
            read_timeout=LIMIT,
            request_timeout=LIMIT,
            hang_timeout=LIMIT,
            warmup_interval=0.2,
            warmup_timeout=LIMIT,
        ) as service,
        socket.create_connection(("127.0.0.1", service.port), timeout=20) as uploading,
    ):
        service.set_faults(request="hang")
        running = service.posting(PHOTO)
        service.until(lambda: service.metric("worker_busy") == 1)
        uploading.sendall(head(len(PHOTO)) + PHOTO[:100])

        suspend(service, seconds=4)

        assert service.status("/livez") == 200, "the first poll after the thaw"
        service.set_faults()
        uploading.sendall(PHOTO[100:])
        answer = http.client.HTTPResponse(uploading)
        answer.begin()
        assert (answer.status, running.result().status) == (200, 200)
        service.until_ready(seconds=3)
        assert not service.ended
        service.until(lambda: service.metric("suspended_seconds_total"))  # reported soon after the thaw
        assert service.metric("suspended_seconds_total") == pytest.approx(4, abs=1)
        assert service.metric('rejections_total{reason="timeout"}') == 0
        service.until(
            lambda: any("did not run for a while" in line for line in service.log_messages("WARNING"))
        )
