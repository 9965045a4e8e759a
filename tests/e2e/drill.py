"""Breaks the real service in every known way, and records what its endpoints, Prometheus and Alertmanager say.

``test_alerts_fire`` compares that with the table in ``ARCHITECTURE.md``. Every fault has a service of its own, so that
all faults can last at the same time. The durations in rules and configurations are divided by sixty (``time_scale``).
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from service.host.cpu import available_cpus
from tests.e2e import runbooks
from tests.e2e.processes import WARNING, Instance, Monitoring, Notification, request
from tests.support.photos import encoded
from tests.support.programs import ROOT
from tests.support.waiting import wait_until

DOCUMENT = ROOT / "ARCHITECTURE.md"
HEADING = "## Faults, and what each reporter says of them"
SHORT_TIMES = {"warmup_interval": 1.0, "warmup_timeout": 2.0, "request_timeout": 2.0}
"""The defaults divided by sixty, in seconds. But a request timeout of one second is too short on a busy machine."""

SEEN_SECONDS = 30.0
"""The longest time until the service shows what a row of the table says."""
HELD_SECONDS = 16.0
"""A fault lasts at least this long (16 minutes without the scaling), so that wrong alerts would have time to fire."""
RESOLVED_SECONDS = 45.0
CODEC_THREADS = max(2, available_cpus())
"""As many as ``service.app`` makes."""

Row = dict[str, str]


def table() -> dict[str, Row]:
    """Read the table of the document: for each fault, the cells by column."""
    section = DOCUMENT.read_text().partition(HEADING)[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    header, _, *rows = cells
    columns = [name.strip("`") for name in header]
    return {row[0]: dict(zip(columns[1:], row[1:], strict=True)) for row in rows}


TABLE = table()
COLUMNS = ["GET /warmup", "POST /warmup", "/readyz", "/livez", "warmup_success"]


def alerts_of(row: Row) -> set[str]:
    """The alerts as the table writes them; those that are warnings with their mark."""
    return set() if row["alerts"] == "none" else set(row["alerts"].split(", "))


def cell(status: int) -> str:
    """Return a status as the table writes it."""
    return str(status) if status else "-"


def read_row(service: Instance) -> Row:
    """Ask the endpoints that answer at once, and return the cells of the table that they fill."""
    _, scraped = request(service.url + "/metrics")
    value = re.search(rb"^inspyrenet_warmup_success (\S+)$", scraped, re.MULTILINE)
    return {
        "GET /warmup": cell(request(service.url + "/warmup")[0]),
        "/readyz": cell(request(service.url + "/readyz")[0]),
        "/livez": cell(request(service.url + "/livez")[0]),
        "warmup_success": f"{float(value[1]):g}" if value else "-",
    }


@dataclass
class Fault:
    """One way to break a service and to repair it. Times are seconds."""

    service: Instance
    rows: list[str]
    """The rows of the table that apply one after the other."""
    inject: Callable[[], object]
    repair: Callable[[], object]
    meanwhile: Callable[[], object] = lambda: None
    """Called when the service shows the first row."""
    found_by_a_proof: bool = False
    """Whether clients do not notice it. Then it is found by the next proof, which is due within five intervals."""
    seen: dict[str, Row] = field(default_factory=dict)
    notifications: list[Notification] = field(default_factory=list)
    """What the receivers got until the fault was over."""
    fired: set[str] = field(default_factory=set)
    """The alerts that fired in Prometheus before the repair."""
    to_page: dict[str, float] = field(default_factory=dict)
    """By alert: from the moment when the service shows the row to the notification."""
    to_resolved: dict[str, float] = field(default_factory=dict)
    """By alert: from the repair to the notification."""
    ran: dict[str, list[runbooks.Ran]] = field(default_factory=dict)
    """The commands of the runbooks of these alerts, run while the fault lasted."""
    answered: dict[str, list[str]] = field(default_factory=dict)
    """By alert: the queries of its runbook that returned something about this service."""


class Drill:
    """Injects all faults at the same time, each into a service of its own, and records what was reported."""

    def __init__(
        self, services: dict[str, Instance], monitoring: Monitoring, faults: dict[str, Fault]
    ) -> None:
        self.services, self.monitoring, self.faults = services, monitoring, faults
        self.healthy: Row = {}
        self.runbook: tuple[str, int, bytes] = ("", 0, b"")
        self.exposition = b""

    def run(self, then: Callable[[str], object]) -> None:
        """Break and repair every service; ``then`` is called with its name afterwards, in the same thread."""
        healthy = self.services["healthy"]
        self.healthy = read_row(healthy) | {
            "POST /warmup": cell(request(healthy.url + "/warmup", data=b"")[0])
        }
        self.exposition = request(healthy.url + "/metrics")[1]

        def one(name: str, fault: Fault) -> None:
            self._break_and_repair(fault)
            then(name)

        with ThreadPoolExecutor(len(self.faults)) as pool:
            for done in [pool.submit(one, name, fault) for name, fault in self.faults.items()]:
                done.result()
        url = next(
            n.annotations["runbook_url"] for n in self.monitoring.webhook.received if n.receiver == "page"
        )
        self.runbook = (url, *request(url))

    def _break_and_repair(self, fault: Fault) -> None:
        job, webhook = fault.service.job, self.monitoring.webhook
        began = time.monotonic()
        fault.inject()
        for number, row in enumerate(fault.rows):
            fault.seen[row], shown = self._wait_for_row(fault.service, TABLE[row])
            since = shown if number or fault.found_by_a_proof else began
            for alert in alerts_of(TABLE[row]):
                if (at := webhook.first(job, alert, after=began)) is not None:
                    fault.to_page.setdefault(alert, at - since)
            if number == 0:
                fault.meanwhile()
        time.sleep(max(0.0, began + HELD_SECONDS - time.monotonic()))
        fault.fired = self.monitoring.firing(job)
        self._follow_runbooks(fault)
        fault.repair()
        repaired = time.monotonic()
        with suppress(TimeoutError):
            wait_until(
                lambda: not webhook.firing(job), seconds=RESOLVED_SECONDS, what=f"no alert of {job} fires"
            )
        for n in webhook.of_job(job):
            if n.status == "resolved" and n.at > repaired:
                fault.to_resolved[n.name] = n.at - repaired
        # An alert that arrives late, when windows end, would be wrong too.
        time.sleep(3.0)
        fault.notifications = webhook.of_job(job)

    def _wait_for_row(self, service: Instance, expected: Row) -> tuple[Row, float]:
        """Read the row until it is as expected, or until the time is over.

        Returns:
            What was read last, and when it was first as expected apart from the alerts.
        """
        deadline = time.monotonic() + SEEN_SECONDS
        shown = None
        while True:
            firing = self.monitoring.webhook.firing(service.job)
            seen = read_row(service) | {"alerts": ", ".join(sorted(firing)) or "none"}
            alike = all(expected[column] == seen[column] for column in seen if column != "alerts")
            if alike and shown is None:
                shown = time.monotonic()
            if (alike and firing >= alerts_of(expected)) or time.monotonic() > deadline:
                seen["POST /warmup"] = cell(request(service.url + "/warmup", data=b"", timeout=3)[0])
                return seen, shown or time.monotonic()
            time.sleep(0.1)

    def _follow_runbooks(self, fault: Fault) -> None:
        for alert in sorted({name for row in fault.rows for name in alerts_of(TABLE[row])}):
            name = alert.removesuffix(WARNING)
            fault.ran[name] = runbooks.run(name, self.values_for(fault.service))
            fault.answered[name] = [
                query
                for query in runbooks.lines(name, "promql")
                if any(
                    sample["metric"].get("job", fault.service.job) == fault.service.job
                    for sample in self.monitoring.query(query)
                )
            ]

    def values_for(self, service: Instance) -> dict[str, str]:
        """What a person reads from an alert of this service, and the addresses of the monitoring."""
        return {
            "INSTANCE": service.address,
            "PROMETHEUS": self.monitoring.url.removeprefix("http://"),
            "ALERTMANAGER": self.monitoring.alertmanager_url.removeprefix("http://"),
        }


def send_failing_requests(service: Instance) -> None:
    """Send requests that all fail, so that the error budget burns too. That must not cause a second page."""
    photo = encoded(32, 32)
    end = time.monotonic() + 12
    while time.monotonic() < end:
        request(service.url + "/process", data=photo)
        time.sleep(0.35)


def send_a_photograph(service: Instance) -> None:
    """Send a picture with the model input of a photograph: it shows a fault before the next proof is due."""
    request(service.url + "/process", data=encoded(256, 256), timeout=10)


def send_a_panorama(service: Instance) -> None:
    """Send a picture with a larger model input than a photograph's."""
    request(service.url + "/process", data=encoded(400, 64), timeout=10)


def send_without_waiting(service: Instance, count: int) -> None:
    """Send panoramas whose answers nobody reads."""
    for _ in range(count):
        service.posting(encoded(400, 64))


def create_services(folder: Path) -> dict[str, Instance]:
    """Return one service for each fault, and a healthy one. They are not started yet."""

    def service(name: str, arguments: list[str] | None = None, **settings: float) -> Instance:
        return Instance(name, folder, arguments=arguments, **(SHORT_TIMES | settings))

    names = [
        "healthy",
        "raising",
        "bad-output",
        "oom",
        "photographs-oom",
        "photographs-zeros",
        "panorama-oom",
        "codec-hung",
        "killed",
    ]
    return {
        **{name: service(name) for name in names},
        # Two instances of one job. Only the first one is broken here; sequences use both.
        "supervisor-killed": Instance("supervisor-killed", folder, job="pair", **SHORT_TIMES),
        "its-peer": Instance("its-peer", folder, job="pair", **SHORT_TIMES),
        "hung": service("hung", hang_timeout=9),
        "supervisor-dead": service("supervisor-dead", warmup_timeout=6),
        # This one runs the real program with a real engine.
        "no-weights": service("no-weights", ["--weights", str(folder / "missing.pth")]),
    }


def start_and_wait(service: Instance) -> None:
    service.start()
    service.until_ready(seconds=60)


def replace_with_a_working_one(service: Instance, monitoring: Monitoring, started: list[Instance]) -> None:
    """Start a working process for the same instance before the old one ends, as behind a load balancer.

    A restart takes seconds. With the scaled durations these would count as minutes without the instance, and an alert
    would rightly fire.
    """
    replacement = service.replacement()
    started.append(replacement)
    start_and_wait(replacement)
    monitoring.set_target(replacement, instance=service.address)
    wait_until(lambda: monitoring.scrapes(replacement), seconds=20, what="Prometheus scrapes the replacement")
    service.end()


def of_every_picture(fault: str) -> dict[str, str]:
    """A fault of probes and of requests of every size."""
    return {"probe": fault, "request": fault}


def create_faults(
    services: dict[str, Instance], monitoring: Monitoring, started: list[Instance]
) -> dict[str, Fault]:
    """Return every fault by the name of its service."""

    def switched(name: str, faults: dict[str, str], *rows: str) -> Fault:
        service = services[name]
        return Fault(service, list(rows), lambda: service.set_faults(**faults), service.set_faults)

    raising = switched("raising", of_every_picture("raise"), "the engine raises")
    raising.meanwhile = lambda: send_failing_requests(raising.service)
    photographs = switched("photographs-oom", {}, "real sizes fail, small ones pass")
    photographs.inject = lambda: (
        photographs.service.set_faults(photograph="oom"),
        send_a_photograph(photographs.service),
    )
    zeros = switched("photographs-zeros", {"photograph": "zeros"}, "zeros at real sizes")
    zeros.found_by_a_proof = True
    panorama = switched("panorama-oom", {}, "one size too large for the device")
    panorama.inject = lambda: (
        panorama.service.set_faults(panorama="oom"),
        send_a_panorama(panorama.service),
    )
    codec = switched(
        "codec-hung", {}, "a codec thread hangs, longer than a request may take", "every codec thread hangs"
    )
    codec.inject = lambda: (
        codec.service.set_faults(codec_panorama="hang"),  # which proofs do not meet
        send_without_waiting(codec.service, 1),
    )
    codec.meanwhile = lambda: send_without_waiting(codec.service, CODEC_THREADS - 1)
    killed, no_weights = services["killed"], services["no-weights"]
    return {
        "raising": raising,
        "bad-output": switched("bad-output", of_every_picture("bad mask"), "the engine returns nonsense"),
        "oom": switched("oom", of_every_picture("oom"), "the device is out of memory"),
        "photographs-oom": photographs,
        "photographs-zeros": zeros,
        "panorama-oom": panorama,
        "codec-hung": codec,
        "hung": switched(
            "hung",
            of_every_picture("hang"),
            "the GPU thread hangs, longer than a probe may run",
            "the GPU thread hangs, longer than `INSPYRENET_HANG_TIMEOUT`",
        ),
        "supervisor-killed": switched(
            "supervisor-killed", {"supervisor": "kill"}, "the supervisor is killed, and mends itself"
        ),
        "supervisor-dead": switched(
            "supervisor-dead",
            {"supervisor": "kill for good"},
            "the supervisor is dead for good, the evidence still fresh",
            "the supervisor is dead for good, the evidence stale",
        ),
        "killed": Fault(
            killed,
            ["the service is killed"],
            lambda: killed.end(signal.SIGKILL),
            lambda: start_and_wait(killed),
        ),
        "no-weights": Fault(
            no_weights,
            ["started without weights"],
            lambda: None,
            lambda: replace_with_a_working_one(no_weights, monitoring, started),
        ),
    }
