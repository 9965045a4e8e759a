"""Renders the manifests in ``deploy/`` and validates each against the schema of its kind.

``make check`` runs ``python deploy/manifests.py``. The exit code is 1 if a manifest is not valid. Without ``kubectl``,
whose ``kustomize`` renders them, it prints ``SKIPPED`` and exits with 0; with ``REQUIRE_E2E=1`` that is a failure too.

The built-in kinds are validated against Kubernetes' own schemas, of the oldest version that the manifests support and
of the newest that is known. Those of the others are in ``deploy/schemas``; ``NOTICE`` says where they come from. An
unknown field is an error in all of them.
"""

# ruff: noqa: T201, S603 - this script prints, and starts a program

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

DEPLOY = Path(__file__).parent
RENDERED = tuple(f"kubernetes/{name}" for name in ("cpu", "gpu", "monitoring", "keda", "hpa"))
"""What people apply with ``kubectl apply -k``."""
PLAIN = ("cloudrun/service.yaml", "cloudrun/knative.yaml", "cloudrun/knative-podmonitor.yaml")

KUBERNETES_VERSIONS = ("1.30", kubernetes_validate.latest_version())

SCHEMAS: Mapping[tuple[str, str], str] = {
    ("monitoring.coreos.com/v1", "PodMonitor"): "podmonitor_v1.json",
    ("monitoring.coreos.com/v1", "PrometheusRule"): "prometheusrule_v1.json",
    ("keda.sh/v1alpha1", "ScaledObject"): "scaledobject_v1alpha1.json",
    ("serving.knative.dev/v1", "Service"): "service_v1.json",
}

Manifest = dict[str, Any]


def render(kubectl: str, folder: str) -> list[Manifest]:
    """The manifests of a kustomization in ``deploy/``.

    Raises:
        subprocess.CalledProcessError: it cannot be rendered; ``stderr`` says why.
    """
    done = subprocess.run(
        [kubectl, "kustomize", str(DEPLOY / folder)], capture_output=True, text=True, check=True
    )
    return list(yaml.safe_load_all(done.stdout))


def read(file: str) -> list[Manifest]:
    """The manifests of a file in ``deploy/`` that is applied as it is."""
    return list(yaml.safe_load_all((DEPLOY / file).read_text()))


def problems(manifest: Manifest) -> Iterator[str]:
    """What is wrong with a manifest; nothing if it is valid."""
    kind = manifest["apiVersion"], manifest["kind"]
    if kind in SCHEMAS:
        schema = json.loads((DEPLOY / "schemas" / SCHEMAS[kind]).read_text())
        for error in jsonschema.Draft7Validator(schema).iter_errors(manifest):
            yield f"{error.json_path}: {error.message}"
        return
    for version in KUBERNETES_VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError as error:
            yield error.message
        except kubernetes_validate.ValidationError as error:
            yield f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}"


def main() -> int:
    """Render, validate, print one line for each place, and return the exit code."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        required = os.environ.get("REQUIRE_E2E") == "1"
        advice = "kubectl is missing (Debian: apt-get install kubernetes-client)"
        print(f"manifests: {advice}" if required else f"manifests: SKIPPED: {advice}", file=sys.stderr)
        return int(required)
    found: list[str] = []
    for place in (*RENDERED, *PLAIN):
        manifests = render(kubectl, place) if place in RENDERED else read(place)
        found += [
            f"deploy/{place}: {manifest['kind']} {manifest['metadata']['name']}: {problem}"
            for manifest in manifests
            for problem in problems(manifest)
        ]
        print(f"deploy/{place}: {len(manifests)} manifests")
    for problem in found:
        print(problem, file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
