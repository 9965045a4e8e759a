"""The alert rules, their runbooks, and the configurations of Prometheus and Alertmanager, checked with real tools."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.metrics.promql import selectors
from tests.metrics.sources import METRICS, ROOT, RUNBOOKS, alerts, loaded, rule_groups
from tests.support.programs import program

TESTS = loaded("alerts_test.yml")["tests"]
ALERTMANAGER = loaded("alertmanager.yml")
PRESENCE = {"InspyrenetTargetDown", "InspyrenetAbsent", "InspyrenetRestarting"}
ABOUT_MORE_THAN_ONE = {
    "InspyrenetTargetDown",
    "InspyrenetAbsent",
    "InspyrenetWatchdog",
    "InspyrenetErrorBudgetBurn",
    "InspyrenetMetricsMissing",
}
"""Alerts that are not about one instance that answers, and the one about its scrapes. InspyrenetMetricsMissing needs an
answer anyway."""
SECTIONS = [
    "## What this means",
    "## What users notice",
    "## First look: commands",
    "## Causes and what to do",
    "## If this does not help",
]
PLACEHOLDER = re.compile(r"\b(?:INSTANCE|POD|PID|PROMETHEUS|ALERTMANAGER)\b")


def name(rule: dict[str, Any]) -> str:
    return f"{rule['alert']}-{rule['labels']['severity']}"


def run(*command: str) -> str:
    ran = subprocess.run(command, cwd=METRICS, capture_output=True, text=True, check=False, timeout=110)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_promtool_finds_the_configuration_of_prometheus_correct() -> None:
    assert "SUCCESS" in run(program("promtool"), "check", "config", "prometheus.yml")


def test_amtool_finds_the_configuration_of_alertmanager_correct() -> None:
    assert "SUCCESS" in run(program("amtool"), "check-config", "alertmanager.yml")


@pytest.mark.parametrize("rule", alerts(), ids=name)
def test_every_alert_has_a_severity_a_summary_a_number_and_a_runbook(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Inspyrenet")
    assert rule["labels"]["severity"] in {"critical", "warning", "none"}
    annotations = rule["annotations"]
    assert annotations["summary"]
    assert "$value" in annotations["description"], "the description names the number"
    assert annotations["runbook_url"] == f"{{{{ $externalURL }}}}/user/{rule['alert']}.md"


@pytest.mark.parametrize("alert", sorted({rule["alert"] for rule in alerts()}))
def test_every_alert_has_a_runbook_with_every_section(alert: str) -> None:
    lines = (RUNBOOKS / f"{alert}.md").read_text().splitlines()
    assert lines[0] == f"# {alert}"
    assert [line for line in lines if line.startswith("## ")] == SECTIONS


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_a_runbook_explains_the_placeholders_in_its_commands(page: Path) -> None:
    text = page.read_text()
    commands = "".join(re.findall(r"```(?:sh|promql)\n(.*?)```", text, re.DOTALL))
    assert {name for name in PLACEHOLDER.findall(commands) if f"`{name}`" not in text} == set()


def test_the_log_lines_that_runbooks_search_for_are_in_the_source() -> None:
    pages = "".join(page.read_text() for page in RUNBOOKS.glob("*.md"))
    searched = "|".join(re.findall(r"grep (?:-E )?'([^']+)'", pages))
    wanted = {words for words in searched.split("|") if re.fullmatch("[A-Za-z]+( [a-z]+)+", words)}
    sources = "".join(
        file.read_text() for part in ("service", "supervisor") for file in (ROOT / part).rglob("*.py")
    )
    assert wanted == {"Warmup failed", "state changed", "a thread is stuck"}
    assert {words for words in wanted if words not in sources} == set()


@pytest.mark.parametrize("rule", alerts(), ids=name)
def test_a_runbook_states_the_severity_of_its_alert(rule: dict[str, Any]) -> None:
    severity = (RUNBOOKS / f"{rule['alert']}.md").read_text().splitlines()[2]
    assert severity.startswith("Severity: ")
    assert rule["labels"]["severity"] in severity


def test_every_runbook_belongs_to_an_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*")} == {rule["alert"] for rule in alerts()}


@pytest.mark.parametrize("rule", alerts(), ids=name)
def test_every_alert_is_tested_to_fire_with_its_annotations(rule: dict[str, Any]) -> None:
    tested = {
        (check["alertname"], alert["exp_labels"]["severity"])
        for test in TESTS
        for check in test.get("alert_rule_test", [])
        for alert in check["exp_alerts"]
    }
    assert (rule["alert"], rule["labels"]["severity"]) in tested


def test_the_tests_for_promtool_contain_two_whole_days_without_an_alert() -> None:
    days = [
        check
        for test in TESTS
        for check in test.get("promql_expr_test", [])
        if "count_over_time(ALERTS" in check["expr"] and "[1d]" in check["expr"] and not check["exp_samples"]
    ]
    assert {check["eval_time"] for check in days} == {"24h"}
    assert len(days) == 2


def test_the_alerts_that_do_not_fit_scale_to_zero_are_one_group() -> None:
    [group] = [group for group in rule_groups() if group["name"] == "inspyrenet-presence"]
    assert {rule["alert"] for rule in group["rules"]} == PRESENCE
    elsewhere = {rule["alert"] for rule in alerts() if rule not in group["rules"]}
    assert elsewhere.isdisjoint(PRESENCE)


def test_a_page_about_an_instance_fires_only_if_no_other_instance_is_ready() -> None:
    """The two other pages are about a whole job."""
    pages = [rule for rule in alerts() if rule["labels"]["severity"] == "critical"]
    about_an_instance = [
        rule for rule in pages if rule["alert"] not in {"InspyrenetErrorBudgetBurn", "InspyrenetAbsent"}
    ]
    assert len(about_an_instance) == 8
    unless_peers_are_ready = re.compile(
        r"unless (instance:inspyrenet_ready_peers:sum > 0|avg_over_time\(instance:inspyrenet_ready_peers:sum\[)"
    )
    assert all(unless_peers_are_ready.search(rule["expr"]) for rule in about_an_instance)


def test_routes_and_explanations_name_alerts_that_exist() -> None:
    existing = {rule["alert"] for rule in alerts()}
    patterns = [
        value
        for rule in alerts()
        for selector in selectors(rule["expr"])
        if selector.name == "ALERTS"
        for label, _, value in selector.matchers
        if label == "alertname"
    ]
    assert patterns
    for route in ALERTMANAGER["route"]["routes"]:
        for matcher in route["matchers"]:
            label, _, wanted = re.split(r"\s*(=~|!~|!=|=)\s*", matcher)
            if label == "alertname":
                patterns.append(wanted.strip('"'))
    for pattern in patterns:
        for one in alternatives(pattern):
            assert any(re.fullmatch(one, alert) for alert in existing), pattern


def alternatives(pattern: str) -> list[str]:
    """Expand the groups of a pattern like ``A(B|C(D|E))``."""
    if (group := re.search(r"\(([^()]*)\)", pattern)) is None:
        return pattern.split("|")
    before, after = pattern[: group.start()], pattern[group.end() :]
    return [one for part in group[1].split("|") for one in alternatives(before + part + after)]


def test_alertmanager_inhibits_nothing() -> None:
    """An alert that was reported, and then ends while it is inhibited, would never be reported as resolved."""
    assert "inhibit_rules" not in ALERTMANAGER


def test_no_alert_fires_longer_than_its_cause() -> None:
    assert [rule["alert"] for rule in alerts() if "keep_firing_for" in rule] == []


@pytest.mark.parametrize(
    "rule", [rule for rule in alerts() if rule["alert"] not in ABOUT_MORE_THAN_ONE], ids=name
)
def test_a_target_that_does_not_answer_explains_every_alert_about_an_instance(rule: dict[str, Any]) -> None:
    explained_by = [
        value
        for selector in selectors(rule["expr"])
        if selector.name == "ALERTS"
        for label, _, value in selector.matchers
        if label == "alertname"
    ]
    assert any("InspyrenetTargetDown" in alternatives(pattern) for pattern in explained_by)
