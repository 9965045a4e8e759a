"""What the files in ``deploy/`` say of the service is true: ports, paths, variables, metrics, limits and graces.

The files are read as they are, so nothing has to be installed for these tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from metrics.catalogue import Metrics
from service.app import create_app
from service.http.body import MULTIPART_OVERHEAD
from service.lifecycle import CLOSING_SECONDS
from service.settings import Settings, variable
from tests.metrics.promql import selectors
from tests.metrics.sources import documents as markdown
from tests.support.programs import ROOT
from tests.support.scripted_engine import ScriptedEngine

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
DEFAULTS = Settings()

TEXTS = [
    ROOT / "Dockerfile",
    *ROOT.glob(".github/workflows/*"),
    *(
        path
        for path in sorted(DEPLOY.rglob("*"))
        if path.suffix in {".yaml", ".yml", ".cfg", ".md", ".toml"} and "schemas" not in path.parts
    ),
]
MANIFESTS = [path for path in TEXTS if path.suffix == ".yaml" and "grafana" not in path.parts]

ids = {"ids": lambda path: str(path.relative_to(ROOT))}


def documents(path: Path) -> list[Any]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def found(value: Any, key: str) -> Iterator[Any]:
    """Every value of a key, at any depth."""
    if isinstance(value, dict):
        if key in value:
            yield value[key]
        for inner in value.values():
            yield from found(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from found(inner, key)


def of(*parts: str) -> Any:
    [document] = documents(DEPLOY.joinpath(*parts))
    return document


def pod(manifest: Any) -> Any:
    return manifest["spec"]["template"]["spec"]


def setting(manifest: Any, field: str) -> float:
    """A setting of the service's container: its variable, else the default."""
    given = {entry["name"]: entry["value"] for entry in pod(manifest)["containers"][0]["env"]}
    return float(given.get(variable(field), getattr(DEFAULTS, field)))


DEPLOYMENT = of("kubernetes", "base", "deployment.yaml")
CLOUD_RUN = of("cloudrun", "service.yaml")
KNATIVE = of("cloudrun", "knative.yaml")
PODS = {"kubernetes": DEPLOYMENT, "cloudrun": CLOUD_RUN, "knative": KNATIVE}
KNATIVE_PORT = "user-port"
"""What Knative calls the port of the container, whatever the manifest calls it."""
SELECTORS = {
    ("kubernetes", "base", "deployment.yaml"): "selector",
    ("kubernetes", "base", "poddisruptionbudget.yaml"): "selector",
    ("kubernetes", "base", "networkpolicy.yaml"): "podSelector",
    ("kubernetes", "monitoring", "podmonitor.yaml"): "selector",
    ("cloudrun", "knative-podmonitor.yaml"): "selector",
}


@pytest.fixture(scope="module")
def routes() -> set[str]:
    app = create_app(Settings(), engine=ScriptedEngine(), registry=CollectorRegistry())
    return {resource.canonical for resource in app.router.resources()}


@pytest.fixture(scope="module")
def exported() -> set[str]:
    registry = CollectorRegistry()
    Metrics(registry)
    families = list(registry.collect())
    return {family.name for family in families} | {s.name for family in families for s in family.samples}


@pytest.mark.parametrize("path", dict.fromkeys([*TEXTS, *markdown()]), **ids)
def test_every_variable_is_that_of_a_setting(path: Path) -> None:
    known = {variable(field) for field in Settings.model_fields}
    assert set(re.findall(r"\bINSPYRENET_[A-Z0-9_]+", path.read_text())) <= known


@pytest.mark.parametrize("path", TEXTS, **ids)
def test_every_metric_is_exported(path: Path, exported: set[str]) -> None:
    # What has a colon beside it is recorded by a rule.
    named = set(re.findall(r"(?<![\w:/-])inspyrenet_[a-z0-9_]+(?![\w:/-])", path.read_text()))
    assert named <= exported


def test_every_query_that_scales_selects_metrics_of_the_service(exported: set[str]) -> None:
    queries = [
        trigger["metadata"]["query"]
        for trigger in of("kubernetes", "keda", "scaledobject.yaml")["spec"]["triggers"]
    ]
    assert {selector.name for query in queries for selector in selectors(query)} <= exported
    pods = list(found(of("kubernetes", "hpa", "horizontalpodautoscaler.yaml"), "metric"))
    assert pods
    assert {metric["name"] for metric in pods} <= exported


@pytest.mark.parametrize("path", MANIFESTS, **ids)
def test_every_probe_asks_a_path_and_a_port_of_the_service(path: Path, routes: set[str]) -> None:
    for probe in found(documents(path), "httpGet"):
        assert probe["path"] in routes
        assert probe.get("port", "http") in {"http", DEFAULTS.port}
    for endpoints in found(documents(path), "podMetricsEndpoints"):
        assert all(endpoint["path"] in routes for endpoint in endpoints)


def test_only_liveness_may_restart_and_readiness_asks_for_readiness() -> None:
    for manifest in PODS.values():
        container = pod(manifest)["containers"][0]
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert pod(DEPLOYMENT)["containers"][0]["startupProbe"]["httpGet"]["path"] == "/livez"
    assert pod(DEPLOYMENT)["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert pod(KNATIVE)["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert pod(CLOUD_RUN)["containers"][0]["startupProbe"]["httpGet"]["path"] == "/readyz"


def test_the_port_is_the_default_of_the_service() -> None:
    for manifest in PODS.values():
        [port] = pod(manifest)["containers"][0]["ports"]
        assert port["containerPort"] == DEFAULTS.port
    assert re.findall(r"^EXPOSE (\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE) == [
        str(DEFAULTS.port)
    ]
    agent = yaml.safe_load((DEPLOY / "prometheus-agent.yml").read_text())
    assert list(found(agent, "targets")) == [[f"localhost:{DEFAULTS.port}"]]


def test_the_named_port_of_services_policies_and_monitors_is_that_of_the_container() -> None:
    [port] = pod(DEPLOYMENT)["containers"][0]["ports"]
    assert of("kubernetes", "base", "service.yaml")["spec"]["ports"][0]["targetPort"] == port["name"]
    policy = of("kubernetes", "base", "networkpolicy.yaml")["spec"]
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"port": port["name"]}]]
    [endpoint] = of("kubernetes", "monitoring", "podmonitor.yaml")["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == port["name"]
    [endpoint] = of("cloudrun", "knative-podmonitor.yaml")["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == KNATIVE_PORT


def test_every_selector_finds_its_own_pods_and_no_others() -> None:
    ours, knative = (each["spec"]["template"]["metadata"]["labels"] for each in (DEPLOYMENT, KNATIVE))
    selectors = {parts: of(*parts)["spec"][key]["matchLabels"] for parts, key in SELECTORS.items()}
    selectors["kubernetes", "base", "service.yaml"] = of("kubernetes", "base", "service.yaml")["spec"][
        "selector"
    ]
    for parts, selector in selectors.items():
        found_pods = [
            name
            for name, labels in (("ours", ours), ("knative", knative))
            if selector.items() <= labels.items()
        ]
        assert found_pods == ["ours" if parts[0] == "kubernetes" else "knative"], parts


@pytest.mark.parametrize(
    "file", ["kubernetes/monitoring/podmonitor.yaml", "cloudrun/knative-podmonitor.yaml"]
)
def test_the_job_that_a_pod_monitor_makes_is_one_that_the_rules_look_for(file: str) -> None:
    monitor = of(*file.split("/"))
    job = f"any/{monitor['metadata']['name']}"  # the operator's: namespace/name
    patterns = set(re.findall(r'up\{job=~"([^"]+)"', (ROOT / "metrics/alerts.yml").read_text()))
    assert patterns
    assert all(re.fullmatch(pattern, job) for pattern in patterns)


@pytest.mark.parametrize("scaler", ["keda/scaledobject.yaml", "hpa/horizontalpodautoscaler.yaml"])
def test_an_autoscaler_keeps_a_pod_of_the_deployment_which_names_no_number_itself(scaler: str) -> None:
    spec = of("kubernetes", *scaler.split("/"))["spec"]
    assert spec["scaleTargetRef"]["name"] == DEPLOYMENT["metadata"]["name"]
    assert spec.get("minReplicaCount", spec.get("minReplicas")) >= 1
    assert "replicas" not in DEPLOYMENT["spec"]


def test_a_missing_series_is_an_error_for_keda_and_never_a_reason_to_scale_down() -> None:
    spec = of("kubernetes", "keda", "scaledobject.yaml")["spec"]
    for trigger in spec["triggers"]:
        assert trigger["metadata"]["ignoreNullValues"] == "false"
        assert trigger["metricType"] == "AverageValue"  # the fallback needs it
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"


def test_kubernetes_and_knative_wait_for_every_accepted_picture() -> None:
    for manifest in (DEPLOYMENT, KNATIVE):
        drain = setting(manifest, "drain_timeout")
        assert drain >= setting(manifest, "request_timeout") + CLOSING_SECONDS
    stop = pod(DEPLOYMENT)["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod(DEPLOYMENT)["terminationGracePeriodSeconds"] >= stop + setting(DEPLOYMENT, "drain_timeout") + 5
    assert pod(KNATIVE)["timeoutSeconds"] >= setting(KNATIVE, "drain_timeout") + 5


def test_cloud_run_and_compose_kill_after_the_drain_has_ended() -> None:
    assert setting(CLOUD_RUN, "drain_timeout") < 10  # Cloud Run's own; it cannot be set
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    graces = [
        float(service["stop_grace_period"].removesuffix("s"))
        for service in compose.values()
        if "stop_grace_period" in service
    ]
    assert graces
    assert min(graces) > DEFAULTS.drain_timeout


@pytest.mark.parametrize("manifest", [CLOUD_RUN, KNATIVE], ids=["cloudrun", "knative"])
def test_a_platform_sends_as_many_requests_as_the_service_has_places_and_waits_for_start_and_answer(
    manifest: Any,
) -> None:
    assert pod(manifest)["containerConcurrency"] == setting(manifest, "queue_size") + 1
    longest = startup_budget() + setting(manifest, "read_timeout") + setting(manifest, "request_timeout")
    assert longest < pod(manifest)["timeoutSeconds"] < longest + 30


def startup_budget() -> float:
    """The longest start that Cloud Run allows; the request that woke the instance waits meanwhile."""
    probe = pod(CLOUD_RUN)["containers"][0]["startupProbe"]
    return float(probe["periodSeconds"] * probe["failureThreshold"])


def test_the_startup_budget_of_cloud_run_is_one_that_it_allows() -> None:
    assert 60 <= startup_budget() <= 240


@pytest.mark.parametrize("document", ["deploy/cloudrun/scheduler.md", "docs/recipes.md"])
def test_a_scheduled_warmup_waits_for_a_cold_start_and_gives_up_before_the_platform(document: str) -> None:
    [deadline] = re.findall(r"--attempt-deadline[ =](\d+)s", (ROOT / document).read_text())
    assert startup_budget() < int(deadline) < pod(CLOUD_RUN)["timeoutSeconds"]


def test_no_manifest_names_a_registry_and_the_rollout_fills_every_placeholder() -> None:
    images = {str(image) for path in MANIFESTS for image in found(documents(path), "image")}
    hosts = {name.partition("/")[0] for name in images if "/" in name}
    assert {host for host in hosts if re.search(r"[.:]", host)} == {"registry.example"}
    commands = (DEPLOY / "cloudrun" / "README.md").read_text()
    assert set(re.findall(r"s\|([^|]+)\|\$", commands)) == set(found(CLOUD_RUN, "image"))


def test_a_rollout_by_replace_gives_all_traffic_to_the_new_revision_as_its_document_says() -> None:
    assert CLOUD_RUN["spec"]["traffic"] == [{"latestRevision": True, "percent": 100}]


def test_the_user_and_the_writable_folder_are_those_of_the_image() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    [(user, group)] = re.findall(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)
    [cache] = re.findall(r"\bHOME=(/var/\S+)", dockerfile)
    for manifest, security in (
        (DEPLOYMENT, pod(DEPLOYMENT)["securityContext"]),
        (KNATIVE, pod(KNATIVE)["containers"][0]["securityContext"]),
    ):
        assert (security["runAsUser"], security["runAsGroup"]) == (int(user), int(group))
        container = pod(manifest)["containers"][0]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == [cache]


MEGABYTES = {"MB": 10**6, "MiB": 2**20}
PNG_BYTES_A_PIXEL = 1.14  # docs/scaling.md


def test_the_limits_for_each_platform_are_below_its_own_and_the_commands_set_them() -> None:
    text = (ROOT / "docs" / "platforms.md").read_text()
    rows = [
        ([float(number) * MEGABYTES[unit] for number, unit in re.findall(r"\| ([\d.]+) (Mi?B)\b", row)], row)
        for row in re.findall(r"^\| .*INSPYRENET_MAX_PIXELS.*\|$", text, re.MULTILINE)
    ]
    assert len(rows) == 5
    [cloud_run] = [row for _, row in rows if row.startswith("| [Cloud Run]")]
    assert f"INSPYRENET_MAX_PIXELS={setting(CLOUD_RUN, 'max_pixels'):.0f}" in cloud_run
    for (body, answer), row in rows:
        limits = {name: int(value) for name, value in re.findall(r"INSPYRENET_(\w+)=(\d+)", row)}
        assert limits.get("MAX_UPLOAD_BYTES", DEFAULTS.max_upload_bytes) + MULTIPART_OVERHEAD <= body
        assert limits["MAX_PIXELS"] * PNG_BYTES_A_PIXEL <= answer
        assert ("60 s" in row) == (limits.get("REQUEST_TIMEOUT", DEFAULTS.request_timeout) < 60)
    sections = {section.partition("\n")[0]: section for section in text.split("\n## ")}
    for title, name in (("Vertex AI", "Vertex AI, shared"), ("SageMaker", "SageMaker, [real time]")):
        [row] = [row for _, row in rows if row.startswith(f"| {name}")]
        assert all(given in sections[title] for given in re.findall(r"INSPYRENET_\w+=\d+", row))
