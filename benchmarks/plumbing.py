"""What HTTP, admission, queue and threads add: 1 MB in, 1 MB out, beside a bare aiohttp handler doing the same.

Engine and codecs are replaced by ones that return at once; one client, one connection to each side kept open, requests
taking turns. A second bare process, the null, tells what a difference that is none looks like here. The bare handler
reads the body as the service does, piece by piece. aiohttp's own ``request.read()`` gathers it in a growing buffer and
copies that once more, into memory that the kernel has to hand out anew each time, which takes about as long as
all that the service adds: a handler that calls it stands beside, for it is what one would write.
"""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack, closing

from benchmarks import _harness, _sides

BODY = bytes(1_000_000)
HEADERS = {"Content-Type": "image/png"}
SIDES = {"service": "service", "bare": "bare", "null": "bare", "read": "bare-read"}
"""By name, what ``instant_service`` is to be."""
UNMEASURED = 20
"""The first ones set up threads and buffers."""


def main() -> None:
    given = _harness.options(__doc__, rounds=400)
    report = _harness.Report("plumbing", given)
    with _sides.scratch() as folder, ExitStack() as running:
        sides = {}
        for name, kind in SIDES.items():
            (folder / name).mkdir()
            command = ("-m", "benchmarks.instant_service", kind)
            service = running.enter_context(_sides.Service(folder / name, command=command))
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
                one=who,
                reach="at most 3 ms, 1 ms above" if name == "service" else "",
                note=f"p50 {above[name]:+.2f} ms above",
            )
        )
    report.extra["p50 above the bare handler, ms"] = above
    report.finish()
    _harness.bars(report, "1 MB in, 1 MB out, and no work in between")


def exchange(connection: http.client.HTTPConnection) -> Callable[[], float]:
    """One request on that connection, as a function: the milliseconds until its answer is in."""

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
