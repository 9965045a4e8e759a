"""The rules, their runbooks and their configurations, judged by the real tools."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml

from tests.metrics.sources import METRICS, RUNBOOKS, alerts, rule_groups
from tests.support.programs import program

TESTS = yaml.safe_load((METRICS / "alerts_test.yml").read_text())["tests"]
ALERTMANAGER = yaml.safe_load((METRICS / "alertmanager.yml").read_text())
PRESENCE = {"InspyrenetTargetDown", "InspyrenetAbsent", "InspyrenetRestarting"}


def name(rule: dict[str, Any]) -> str:
    return f"{rule['alert']}-{rule['labels']['severity']}"


def run(*command: str) -> str:
    ran = subprocess.run(command, cwd=METRICS, capture_output=True, text=True, check=False, timeout=110)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_promtool_finds_the_rules_correct() -> None:
    assert "SUCCESS" in run(program("promtool"), "check", "rules", "alerts.yml")


def test_every_alert_fires_and_keeps_quiet_as_promtool_s_tests_say() -> None:
    assert "SUCCESS" in run(program("promtool"), "test", "rules", "alerts_test.yml")


def test_promtool_finds_the_configuration_of_prometheus_correct() -> None:
    assert "SUCCESS" in run(program("promtool"), "check", "config", "prometheus.yml")


def test_amtool_finds_the_configuration_of_alertmanager_correct() -> None:
    assert "SUCCESS" in run(program("amtool"), "check-config", "alertmanager.yml")


@pytest.mark.parametrize("rule", alerts(), ids=name)
def test_every_alert_says_how_bad_what_how_much_and_what_to_do(rule: dict[str, Any]) -> None:
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
    sections = [line for line in lines if line.startswith("## ")]
    assert sections == ["## Meaning", "## Impact", "## Diagnosis", "## Mitigation"]


@pytest.mark.parametrize("rule", alerts(), ids=name)
def test_a_runbook_says_how_severe_its_alert_is(rule: dict[str, Any]) -> None:
    severity = (RUNBOOKS / f"{rule['alert']}.md").read_text().splitlines()[2]
    assert severity.startswith("Severity: ")
    assert rule["labels"]["severity"] in severity


def test_every_runbook_belongs_to_an_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*")} == {rule["alert"] for rule in alerts()}


def test_links_between_runbooks_lead_somewhere() -> None:
    linked = {link for page in RUNBOOKS.glob("*.md") for link in re.findall(r"\]\((.+?)\)", page.read_text())}
    assert {link for link in linked if not (RUNBOOKS / link).is_file()} == set()


@pytest.mark.parametrize("rule", alerts(), ids=name)
def test_every_alert_is_proved_to_fire_with_its_words(rule: dict[str, Any]) -> None:
    proved = {
        (check["alertname"], alert["exp_labels"]["severity"])
        for test in TESTS
        for check in test.get("alert_rule_test", [])
        for alert in check["exp_alerts"]
    }
    assert (rule["alert"], rule["labels"]["severity"]) in proved


def test_whole_days_of_silence_are_among_the_tests() -> None:
    days = [
        check
        for test in TESTS
        for check in test.get("promql_expr_test", [])
        if "count_over_time(ALERTS" in check["expr"] and "[1d]" in check["expr"] and not check["exp_samples"]
    ]
    assert {check["eval_time"] for check in days} == {"24h"}
    assert len(days) == 2


def test_what_a_service_that_scales_to_zero_leaves_out_is_one_group() -> None:
    [group] = [group for group in rule_groups() if group["name"] == "inspyrenet-presence"]
    assert {rule["alert"] for rule in group["rules"]} == PRESENCE
    elsewhere = {rule["alert"] for rule in alerts() if rule not in group["rules"]}
    assert elsewhere.isdisjoint(PRESENCE)


def test_only_what_cannot_serve_wakes_people() -> None:
    """A page makes sure that no other instance stands in, or speaks of the whole job."""
    pages = [rule for rule in alerts() if rule["labels"]["severity"] == "critical"]
    of_an_instance = [
        rule for rule in pages if rule["alert"] not in {"InspyrenetErrorBudgetBurn", "InspyrenetAbsent"}
    ]
    assert len(of_an_instance) == 6
    no_peer = re.compile(
        r"unless (instance:inspyrenet_ready_peers:sum > 0|avg_over_time\(instance:inspyrenet_ready_peers:sum\[)"
    )
    assert all(no_peer.search(rule["expr"]) for rule in of_an_instance)


def test_inhibitions_and_routes_name_alerts_that_exist() -> None:
    existing = {rule["alert"] for rule in alerts()}
    matchers = [
        matcher
        for rule in ALERTMANAGER["inhibit_rules"]
        for matcher in [*rule["source_matchers"], *rule["target_matchers"]]
    ]
    matchers += [matcher for route in ALERTMANAGER["route"]["routes"] for matcher in route["matchers"]]
    for matcher in matchers:
        label, _, wanted = re.split(r"\s*(=~|!~|!=|=)\s*", matcher)
        if label == "alertname":
            pattern = wanted.strip('"')
            assert any(re.fullmatch(pattern, alert) for alert in existing), matcher
            alternatives = pattern.split("|") if "(" not in pattern else [pattern]
            assert all(any(re.fullmatch(one, alert) for alert in existing) for one in alternatives), matcher
