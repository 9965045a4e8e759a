"""Breaks the real service in every known way: the right alerts must arrive, and must resolve after the repair.

The rules and configurations are those of the repository, with every duration divided by sixty (``scaling``). Every
fault has a service of its own. One Prometheus and one Alertmanager watch all of them. The test reads what each
endpoint, metric and alert reports for each fault, and compares it with the table in ``ARCHITECTURE.md``, cell by cell.
"""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from service.host.cpu import available_cpus
from tests.e2e import time_scale
from tests.e2e.processes import Instance, Monitoring, request
from tests.support.photos import encoded
from tests.support.programs import ROOT, program
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

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


WARNING = " (warning)"


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
    """One way to break a service and to repair it."""

    service: Instance
    rows: list[str]
    """The rows of the table that apply one after the other."""
    inject: Callable[[], object]
    repair: Callable[[], object]
    meanwhile: Callable[[], object] = lambda: None
    """Called when the service shows the first row."""
    seen: dict[str, Row] = field(default_factory=dict)
    began: float = 0.0
    fired: set[str] = field(default_factory=set)
    """The alerts that fired in Prometheus before the repair, inhibited or not."""
    delays: dict[str, float] = field(default_factory=dict)
    unresolved: set[str] = field(default_factory=set)


class Drill:
    """Injects all faults at the same time, each into a service of its own, and records what was reported."""

    def __init__(
        self, services: dict[str, Instance], monitoring: Monitoring, faults: dict[str, Fault]
    ) -> None:
        self.services, self.monitoring, self.faults = services, monitoring, faults
        self.healthy: Row = {}
        self.runbook: tuple[str, int, bytes] = ("", 0, b"")
        self.exposition = b""

    def run(self) -> None:
        healthy = self.services["healthy"]
        self.healthy = read_row(healthy) | {
            "POST /warmup": cell(request(healthy.url + "/warmup", data=b"")[0])
        }
        self.exposition = request(healthy.url + "/metrics")[1]
        with ThreadPoolExecutor(len(self.faults)) as pool:
            for done in [pool.submit(self._break_and_repair, fault) for fault in self.faults.values()]:
                done.result()
        url = next(
            n.annotations["runbook_url"] for n in self.monitoring.webhook.received if n.receiver == "page"
        )
        self.runbook = (url, *request(url))

    def _break_and_repair(self, fault: Fault) -> None:
        job, webhook = fault.service.job, self.monitoring.webhook
        fault.began = time.monotonic()
        fault.inject()
        for number, row in enumerate(fault.rows):
            fault.seen[row] = self._wait_for_row(fault.service, TABLE[row])
            if number == 0:
                fault.meanwhile()
        time.sleep(max(0.0, fault.began + HELD_SECONDS - time.monotonic()))
        fault.fired = self.monitoring.firing(job)
        fault.delays = {
            alert: at - fault.began
            for row in fault.rows
            for alert in alerts_of(TABLE[row])
            if (at := webhook.first(job, alert, after=fault.began)) is not None
        }
        fault.repair()
        try:
            wait_until(
                lambda: not webhook.firing(job),
                seconds=RESOLVED_SECONDS,
                what=f"no alert of {job} fires",
            )
        except TimeoutError:
            fault.unresolved = webhook.firing(job)
        # An alert that arrives late, when windows and inhibitions end, would be wrong too.
        time.sleep(3.0)

    def _wait_for_row(self, service: Instance, expected: Row) -> Row:
        """Read the row until it is as expected, or until the time is over. Return what was read last."""
        deadline = time.monotonic() + SEEN_SECONDS
        while True:
            firing = self.monitoring.webhook.firing(service.job)
            seen = read_row(service) | {"alerts": ", ".join(sorted(firing)) or "none"}
            alike = all(expected[column] == seen[column] for column in seen if column != "alerts")
            if (alike and firing >= alerts_of(expected)) or time.monotonic() > deadline:
                return seen | {"POST /warmup": cell(request(service.url + "/warmup", data=b"", timeout=3)[0])}
            time.sleep(0.1)


def send_failing_requests(service: Instance) -> None:
    """Send requests that all fail, so that the error budget burns too. That must not cause a second page."""
    photo = encoded(32, 32)
    end = time.monotonic() + 12
    while time.monotonic() < end:
        request(service.url + "/process", data=photo)
        time.sleep(0.35)


def send_a_panorama(service: Instance) -> None:
    """Send a picture with a larger model input than a photograph's."""
    request(service.url + "/process", data=encoded(400, 64), timeout=10)


def send_without_waiting(service: Instance, count: int) -> None:
    """Send requests whose answers nobody reads."""
    for _ in range(count):
        service.posting(encoded(32, 32))


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
        "supervisor-killed",
    ]
    return {
        **{name: service(name) for name in names},
        "hung": service("hung", hang_timeout=9),
        "supervisor-dead": service("supervisor-dead", warmup_timeout=6),
        # These two run the real program with a real engine.
        "killed": service("killed", ["--engine", "u2netp"]),
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
    replacement = service.replacement(["--engine", "u2netp"])
    started.append(replacement)
    start_and_wait(replacement)
    monitoring.set_target(replacement)
    wait_until(lambda: monitoring.scrapes(replacement), seconds=20, what="Prometheus scrapes the replacement")
    service.end()


def create_faults(
    services: dict[str, Instance], monitoring: Monitoring, started: list[Instance]
) -> dict[str, Fault]:
    """Return every fault by the name of its service."""

    def switched(name: str, faults: dict[str, str], *rows: str) -> Fault:
        service = services[name]
        return Fault(service, list(rows), lambda: service.set_faults(**faults), service.set_faults)

    def of_every_picture(fault: str) -> dict[str, str]:
        return {"probe": fault, "request": fault}

    raising = switched("raising", of_every_picture("raise"), "the engine raises")
    raising.meanwhile = lambda: send_failing_requests(services["raising"])
    panorama = switched("panorama-oom", {"panorama": "oom"}, "one size too large for the device")
    panorama.inject = lambda: (panorama.service.set_faults(panorama="oom"), send_a_panorama(panorama.service))
    codec = switched(
        "codec-hung", {}, "a codec thread hangs, longer than a request may take", "every codec thread hangs"
    )
    codec.inject = lambda: (
        codec.service.set_faults(codec_request="hang"),
        send_without_waiting(codec.service, 1),
    )
    codec.meanwhile = lambda: send_without_waiting(codec.service, CODEC_THREADS - 1)
    killed, no_weights = services["killed"], services["no-weights"]
    return {
        "raising": raising,
        "bad-output": switched("bad-output", of_every_picture("bad mask"), "the engine returns nonsense"),
        "oom": switched("oom", of_every_picture("oom"), "the device is out of memory"),
        "photographs-oom": switched(
            "photographs-oom", {"photograph": "oom"}, "real sizes fail, small ones pass"
        ),
        "photographs-zeros": switched("photographs-zeros", {"photograph": "zeros"}, "zeros at real sizes"),
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


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    prometheus, alertmanager = program("prometheus"), program("alertmanager")
    folder = tmp_path_factory.mktemp("alerts")
    services = create_services(folder)
    started = list(services.values())
    monitoring = Monitoring(
        folder,
        list(services.values()),
        prometheus=prometheus,
        alertmanager=alertmanager,
        scale=time_scale.configuration,
    )
    try:
        for service in services.values():
            service.start()
        for service in services.values():
            path = "/livez" if service.name == "no-weights" else "/readyz"
            service.until(lambda service=service, path=path: service.status(path) == 200, seconds=60)  # type: ignore[misc]
        monitoring.start()
        wait_until(
            lambda: len(monitoring.query("up == 1")) == len(services),
            seconds=20,
            what="Prometheus scrapes every service",
        )
        drill = Drill(services, monitoring, create_faults(services, monitoring, started))
        drill.run()
        yield drill
    finally:
        monitoring.end()
        for service in started:
            service.close()


FAULTY_ROWS = [row for row in TABLE if row != "none"]
FAULTS = [
    "raising",
    "bad-output",
    "oom",
    "photographs-oom",
    "photographs-zeros",
    "panorama-oom",
    "codec-hung",
    "hung",
    "supervisor-killed",
    "supervisor-dead",
    "killed",
    "no-weights",
]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("row", TABLE)
def test_every_cell_of_the_table_is_what_the_service_reports(drill: Drill, row: str, column: str) -> None:
    seen = (
        drill.healthy if row == "none" else next(f.seen[row] for f in drill.faults.values() if row in f.seen)
    )
    assert seen[column] == TABLE[row][column]


@pytest.mark.parametrize("name", FAULTS)
def test_the_expected_alerts_and_no_others_reach_the_receivers(drill: Drill, name: str) -> None:
    fault = drill.faults[name]
    expected = {alert for row in fault.rows for alert in alerts_of(TABLE[row])}
    arrived = {
        (n.labels["alertname"], n.receiver)
        for n in drill.monitoring.webhook.of_job(fault.service.job)
        if n.status == "firing"
    }
    assert arrived == {
        (alert.removesuffix(WARNING), "tell" if alert.endswith(WARNING) else "page") for alert in expected
    }


@pytest.mark.parametrize("name", FAULTS)
def test_the_alerts_resolve_after_the_repair(drill: Drill, name: str) -> None:
    assert drill.faults[name].unresolved == set()


@pytest.mark.parametrize("name", FAULTS)
def test_the_time_from_fault_to_alert_is_short_and_printed(
    drill: Drill, name: str, record_property: Callable[[str, object], None]
) -> None:
    fault = drill.faults[name]
    for alert, seconds in fault.delays.items():
        assert seconds < SEEN_SECONDS
        minutes = seconds * time_scale.FACTOR / 60
        record_property(
            "printed", f"{name:>18} -> {alert}: {seconds:.1f} s (without the scaling: {minutes:.0f} min)"
        )
    assert set(fault.delays) == {alert for row in fault.rows for alert in alerts_of(TABLE[row])}


def test_the_table_and_the_faults_have_the_same_rows(drill: Drill) -> None:
    assert sorted(row for fault in drill.faults.values() for row in fault.rows) == sorted(FAULTY_ROWS)
    assert sorted(drill.faults) == sorted(FAULTS)


def test_a_healthy_service_raises_no_alert(drill: Drill) -> None:
    assert drill.monitoring.webhook.of_job(drill.services["healthy"].job) == []


def test_one_cause_sends_one_page_although_more_alerts_fire(drill: Drill) -> None:
    fault = drill.faults["raising"]
    assert fault.fired >= {"InspyrenetWarmupFailing", "InspyrenetWarmupStale", "InspyrenetErrorBudgetBurn"}
    arrived = {n.labels["alertname"] for n in drill.monitoring.webhook.of_job(fault.service.job)}
    assert arrived == {"InspyrenetWarmupFailing"}


def test_the_description_of_a_page_names_the_number_and_the_cause(drill: Drill) -> None:
    pages = drill.monitoring.webhook.of_job(drill.services["oom"].job)
    description = next(n.annotations["description"] for n in pages if n.receiver == "page")
    assert re.match(r"\d+ probes in a row have failed on oom ", description)
    assert re.search(r"\boom \d+\b", description)


def test_the_link_in_a_page_opens_its_runbook(drill: Drill) -> None:
    url, status, body = drill.runbook
    alert = url.rpartition("/")[2].removesuffix(".md")
    assert status == 200
    assert body.decode().startswith(f"# {alert}\n")


def test_the_watchdog_arrives_without_a_pause(drill: Drill) -> None:
    beats = [n.at for n in drill.monitoring.webhook.received if n.receiver == "dead-mans-switch"]
    pauses = [after - before for before, after in itertools.pairwise(beats)]
    assert max(pauses) < 5


def test_promtool_finds_no_problem_in_a_live_scrape(drill: Drill) -> None:
    ran = subprocess.run(
        [program("promtool"), "check", "metrics"], input=drill.exposition, capture_output=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
