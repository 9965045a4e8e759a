"""What the documents of ``deploy/`` say of the manifests is what stands in the manifests."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.deploy.test_facts import CLOUD_RUN, DEFAULTS, DEPLOY, DEPLOYMENT, KUBERNETES, of, pod, setting
from tests.support.programs import ROOT

SCALED = of("kubernetes", "keda", "scaledobject.yaml")["spec"]


def cell(document: str, name: str) -> str:
    """The second cell of the row whose first cell is this, in a table of a document of ``deploy/``."""
    [found] = re.findall(
        rf"^\| {re.escape(name)} \| ([^|]*?) \|", (DEPLOY / document).read_text(), re.MULTILINE
    )
    return str(found)


def probe(manifest: Any, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = pod(manifest)["containers"][0][kind]
    return found


def times(probe: dict[str, Any]) -> str:
    return f"{probe['failureThreshold']} x {probe['periodSeconds']} s"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("`minScale`, `maxScale`", "{minScale}, {maxScale}"),
        ("`containerConcurrency`", "{containerConcurrency}"),
        ("`timeoutSeconds`", "{timeoutSeconds}"),
        ("startup probe", "`{startup[path]}`, up to {budget} s"),
        ("liveness probe", "`{liveness[path]}`, {liveness_times}"),
        ('`cpu-throttling: "false"`', "CPU always allocated"),
        ("`INSPYRENET_MAX_PIXELS`", "{max_pixels:.0f}"),
        ("`INSPYRENET_DRAIN_TIMEOUT`", "{drain_timeout:.0f}"),
    ],
)
def test_the_table_of_cloud_run_is_what_its_manifest_says(name: str, said: str) -> None:
    annotations = CLOUD_RUN["spec"]["template"]["metadata"]["annotations"]
    startup, liveness = probe(CLOUD_RUN, "startupProbe"), probe(CLOUD_RUN, "livenessProbe")
    assert annotations["run.googleapis.com/cpu-throttling"] == "false"
    assert cell("cloudrun/README.md", name) == said.format(
        **{key.rpartition("/")[2]: value for key, value in annotations.items()},
        **{key: pod(CLOUD_RUN)[key] for key in ("containerConcurrency", "timeoutSeconds")},
        startup=startup["httpGet"],
        budget=startup["failureThreshold"] * startup["periodSeconds"],
        liveness=liveness["httpGet"],
        liveness_times=times(liveness),
        max_pixels=setting(CLOUD_RUN, "max_pixels"),
        drain_timeout=setting(CLOUD_RUN, "drain_timeout"),
    )


def test_the_table_of_kubernetes_is_what_its_manifest_says() -> None:
    readme = "kubernetes/README.md"
    startup, readiness, liveness = (
        probe(DEPLOYMENT, kind) for kind in ("startupProbe", "readinessProbe", "livenessProbe")
    )
    assert cell(readme, "startup probe") == f"`{startup['httpGet']['path']}`, {times(startup)}"
    assert readiness["failureThreshold"] == 1
    assert cell(readme, "readiness probe") == (
        f"`{readiness['httpGet']['path']}`, every {readiness['periodSeconds']} s, one failure"
    )
    assert cell(readme, "liveness probe") == f"`{liveness['httpGet']['path']}`, {times(liveness)}"
    stop = pod(DEPLOYMENT)["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert cell(readme, "`preStop`") == f"{stop} s"
    assert cell(readme, "`INSPYRENET_DRAIN_TIMEOUT`") == f"{setting(DEPLOYMENT, 'drain_timeout'):.0f} s"
    grace = pod(DEPLOYMENT)["terminationGracePeriodSeconds"]
    assert cell(readme, "`terminationGracePeriodSeconds`") == f"{grace} s"


def test_what_is_said_of_scaling_is_what_the_scalers_say() -> None:
    readme = (KUBERNETES / "README.md").read_text()
    assert f"asks Prometheus every {SCALED['pollingInterval']} s" in readme
    thresholds = [trigger["metadata"]["threshold"] for trigger in SCALED["triggers"]]
    assert thresholds == ["4", "10"]
    assert "run or wait, four a pod" in readme
    assert "would wait, ten a pod" in readme
    assert SCALED["fallback"] == {"failureThreshold": 3, "replicas": 2, "behavior": "currentReplicasIfHigher"}
    assert re.search(r"After\s+three errors KEDA keeps the pods that run, and at least two", readme)
    namespace = of("kubernetes", "base", "namespace.yaml")["metadata"]["name"]
    for trigger in SCALED["triggers"]:
        query = trigger["metadata"]["query"]
        assert query.count(f'{{namespace="{namespace}"}}') == query.count("inspyrenet_")


@pytest.mark.parametrize("flavour", ["cpu", "gpu"])
def test_a_pod_has_the_memory_that_its_engine_needs_and_its_document_says(flavour: str) -> None:
    resources = pod(of("kubernetes", flavour, "deployment.yaml"))["containers"][0]["resources"]
    [(engine, queue)] = re.findall(
        r"(\d) GiB of memory for InSPyReNet, (\d) GiB more", (ROOT / "README.md").read_text()
    )
    given = int(resources["limits"]["memory"].removesuffix("Gi"))
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    assert given >= int(engine) + int(queue)
    assert f"{given} Gi" in (KUBERNETES / "README.md").read_text()


def test_the_example_for_kserve_is_like_the_manifest_for_knative() -> None:
    [block] = re.findall(
        r"^```yaml\n(apiVersion: serving\.kserve.*?)^```$",
        (ROOT / "docs/platforms.md").read_text(),
        re.M | re.S,
    )
    predictor = yaml.safe_load(block)["spec"]["predictor"]
    knative = pod(of("cloudrun", "knative.yaml"))
    assert predictor["containerConcurrency"] == knative["containerConcurrency"]
    assert predictor["timeout"] == knative["timeoutSeconds"]
    assert predictor["containers"][0]["ports"] == [{"containerPort": DEFAULTS.port}]


def test_compose_publishes_the_port_of_the_service_and_gives_each_gpu_a_replica_of_the_proxy() -> None:
    one = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert f"{DEFAULTS.port}:{DEFAULTS.port}" in one["pod"]["ports"]
    several = yaml.safe_load((DEPLOY / "compose.gpus.yaml").read_text())["services"]
    proxy = (DEPLOY / "haproxy.cfg").read_text()
    [listens] = re.findall(r"bind :(\d+)", proxy.partition("frontend")[2])
    assert several["pod"]["ports"] == [f"{listens}:{listens}"]
    replicas = {
        f"127.0.0.1:{service['environment']['INSPYRENET_PORT']}"
        for service in several.values()
        if "INSPYRENET_PORT" in service.get("environment", {})
    }
    first = re.findall(r"server one (\S+) check", proxy)
    assert replicas == {*first, *several["proxy"]["environment"].values()}


def test_a_schedule_is_no_longer_apart_than_an_idle_instance_lives_and_costs_what_its_hours_cost() -> None:
    text = (DEPLOY / "cloudrun" / "scheduler.md").read_text()
    [(minutes, first, last)] = re.findall(r"'\*/(\d+) (\d+)-(\d+) \* \* 1-5'", text)
    assert int(minutes) <= 10
    hours = int(last) - int(first) + 1
    assert f"{hours} h x 5 days x 52 / 12 = {hours * 5 * 52 / 12:.0f} hours a month" in text
    container = pod(CLOUD_RUN)["containers"][0]["resources"]["limits"]
    assert (
        f"{container['cpu']} x vCPU a second + {container['memory'].removesuffix('Gi')} x GiB a second"
        in text
    )
