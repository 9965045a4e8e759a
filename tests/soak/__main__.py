"""The soak test: it sends many requests to a real process, and fails if one is lost or if the process grows.

``make soak`` runs ``python -m tests.soak``; ``--help`` lists the options. The exit code is 1 if a request is lost, if
an answer is wrong, or if memory, descriptors, threads or series grow. ``docs/soak.md`` explains the run and its
figures.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.soak import report, traffic
from tests.support.service_process import Live, live

SETTINGS: dict[str, dict[str, object]] = {
    "scripted": {},
    "u2netp": {"engine": "u2netp"},
    "inspyrenet": {"mode": "fast", "weights": "dummy", "resize": "static"},
}
REST_SECONDS = 6.0
"""The pause after each phase, after which the resident memory at rest is read."""


def main(argv: Sequence[str]) -> int:
    """Run the soak test, write the figures, print the problems, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--engine",
        choices=SETTINGS,
        default="scripted",
        help="scripted is an engine for tests that needs almost no time",
    )
    parser.add_argument("--small", type=int, default=10_000, help="requests with a small photograph")
    parser.add_argument("--mixed", type=int, default=1_000, help="requests of all kinds, some of them bad")
    parser.add_argument("--clients", type=int, default=8, help="requests at a time")
    parser.add_argument("--out", type=Path, default=Path("out/soak"), help="folder for figures and plot")
    args = parser.parse_args(argv)

    command = None if args.engine == "scripted" else ["-m", "service"]
    with (
        tempfile.TemporaryDirectory() as folder,
        live(Path(folder), command=command, ready=False, **SETTINGS[args.engine]) as service,
    ):
        service.until_ready(seconds=600)
        summary, samples = _run(service, args)
        service.terminate()
        summary["exit_code"] = service.exit_code()
    problems: list[str] = summary["problems"]
    if summary["exit_code"]:
        problems.append(f"the process ended with exit code {summary['exit_code']}")
    report.write(args.out, args.engine, summary, samples)
    print(f"{summary['title']}\n{args.out / args.engine}.json, .png")
    for phase in summary["phases"]:
        print(phase)
    print(f"resident memory at rest: {summary['rest_rss_mb']} MB")
    print("\n".join(problems) or "no request was lost, and nothing grew")
    return 1 if problems else 0


def _run(service: Live, args: argparse.Namespace) -> tuple[dict[str, Any], list[report.Sample]]:
    """Send all phases; return the summary and the samples."""
    url = service.url
    sampler = report.Sampler(service.process.pid, url)
    tallies: list[traffic.Tally] = []
    rest = []
    try:
        for name, posts, count in (
            ("warm-up", traffic.mixed(), max(args.mixed // 5, 84)),
            ("small", traffic.small(), args.small),
            ("mixed", traffic.mixed(), args.mixed),
        ):
            sampler.phase = name
            tallies.append(asyncio.run(traffic.send(name, posts, count, url=url, clients=args.clients)))
            sampler.phase = f"rest after {name}"
            time.sleep(REST_SECONDS)
            rest.append(sampler.samples[-1].rss_mb)
    finally:
        sampler.stop()
    problems = list(itertools.chain.from_iterable(tally.wrong_answers[:5] for tally in tallies))
    for phase in ("small", "mixed"):
        problems += report.find_growth(sampler.samples, phase)
    problems += _compare_counts(report.scrape(url), tallies)
    sent = sum(tally.sent for tally in tallies)
    summary = {
        "title": f"{args.engine}: {sent} requests, {args.clients} at a time",
        "engine": args.engine,
        "phases": [
            {
                "name": tally.name,
                "sent": tally.sent,
                "statuses": {str(status): n for status, n in sorted(tally.statuses.items())},
                "wrong": len(tally.wrong_answers),
                "seconds": round(tally.seconds, 1),
                "per_second": round(tally.sent / tally.seconds, 1),
            }
            for tally in tallies
        ],
        "rest_rss_mb": rest,
        "problems": problems,
    }
    return summary, sampler.samples


def _compare_counts(metrics: str, tallies: Sequence[traffic.Tally]) -> list[str]:
    """Check that the service counted exactly the requests that the clients sent; return what differs."""
    problems = []
    sent = sum(tally.sent for tally in tallies)
    left = sum(tally.statuses[traffic.LEFT] for tally in tallies)
    answered = report.total(metrics, "http_requests_total", route="/process")
    disconnected = report.total(metrics, "client_disconnects_total")
    # The service may have refused a client that left before it left, so it may count fewer disconnects.
    if answered + disconnected != sent or disconnected > left:
        problems.append(
            f"{sent} requests were sent, and {left} clients left; "
            f"the service counted {answered:.0f} answers and {disconnected:.0f} disconnects"
        )
    if in_progress := report.total(metrics, "http_requests_in_progress", route="/process"):
        problems.append(f"{in_progress:.0f} requests are still in progress")
    return problems


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
