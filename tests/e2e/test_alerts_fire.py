"""Break the real service: the right alert, and no wrong one, reaches a webhook; mend it: it resolves.

The rules and configurations are the shipped ones at sixty times the pace (``scaling``). Every fault has a service of
its own, all watched by one Prometheus and one Alertmanager; what every reporter says of every fault is read off and
held against the table in ``ARCHITECTURE.md``, cell by cell.
"""

from __future__ import annotations

import io
import itertools
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image

from tests.e2e import scaling
from tests.e2e.processes import ROOT, Monitoring, Service, request, until
from tests.support.programs import program

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

DOCUMENT = ROOT / "ARCHITECTURE.md"
HEADING = "## Faults, and what each reporter says of them"
PACE = {"WARMUP_INTERVAL": "1", "WARMUP_TIMEOUT": "2", "REQUEST_TIMEOUT": "2"}
"""A minute, two and one, at sixty times the pace (a timeout of one second would be too tight for a busy machine)."""

SEEN_SECONDS = 30.0
"""Longest wait for a row of the table to come true."""
HELD_SECONDS = 16.0
"""A fault lasts at least so long, 16 minutes at the usual pace: wrong alerts have their chance."""
RESOLVED_SECONDS = 45.0

Row = dict[str, str]


def table() -> dict[str, Row]:
    """The rows of the document's table, by fault; cells by column."""
    section = DOCUMENT.read_text().partition(HEADING)[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    header, _, *rows = cells
    columns = [name.strip("`") for name in header]
    return {row[0]: dict(zip(columns[1:], row[1:], strict=True)) for row in rows}


TABLE = table()
COLUMNS = ["GET /warmup", "POST /warmup", "/readyz", "/livez", "warmup_success"]


def alerts_of(row: Row) -> set[str]:
    return set() if row["alerts"] == "none" else set(row["alerts"].split(", "))


def code(status: int) -> str:
    return str(status) if status else "-"


def look(service: Service) -> Row:
    """What the reporters that answer at once say now."""
    _, scraped = request(service.url + "/metrics")
    value = re.search(rb"^inspyrenet_warmup_success (\S+)$", scraped, re.MULTILINE)
    return {
        "GET /warmup": code(request(service.url + "/warmup")[0]),
        "/readyz": code(request(service.url + "/readyz")[0]),
        "/livez": code(request(service.url + "/livez")[0]),
        "warmup_success": f"{float(value[1]):g}" if value else "-",
    }


@dataclass
class Fault:
    """One way to break a service, and to mend it."""

    service: Service
    rows: list[str]
    """The rows of the table that come true one after the other."""
    put_in: Callable[[], object]
    mend: Callable[[], object]
    meanwhile: Callable[[], object] = lambda: None
    """Done when the first row has come true."""
    seen: dict[str, Row] = field(default_factory=dict)
    began: float = 0.0
    ended: float = 0.0
    fired: set[str] = field(default_factory=set)
    """What fired in Prometheus before the fault was mended, inhibited or not."""
    delays: dict[str, float] = field(default_factory=dict)
    unresolved: set[str] = field(default_factory=set)


class Drill:
    """Every fault at once, each on a service of its own."""

    def __init__(
        self, services: dict[str, Service], monitoring: Monitoring, faults: dict[str, Fault]
    ) -> None:
        self.services, self.monitoring, self.faults = services, monitoring, faults
        self.healthy: Row = {}
        self.runbook: tuple[str, int, bytes] = ("", 0, b"")
        self.exposition = b""

    def run(self) -> None:
        healthy = self.services["healthy"]
        self.healthy = look(healthy) | {"POST /warmup": code(request(healthy.url + "/warmup", data=b"")[0])}
        self.exposition = request(healthy.url + "/metrics")[1]
        with ThreadPoolExecutor(len(self.faults)) as pool:
            for done in [pool.submit(self._suffer, fault) for fault in self.faults.values()]:
                done.result()
        url = next(
            n.annotations["runbook_url"] for n in self.monitoring.webhook.received if n.receiver == "page"
        )
        self.runbook = (url, *request(url))

    def _suffer(self, fault: Fault) -> None:
        job, webhook = fault.service.job, self.monitoring.webhook
        fault.began = time.monotonic()
        fault.put_in()
        for number, row in enumerate(fault.rows):
            fault.seen[row] = self._watch(fault.service, TABLE[row])
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
        fault.mend()
        fault.ended = time.monotonic()
        try:
            until(
                lambda: not webhook.firing(job),
                seconds=RESOLVED_SECONDS,
                what=f"{job} is quiet",
            )
        except TimeoutError:
            fault.unresolved = webhook.firing(job)
        # What comes late, when windows forget the fault and inhibitions end, would be wrong as well.
        time.sleep(3.0)

    def _watch(self, service: Service, expected: Row) -> Row:
        """Look until everything is as expected, or for as long as it may take; the last look."""
        deadline = time.monotonic() + SEEN_SECONDS
        while True:
            firing = self.monitoring.webhook.firing(service.job)
            seen = look(service) | {"alerts": ", ".join(sorted(firing)) or "none"}
            alike = all(expected[column] == seen[column] for column in seen if column != "alerts")
            if (alike and firing >= alerts_of(expected)) or time.monotonic() > deadline:
                return seen | {"POST /warmup": code(request(service.url + "/warmup", data=b"", timeout=3)[0])}
            time.sleep(0.1)


def picture() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def send_clients(service: Service) -> None:
    """Clients whose requests all fail: the error budget burns too, and must not page a second time."""
    png = picture()
    end = time.monotonic() + 12
    while time.monotonic() < end:
        request(service.url + "/process", data=png)
        time.sleep(0.35)


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    prometheus, alertmanager = program("prometheus"), program("alertmanager")
    folder = tmp_path_factory.mktemp("alerts")

    def service(name: str, arguments: list[str] | None = None, **settings: str) -> Service:
        return Service(name, folder, arguments=arguments, settings=PACE | settings)

    names = ["healthy", "raising", "bad-output", "oom", "supervisor-killed"]
    services = {name: service(name) for name in names}
    services["hung"] = service("hung", HANG_TIMEOUT="9")
    services["supervisor-dead"] = service("supervisor-dead", WARMUP_TIMEOUT="6")
    # These two are the program as it ships, engine and all.
    services["killed"] = service("killed", ["--engine", "grabcut"])
    services["no-weights"] = service("no-weights", ["--weights", str(folder / "missing.pth")])

    started = list(services.values())

    def restart(service: Service) -> None:
        service.start()
        until(service.ready, seconds=60, what=f"{service.name} is ready again")

    def replace_by_one_that_works(service: Service) -> None:
        # A restart takes seconds, which at this pace would be minutes of absence, and rightly an alert. So the new
        # process is ready before the old one goes, as behind any load balancer.
        spare = service.replacement(["--engine", "grabcut"])
        started.append(spare)
        restart(spare)
        monitoring.point_at(spare)
        until(lambda: monitoring.scrapes(spare), seconds=20, what="Prometheus scrapes the replacement")
        service.end()

    def switched(name: str, fault: str, *rows: str) -> Fault:
        service = services[name]
        return Fault(service, list(rows), lambda: service.put_in(fault), lambda: service.put_in(""))

    raising = switched("raising", "raising", "the engine raises")
    raising.meanwhile = lambda: send_clients(services["raising"])
    hung = switched(
        "hung",
        "hung",
        "the GPU thread hangs, longer than a probe may run",
        "the GPU thread hangs, longer than `INSPYRENET_HANG_TIMEOUT`",
    )
    killed, no_weights = services["killed"], services["no-weights"]
    faults = {
        "raising": raising,
        "bad-output": switched("bad-output", "bad output", "the engine returns nonsense"),
        "oom": switched("oom", "out of memory", "the device is out of memory"),
        "hung": hung,
        "supervisor-killed": switched(
            "supervisor-killed", "supervisor killed", "the supervisor is killed, and mends itself"
        ),
        "supervisor-dead": switched(
            "supervisor-dead",
            "supervisor dead",
            "the supervisor is dead for good, the evidence still fresh",
            "the supervisor is dead for good, the evidence stale",
        ),
        "killed": Fault(
            killed, ["the service is killed"], lambda: killed.end(signal.SIGKILL), lambda: restart(killed)
        ),
        "no-weights": Fault(
            no_weights,
            ["started without weights"],
            lambda: None,
            lambda: replace_by_one_that_works(no_weights),
        ),
    }
    monitoring = Monitoring(
        folder,
        list(services.values()),
        prometheus=prometheus,
        alertmanager=alertmanager,
        pace=scaling.configuration,
    )
    try:
        for one in started:
            one.start()
        for one in services.values():
            up = one.answers if one is no_weights else one.ready
            until(up, seconds=60, what=f"{one.name} is up: {one.words()}")
        monitoring.start()
        until(
            lambda: len(monitoring.query("up == 1")) == len(services),
            seconds=20,
            what="Prometheus scrapes every service",
        )
        drill = Drill(services, monitoring, faults)
        drill.run()
        yield drill
    finally:
        monitoring.end()
        for one in started:
            one.end(signal.SIGKILL)


FAULTY_ROWS = [row for row in TABLE if row != "none"]
FAULTS = [
    "raising",
    "bad-output",
    "oom",
    "hung",
    "supervisor-killed",
    "supervisor-dead",
    "killed",
    "no-weights",
]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("row", TABLE)
def test_no_cell_of_the_table_lies(drill: Drill, row: str, column: str) -> None:
    seen = (
        drill.healthy if row == "none" else next(f.seen[row] for f in drill.faults.values() if row in f.seen)
    )
    assert seen[column] == TABLE[row][column]


@pytest.mark.parametrize("name", FAULTS)
def test_the_right_alerts_and_no_wrong_one_reach_people(drill: Drill, name: str) -> None:
    fault = drill.faults[name]
    expected = {alert for row in fault.rows for alert in alerts_of(TABLE[row])}
    arrived = {
        (n.labels["alertname"], n.receiver)
        for n in drill.monitoring.webhook.of(fault.service.job)
        if n.status == "firing"
    }
    warnings = {"InspyrenetOutOfMemory", "InspyrenetSupervisorDown"}
    assert arrived == {(alert, "tell" if alert in warnings else "page") for alert in expected}


@pytest.mark.parametrize("name", FAULTS)
def test_a_mended_fault_resolves(drill: Drill, name: str) -> None:
    assert drill.faults[name].unresolved == set()


@pytest.mark.parametrize("name", FAULTS)
def test_the_time_from_fault_to_alert_is_printed(
    drill: Drill, name: str, record_property: Callable[[str, object], None]
) -> None:
    fault = drill.faults[name]
    for alert, seconds in fault.delays.items():
        assert seconds < SEEN_SECONDS
        minutes = seconds * scaling.FACTOR / 60
        record_property(
            "printed", f"{name:>18} -> {alert}: {seconds:.1f} s (at the usual pace: {minutes:.0f} min)"
        )
    assert set(fault.delays) == {alert for row in fault.rows for alert in alerts_of(TABLE[row])}


def test_the_table_and_the_drill_have_the_same_rows(drill: Drill) -> None:
    assert sorted(row for fault in drill.faults.values() for row in fault.rows) == sorted(FAULTY_ROWS)
    assert sorted(drill.faults) == sorted(FAULTS)


def test_a_healthy_service_beside_them_says_nothing(drill: Drill) -> None:
    assert drill.monitoring.webhook.of(drill.services["healthy"].job) == []


def test_one_cause_is_one_page_though_more_fires(drill: Drill) -> None:
    fault = drill.faults["raising"]
    assert fault.fired >= {"InspyrenetWarmupFailing", "InspyrenetWarmupStale", "InspyrenetErrorBudgetBurn"}
    arrived = {n.labels["alertname"] for n in drill.monitoring.webhook.of(fault.service.job)}
    assert arrived == {"InspyrenetWarmupFailing"}


def test_the_description_of_a_page_names_the_number_and_the_cause(drill: Drill) -> None:
    pages = drill.monitoring.webhook.of(drill.services["oom"].job)
    words = next(n.annotations["description"] for n in pages if n.receiver == "page")
    assert re.match(r"\d+ probes in a row have failed on oom ", words)
    assert re.search(r"\boom \d+;", words)


def test_the_link_in_a_page_opens_its_runbook(drill: Drill) -> None:
    url, status, body = drill.runbook
    alert = url.rpartition("/")[2].removesuffix(".md")
    assert status == 200
    assert body.decode().startswith(f"# {alert}\n")


def test_the_watchdog_never_pauses(drill: Drill) -> None:
    beats = [n.at for n in drill.monitoring.webhook.received if n.receiver == "dead-mans-switch"]
    pauses = [after - before for before, after in itertools.pairwise(beats)]
    assert max(pauses) < 5


def test_promtool_finds_nothing_wrong_with_a_live_scrape(drill: Drill) -> None:
    ran = subprocess.run(
        [program("promtool"), "check", "metrics"], input=drill.exposition, capture_output=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
