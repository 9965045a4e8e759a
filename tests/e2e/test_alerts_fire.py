"""Breaks the real service in every known way: the right alerts must arrive, and must resolve after the repair.

The rules and configurations are those of the repository, with every duration divided by sixty (``time_scale``). One
Prometheus and one Alertmanager watch all services. ``drill`` breaks each service in one way, and the tests compare what
every reporter says with the table in ``ARCHITECTURE.md``, cell by cell. ``sequences`` plays one fault after another.
With ``UPDATE_DOCUMENTS=1`` the measured times are written into ``docs/monitoring.md``.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

from tests.e2e import alert_times, dashboard, runbooks, time_scale
from tests.e2e.drill import COLUMNS, TABLE, Drill, alerts_of, create_faults, create_services
from tests.e2e.processes import WARNING, History, Instance, Monitoring
from tests.e2e.sequences import Played, create_restarts, create_sequences, play
from tests.metrics.sources import alerts
from tests.support.programs import ROOT, program
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


RESTARTS = "Prometheus and Alertmanager are restarted"
PICTURE = ROOT / "out" / "e2e" / "dashboard.png"
EMPTY_PANELS = {
    "Alerts that fire",
    "Refused requests and disconnected clients",
    "Size of pictures",
    "Requests in progress",
}
"""Panels that may have no data after the faults."""


class Night(NamedTuple):
    """Everything that happened."""

    drill: Drill
    sequences: dict[str, list[Played]]
    open: dict[str, set[str]]
    """By sequence: alerts that were never reported as resolved."""
    runbooks: dict[str, list[runbooks.Ran]]
    """The commands of the runbooks of alerts without a fault here, run against a healthy service."""
    drawn: dict[str, int]
    """The number of series in each panel of the dashboard."""
    instances: list[str]
    """What the dashboard offers to choose from."""


def run_night(folder: Path) -> Iterator[Night]:
    services = create_services(folder)
    sequences = create_sequences(services)
    started = list(services.values())
    monitoring = Monitoring(
        folder,
        list(started),
        prometheus=program("prometheus"),
        alertmanager=program("alertmanager"),
        scale=time_scale.configuration,
    )
    history = History(monitoring)
    played: dict[str, list[Played]] = {}

    def play_a_sequence(broken: str) -> None:
        for name, (service, steps) in sequences.items():
            if service is services[broken]:
                played[name] = play(service, steps, history)

    try:
        start_all(started, monitoring)
        began = time.monotonic()
        history.start()
        drill = Drill(services, monitoring, create_faults(services, monitoring, started))
        drill.run(play_a_sequence)
        drawn = dashboard.draw(monitoring, PICTURE, seconds=time.monotonic() - began)
        offered = dashboard.variable(monitoring, "instance")
        others = {rule["alert"] for rule in alerts()} - {
            name for f in drill.faults.values() for name in f.ran
        }
        ran = {name: runbooks.run(name, drill.values_for(services["healthy"])) for name in sorted(others)}
        restarted = services["raising"]
        played[RESTARTS] = play(restarted, create_restarts(restarted, monitoring), history)
        time.sleep(2.0)  # RESOLVED takes one group interval more
        instances = {name: service for name, (service, _) in sequences.items()} | {RESTARTS: restarted}
        left = {name: monitoring.webhook.firing(instance.job) for name, instance in instances.items()}
        yield Night(drill, played, left, ran, drawn, offered)
    finally:
        for service in started:
            service.close()
        monitoring.end()
        history.end()


def start_all(services: list[Instance], monitoring: Monitoring) -> None:
    for service in services:
        service.start()
    for service in services:
        path = "/livez" if service.name == "no-weights" else "/readyz"
        service.until(lambda service=service, path=path: service.status(path) == 200, seconds=90)  # type: ignore[misc]
    monitoring.start()
    wait_until(
        lambda: len(monitoring.query("up == 1")) == len(services),
        seconds=60,
        what="Prometheus scrapes every service",
    )


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    program("prometheus"), program("alertmanager")
    yield from run_night(tmp_path_factory.mktemp("alerts"))


@pytest.fixture(scope="module")
def drill(night: Night) -> Drill:
    return night.drill


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
SEQUENCES = [
    "killed, then back without being able to load",
    "hung, then killed",
    "frozen while it refuses pictures",
    "the supervisor dies while probes fail",
    "one fault after another",
    "one of two instances fails, then the other one dies",
    RESTARTS,
]


# -- the table of faults -------------------------------------------------------------------------------------------


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
    arrived = {(n.name, n.receiver) for n in fault.notifications if n.status == "firing"}
    assert arrived == {(alert, "tell" if alert.endswith(WARNING) else "page") for alert in expected}


@pytest.mark.parametrize("name", FAULTS)
def test_the_alerts_resolve_after_the_repair(drill: Drill, name: str) -> None:
    fault = drill.faults[name]
    expected = {alert for row in fault.rows for alert in alerts_of(TABLE[row])}
    assert fault.to_resolved.keys() >= expected - replaced_during(fault.rows)


def replaced_during(rows: list[str]) -> set[str]:
    """Alerts that end before the repair, because a later row has others in their place."""
    return {alert for row in rows for alert in alerts_of(TABLE[row])} - alerts_of(TABLE[rows[-1]])


def test_the_table_and_the_faults_have_the_same_rows(drill: Drill) -> None:
    assert sorted(row for fault in drill.faults.values() for row in fault.rows) == sorted(FAULTY_ROWS)
    assert sorted(drill.faults) == sorted(FAULTS)


def test_a_healthy_service_raises_no_alert(drill: Drill) -> None:
    assert drill.monitoring.webhook.of_job(drill.services["healthy"].job) == []


def test_one_cause_raises_one_page_although_requests_fail_too(drill: Drill) -> None:
    assert drill.faults["raising"].fired == {"InspyrenetWarmupFailing"}


# -- times ---------------------------------------------------------------------------------------------------------


def test_every_page_comes_within_five_minutes_and_every_cause_is_resolved_within_three(
    drill: Drill, record_property: Callable[[str, object], None]
) -> None:
    times = alert_times.measured(drill.faults.values())
    for line in alert_times.rows(times):
        record_property("printed", line)
    late = {
        (name, alert): minutes
        for name, fault in drill.faults.items()
        for alert, minutes in fault.to_page.items()
        if minutes > alert_times.LATER.get((name, alert), alert_times.PAGE_LIMIT)
    }
    slow = {
        alert: one
        for alert, one in times.items()
        if one.to_resolved > alert_times.WINDOWED.get(alert, alert_times.RESOLVED_LIMIT)
    }
    assert (late, slow) == ({}, {})


def test_the_document_lists_the_times_of_every_alert(drill: Drill) -> None:
    times = alert_times.measured(drill.faults.values())
    if os.environ.get("UPDATE_DOCUMENTS") == "1":
        alert_times.write(times)
    listed = alert_times.listed()
    assert {alert for alert in listed if listed[alert]} == set(times)
    assert set(listed) == {alert_times.name_of(rule) for rule in alerts()}


# -- sequences -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SEQUENCES)
def test_the_pages_are_true_at_every_moment_of_a_sequence(
    night: Night, name: str, record_property: Callable[[str, object], None]
) -> None:
    played = night.sequences[name]
    for step in played:
        record_property("printed", f"{name}: {step}")
    assert [problem for step in played for problem in step.problems] == []


def test_every_sequence_is_judged(night: Night) -> None:
    assert sorted(night.sequences) == sorted(SEQUENCES)


@pytest.mark.parametrize("name", SEQUENCES)
def test_no_sequence_leaves_a_page_open(night: Night, name: str) -> None:
    assert night.open[name] == set()


# -- what people read ----------------------------------------------------------------------------------------------


def test_the_description_of_a_page_names_the_number_and_the_cause(drill: Drill) -> None:
    service = drill.services["oom"]
    pages = drill.monitoring.webhook.of_job(service.job)
    description = next(n.annotations["description"] for n in pages if n.receiver == "page")
    assert re.match(rf"Warmup probes fail on {service.address} ", description)
    assert re.search(r"\bProbes that failed in a row: \d+\.", description)
    assert re.search(r"\boom \d+\b", description)


def test_a_page_says_that_pictures_of_the_size_of_a_photograph_fail(drill: Drill) -> None:
    pages = drill.monitoring.webhook.of_job(drill.services["photographs-zeros"].job)
    description = next(n.annotations["description"] for n in pages if n.receiver == "page")
    assert "Pictures of the size of a photograph fail;" in description


def test_the_link_in_a_page_opens_its_runbook(drill: Drill) -> None:
    url, status, body = drill.runbook
    alert = url.rpartition("/")[2].removesuffix(".md")
    assert status == 200
    assert body.decode().startswith(f"# {alert}\n")


@pytest.mark.parametrize("alert", sorted({rule["alert"] for rule in alerts()}))
def test_every_command_of_a_runbook_can_be_pasted(night: Night, alert: str) -> None:
    ran = [ran for fault in night.drill.faults.values() for ran in fault.ran.get(alert, ())]
    ran += night.runbooks.get(alert, [])
    down = alert == "InspyrenetTargetDown"
    failed = [
        one for one in ran if one.code not in ({0, 1, 2, 7} if down else {0}) and "probe" not in one.command
    ]
    failed += [one for one in ran if "inspyrenet probe" in one.command and one.code not in {0, 1, 2}]
    assert failed == []


@pytest.mark.parametrize(
    "alert", sorted({a.removesuffix(WARNING) for row in TABLE.values() for a in alerts_of(row)})
)
def test_the_queries_of_a_runbook_show_something_during_the_fault(drill: Drill, alert: str) -> None:
    assert all(fault.answered[alert] for fault in drill.faults.values() if alert in fault.answered)


def test_every_panel_of_the_dashboard_shows_something(night: Night) -> None:
    assert {title for title, count in night.drawn.items() if not count} <= EMPTY_PANELS


def test_the_dashboard_offers_every_instance(night: Night) -> None:
    assert {service.address for service in night.drill.services.values()} <= set(night.instances)


# -- the pipeline --------------------------------------------------------------------------------------------------


def test_the_watchdog_arrives_at_least_once_a_minute(drill: Drill) -> None:
    beats = [n.at for n in drill.monitoring.webhook.received if n.receiver == "dead-mans-switch"]
    pauses = [after - before for before, after in itertools.pairwise(beats)]
    assert median(pauses) <= 1.1
    assert max(pauses) < 10  # Prometheus and Alertmanager were restarted meanwhile


def test_promtool_finds_no_problem_in_a_live_scrape(drill: Drill) -> None:
    ran = subprocess.run(
        [program("promtool"), "check", "metrics"], input=drill.exposition, capture_output=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
