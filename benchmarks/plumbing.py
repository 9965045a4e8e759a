"""What HTTP, admission, queue and threads add: 1 MB in, 1 MB out, beside a bare aiohttp handler doing the same.

Engine and codecs are replaced by ones that return at once; one client, one connection kept open, requests alternating.
"""

from __future__ import annotations

import http.client
import statistics
import time

from benchmarks import _harness, _sides

BODY = bytes(1_000_000)
HEADERS = {"Content-Type": "image/png"}


def main() -> None:
    given = _harness.options(__doc__, rounds=400)
    report = _harness.Report("plumbing", given)
    with _sides.scratch() as folder:
        homes = {name: folder / name for name in ("service", "bare")}
        for home in homes.values():
            home.mkdir()
        command = ("-m", "benchmarks.instant_service")
        with (
            _sides.Service(homes["service"], command=(*command, "service")) as ours,
            _sides.Service(homes["bare"], command=(*command, "bare")) as bare,
        ):
            samples: dict[str, list[float]] = {"ours": [], "bare": []}
            connections = {}
            for name, side in (("ours", ours), ("bare", bare)):
                side.wait("/warmup")
                connections[name] = http.client.HTTPConnection("127.0.0.1", side.port, timeout=30)
            for number in range(given.rounds + 20):
                for name, connection in connections.items():
                    start = time.perf_counter()
                    connection.request("POST", "/process", BODY, HEADERS)
                    response = connection.getresponse()
                    answer = response.read()
                    if response.status != 200 or len(answer) != len(BODY):
                        raise RuntimeError(f"{name}: {response.status} {answer[:200]!r}")
                    if number >= 20:  # the first ones set up threads and buffers
                        samples[name].append(1000 * (time.perf_counter() - start))
            for connection in connections.values():
                connection.close()
    added = statistics.median(samples["ours"]) - statistics.median(samples["bare"])
    report.add(
        _harness.Row(
            "1 MB in, 1 MB out",
            "ms",
            samples["ours"],
            samples["bare"],
            other="bare handler",
            note=f"p50 {added:.2f} ms above it (aim: 3 ms, 1 ms)",
        )
    )
    report.finish()


if __name__ == "__main__":
    main()
