"""Writes the manifests that are made from ``metrics/``: the alert rules and the dashboard, for Kubernetes.

``python3 deploy/kubernetes/generate.py [--runbooks URL]``. A test compares the committed files with what this script
writes without arguments. It needs no packages.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path

HERE = Path(__file__).parent
METRICS = HERE.parents[1] / "metrics"

PROMETHEUS_RUNBOOKS = "{{ $externalURL }}/user"
"""Where the runbooks are if Prometheus itself serves them; the rules say so."""

_HEAD = """\
# Written by deploy/kubernetes/generate.py from metrics/{source}. Change that file, not this one.
apiVersion: {api}
kind: {kind}
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: inspyrenet
"""


def prometheus_rule(rules: str, runbooks: str = PROMETHEUS_RUNBOOKS) -> str:
    """The rules as a PrometheusRule.

    Args:
        rules: a rule file of Prometheus.
        runbooks: the address below which each alert has its page.
    """
    head = _HEAD.format(
        source="alerts.yml", api="monitoring.coreos.com/v1", kind="PrometheusRule", name="inspyrenet"
    )
    return head + "spec:\n" + textwrap.indent(rules.replace(PROMETHEUS_RUNBOOKS, runbooks), "  ")


def dashboard_config_map(dashboard: str) -> str:
    """The dashboard as a ConfigMap with the label that Grafana's sidecar looks for."""
    head = _HEAD.format(source="dashboard.json", api="v1", kind="ConfigMap", name="inspyrenet-dashboard")
    return (
        head
        + '    grafana_dashboard: "1"\ndata:\n  inspyrenet.json: |\n'
        + textwrap.indent(dashboard, "    ")
    )


def manifests(runbooks: str = PROMETHEUS_RUNBOOKS) -> dict[Path, str]:
    """Each file and what belongs into it."""
    return {
        HERE / "monitoring" / "prometheusrule.yaml": prometheus_rule(
            (METRICS / "alerts.yml").read_text(), runbooks
        ),
        HERE / "monitoring" / "dashboard.yaml": dashboard_config_map(
            (METRICS / "dashboard.json").read_text()
        ),
    }


def main(argv: list[str]) -> int:
    """Write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--runbooks",
        metavar="URL",
        default=PROMETHEUS_RUNBOOKS,
        help="address of the runbooks [default: the Prometheus that evaluates the rules]",
    )
    for path, text in manifests(parser.parse_args(argv).runbooks).items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
