"""``deploy/manifests.py``: a mistake in a manifest is a problem; and the generated manifests are up to date.

``make check`` itself renders and validates all of them.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from deploy.kubernetes.generate import dashboard_config_map, manifests, prometheus_rule
from deploy.manifests import DEPLOY, SCHEMAS, main, problems, read
from tests.metrics.sources import METRICS


def manifest(file: str) -> Any:
    [only] = read(file)
    return only


ONE_OF_EACH = {
    "Deployment": "kubernetes/base/deployment.yaml",
    "HorizontalPodAutoscaler": "kubernetes/hpa/horizontalpodautoscaler.yaml",
    "PodMonitor": "kubernetes/monitoring/podmonitor.yaml",
    "PrometheusRule": "kubernetes/monitoring/prometheusrule.yaml",
    "ScaledObject": "kubernetes/keda/scaledobject.yaml",
    "Knative Service": "cloudrun/knative.yaml",
}


@pytest.mark.parametrize("file", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
def test_a_field_that_a_kind_does_not_have_is_a_problem(file: str) -> None:
    good = manifest(file)
    assert list(problems(good)) == []
    [*found] = problems(good | {"spec": good["spec"] | {"replicaCount": 3}})
    assert found
    assert all("replicaCount" in problem for problem in found)


def test_a_value_of_the_wrong_type_is_a_problem_in_every_version_of_kubernetes() -> None:
    deployment = manifest(ONE_OF_EACH["Deployment"])
    deployment["spec"]["progressDeadlineSeconds"] = "soon"
    assert len(list(problems(deployment))) == 2


def test_a_kind_without_a_schema_is_a_problem() -> None:
    [*found] = problems({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}})
    assert found
    assert all("Widget" in problem for problem in found)


def test_without_kubectl_the_check_is_skipped_unless_everything_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("REQUIRE_E2E", raising=False)
    assert main() == 0
    assert "SKIPPED" in capsys.readouterr().err
    monkeypatch.setenv("REQUIRE_E2E", "1")
    assert main() == 1


def test_every_schema_is_used() -> None:
    assert {file.name for file in (DEPLOY / "schemas").iterdir()} == set(SCHEMAS.values())


def test_the_generated_manifests_are_what_their_sources_give() -> None:
    for path, text in manifests().items():
        assert path.read_text() == text, f"{path.name} is out of date: run deploy/kubernetes/generate.py"


def test_the_rules_and_the_dashboard_arrive_unchanged() -> None:
    rules, dashboard = (METRICS / "alerts.yml").read_text(), (METRICS / "dashboard.json").read_text()
    assert yaml.safe_load(prometheus_rule(rules))["spec"] == yaml.safe_load(rules)
    assert yaml.safe_load(dashboard_config_map(dashboard))["data"] == {"inspyrenet.json": dashboard}


def test_the_runbooks_can_be_somewhere_else() -> None:
    rules = (METRICS / "alerts.yml").read_text()
    moved = prometheus_rule(rules, "https://wiki.example/runbooks")
    assert "https://wiki.example/runbooks/InspyrenetWatchdog.md" in moved
    assert "externalURL" not in moved
