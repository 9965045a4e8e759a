"""Measures what HTTP, admission, queue and threads cost: 1 MB in, 1 MB out, compared with a bare aiohttp handler.

``python -m benchmarks.plumbing`` fails if an answer is not 200. The engine and the codecs are replaced by ones that
return at once. One client keeps one connection open to each side, and the requests take turns. Five processes are
compared:

- ``service``: the service;
- ``traced``: the service with traces on, sent to a receiver in this process that drops them;
- ``bare``: a bare handler that reads the body piece by piece, as the service does;
- ``null``: a second bare handler. Its difference to the first shows the noise of the measurement;
- ``read``: a bare handler that calls ``request.read()``, as most people would write it. aiohttp then collects the body
  in a growing buffer and copies it once more, into memory that the kernel must provide each time. That takes about as
  long as everything that the service adds.
"""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack, closing

from benchmarks import _harness, _sides
from tests.support.otlp_receiver import receiving

BODY = bytes(1_000_000)
HEADERS = {"Content-Type": "image/png"}
SIDES = {"service": "service", "traced": "service", "bare": "bare", "null": "bare", "read": "bare-read"}
"""For each process, the argument of ``benchmarks.instant_service``."""
UNMEASURED = 20
"""Requests that are not measured: the first ones create threads and buffers."""


def main() -> None:
    given = _harness.options(__doc__, rounds=400)
    report = _harness.Report("plumbing", given)
    with _sides.scratch() as folder, receiving() as receiver, ExitStack() as running:
        sides = {}
        for name, kind in SIDES.items():
            (folder / name).mkdir()
            command = ("-m", "benchmarks.instant_service", kind)
            env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url} if name == "traced" else {}
            service = running.enter_context(_sides.Service(folder / name, command=command, env=env))
            service.wait("/warmup")
            connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
            sides[name] = exchange(running.enter_context(closing(connection)))
        _harness.alternate(sides, UNMEASURED, quiet=True)
        samples = _harness.alternate(sides, given.rounds, quiet=True)
    above = {
        name: statistics.median(found) - statistics.median(samples["bare"]) for name, found in samples.items()
    }
    for name, who, what in (
        ("service", "service", "1 MB in, 1 MB out"),
        ("traced", "service, traced", "the same with traces on"),
        ("null", "second bare handler", "the null"),
        ("read", "with read()", "a bare handler that calls request.read()"),
    ):
        report.add(
            _harness.Row(
                what,
                "ms",
                samples[name],
                samples["bare"],
                other="bare handler",
                our_name=who,
                aim="at most 3 ms, 1 ms above" if name == "service" else "",
                note=f"p50 {above[name]:+.2f} ms above",
            )
        )
    report.extra["p50 above the bare handler, ms"] = above
    report.finish()
    _harness.bars(report, "1 MB in, 1 MB out, and no work in between")


def exchange(connection: http.client.HTTPConnection) -> Callable[[], float]:
    """Return a function that sends one request on the connection and returns the milliseconds until its answer."""

    def measure() -> float:
        start = time.perf_counter()
        connection.request("POST", "/process", BODY, HEADERS)
        response = connection.getresponse()
        answer = response.read()
        milliseconds = 1000 * (time.perf_counter() - start)
        if response.status != 200 or len(answer) != len(BODY):
            raise RuntimeError(f"{response.status} {answer[:200]!r}")
        return milliseconds

    return measure


if __name__ == "__main__":
    main()
