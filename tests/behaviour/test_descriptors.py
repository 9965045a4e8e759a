"""More connections than the process has descriptors: the service says so in a line, costs little, and goes on."""

from __future__ import annotations

import http.client
import resource
import socket
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.support.photos import encoded
from tests.support.service_process import Live, live, sample_in

LIMIT = 128
CLIENTS = 300
SECONDS = 8

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


def few_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))


def cpu_seconds(service: Live) -> float:
    fields = Path(f"/proc/{service.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def connections(scrapes: http.client.HTTPConnection) -> float:
    scrapes.request("GET", "/metrics")
    return sample_in(scrapes.getresponse().read().decode(), "inspyrenet_connections")


def test_idle_connections_beyond_the_limit_cost_a_line_and_no_service(
    tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    with live(tmp_path, in_child=few_descriptors) as service, ExitStack() as clients:
        log_bytes, cpu = service.log.stat().st_size, cpu_seconds(service)
        for _ in range(CLIENTS):
            clients.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=10))
        slowest = 0.0
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            start = time.monotonic()
            assert service.post(encoded(8, 8)).status == 200, "idle connections make room for those that ask"
            slowest = max(slowest, time.monotonic() - start)
            time.sleep(0.25)
        log_bytes, cpu = service.log.stat().st_size - log_bytes, cpu_seconds(service) - cpu
        record_property(
            "printed",
            f"{CLIENTS} connections, {LIMIT} descriptors, {SECONDS} s: {log_bytes} bytes of log, {cpu:.1f} s of CPU, "
            f"slowest answer {slowest:.1f} s",
        )
        assert service.metric("connections") <= service.metric("connections_limit") < LIMIT
        assert service.metric("connections_dropped_total") > 0
        assert service.metric('accept_pauses_total{reason="limit"}') > 0
        assert service.metric('accept_pauses_total{reason="resources"}') == 0
        assert log_bytes < 50_000
        warnings = [
            line for line in service.log_messages("WARNING") if "new connections have to wait" in line
        ]
        assert len(warnings) == 1
        assert "Traceback" not in service.log.read_text()


def test_a_storm_of_requests_beyond_the_limit_is_answered(tmp_path: Path) -> None:
    with live(tmp_path, in_child=few_descriptors) as service:
        answers = [service.posting(encoded(8, 8)) for _ in range(CLIENTS)]
        assert {answer.result().status for answer in answers} <= {200, 429}
        with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)) as scrapes:
            # A connection that its client has closed stays for some 30 ms, so polls must not open new ones.
            service.until(lambda: connections(scrapes) == 1)
