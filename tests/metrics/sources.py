"""Reads everything in the repository that names metrics: alert rules, dashboard panels, runbooks and documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.programs import ROOT

METRICS = ROOT / "metrics"
RUNBOOKS = METRICS / "runbooks"

_PRINTF_QUERY = re.compile(r'printf "((?:[^"\\]|\\.)*)" \$labels')
_PROMQL_BLOCK = re.compile(r"```promql\n(.*?)```", re.DOTALL)


@cache
def loaded(file: str) -> Any:
    """Return what a YAML file in ``metrics/`` says. Do not change it: every caller gets the same objects."""
    # The loader in Python takes ten times as long.
    return yaml.load((METRICS / file).read_text(), yaml.CSafeLoader)


def rule_groups() -> list[dict[str, Any]]:
    groups = loaded("alerts.yml")["groups"]
    assert isinstance(groups, list)
    return groups


def rules() -> list[dict[str, Any]]:
    return [rule for group in rule_groups() for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def recorded_names() -> set[str]:
    return {rule["record"] for rule in rules() if "record" in rule}


def annotation_queries(rule: dict[str, Any]) -> list[str]:
    """Return the queries in the annotations of an alert. ``%s`` (a label value) becomes ``x``."""
    text = "\n".join(rule.get("annotations", {}).values())
    return [query.replace('\\"', '"').replace("%s", "x") for query in _PRINTF_QUERY.findall(text)]


def dashboard() -> dict[str, Any]:
    loaded = json.loads((METRICS / "dashboard.json").read_text())
    assert isinstance(loaded, dict)
    return loaded


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def replace_grafana_variables(expression: str) -> str:
    return re.sub(r"\$__\w+", "5m", expression).replace("$job", "x").replace("$instance", "x")


def documents() -> list[Path]:
    """Return every Markdown file of the project."""
    found = [
        *ROOT.glob("*.md"),
        *(
            path
            for folder in ("docs", "metrics", "deploy", "benchmarks")
            for path in ROOT.glob(f"{folder}/**/*.md")
        ),
    ]
    return sorted(found)


def document_queries(path: Path) -> list[str]:
    """Return the queries in the ``promql`` blocks of a document. Each line is one query."""
    lines = (line for block in _PROMQL_BLOCK.findall(path.read_text()) for line in block.splitlines())
    return [query for line in lines if (query := line.partition("#")[0].strip())]


def expressions() -> Iterator[tuple[str, str]]:
    """Yield every PromQL expression of the project, as (the place where it is written, the expression)."""
    for rule in rules():
        name = rule.get("alert") or rule["record"]
        yield f"alerts.yml {name}", rule["expr"]
        for query in annotation_queries(rule):
            yield f"alerts.yml {name} annotation", query
    board = dashboard()
    for panel in panels():
        for target in panel["targets"]:
            yield f"dashboard.json {panel['title']}", replace_grafana_variables(target["expr"])
    for annotation in board["annotations"]["list"]:
        if "expr" in annotation:
            yield f"dashboard.json {annotation['name']}", replace_grafana_variables(annotation["expr"])
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            inner = variable["definition"].removeprefix("label_values(").rpartition(",")[0]
            yield f"dashboard.json ${variable['name']}", replace_grafana_variables(inner)
    for path in documents():
        for query in document_queries(path):
            yield str(path.relative_to(ROOT)), query
