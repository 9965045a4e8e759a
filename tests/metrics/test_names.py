"""Every metric and label that a rule, panel, runbook or document names exists in a scrape of the real service."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.settings import Settings
from tests.metrics.promql import Selector, grouping_labels, matches, selectors
from tests.metrics.sources import ROOT, documents, expressions, recorded_names
from tests.support.programs import program
from tests.support.scripted_engine import ScriptedEngine

Series = dict[str, list[dict[str, str]]]

TARGET_LABELS = {"job", "instance", "cluster", "namespace"}
"""Prometheus adds these labels at the scrape; the service does not export them."""

BUILT_IN_LABELS = {
    "up": TARGET_LABELS,
    "ALERTS": TARGET_LABELS | {"alertname", "alertstate", "severity"},
}
NOT_METRICS = {"inspyrenet_"}
"""Documents mention the prefix itself."""


@pytest.fixture(scope="module")
def live() -> Series:
    """Scrape the service, and return the labels of every series by its name."""
    found: Series = {}
    for family in text_string_to_metric_families(asyncio.run(scrape())):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


async def scrape() -> str:
    app = create_app(Settings(), engine=ScriptedEngine(), registry=CollectorRegistry())
    async with TestClient(TestServer(app)) as client, client.get("/metrics") as response:
        return await response.text()


def problem_with(selector: Selector, live: Series) -> str | None:
    """Return what is wrong with a selector, or None."""
    name, labels = selector.name, {label for label, _, _ in selector.matchers}
    if name in BUILT_IN_LABELS:
        unknown = labels - BUILT_IN_LABELS[name]
        return f"{name} has no label {unknown}" if unknown else None
    if name in recorded_names():
        unknown = labels - TARGET_LABELS
        return f"{name} has no label {unknown}" if unknown else None
    if not name:
        return None if "__name__" in labels else "a selector without a name"
    if name not in live:
        return f"{name} is not in the scrape"
    if unknown := labels - TARGET_LABELS - set(live[name][0]):
        return f"{name} has no label {unknown}"
    if name.endswith("_info"):  # its label values depend on the machine
        return None
    wanted = [matcher for matcher in selector.matchers if matcher[0] not in TARGET_LABELS]
    if not any(all(matches(matcher, series) for matcher in wanted) for series in live[name]):
        return f"no series of {name} matches {wanted}"
    return None


def test_every_selector_in_rules_panels_and_runbooks_selects_something(live: Series) -> None:
    wrong = {
        f"{where}: {problem}"
        for where, expression in expressions()
        for selector in selectors(expression)
        if (problem := problem_with(selector, live))
    }
    assert not wrong, "\n".join(sorted(wrong))


def test_every_label_in_a_grouping_clause_exists(live: Series) -> None:
    known = TARGET_LABELS | {label for series in live.values() for labels in series for label in labels}
    known |= BUILT_IN_LABELS["ALERTS"] | {"__name__"}
    wrong = {
        f"{where}: {unknown}"
        for where, expression in expressions()
        if (unknown := grouping_labels(expression) - known)
    }
    assert not wrong, "\n".join(sorted(wrong))


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_metric_that_a_document_names_is_in_the_scrape(path: Path, live: Series) -> None:
    families = live.keys() | {re.sub(r"_(bucket|sum|count)$", "", name) for name in live} | recorded_names()
    named = set(re.findall(r"(?<![\w/:.-])(?:\w+:)?inspyrenet_\w*(?::\w+)?", path.read_text()))
    assert named - families - NOT_METRICS == set()


def test_every_expression_is_valid_promql(tmp_path: Path) -> None:
    rules = [
        {"record": f"expression:{number}", "expr": expression}
        for number, (_, expression) in enumerate(expressions())
    ]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
    ran = subprocess.run(
        [program("promtool"), "check", "rules", "--lint=none", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("expression", "names", "labels"),
    [
        ("up == 1 unless on (job) x", {"up", "x"}, {"job"}),
        ('sum by (le) (rate(a_bucket{b="}", c=~"d|e"}[5m] offset 1h)) > 1e3', {"a_bucket"}, {"le"}),
        ("a - on (job) group_right () (b or 0 * c)", {"a", "b", "c"}, {"job"}),
        ("time() - (a > 0) # not_this", {"a"}, set()),
        ('{__name__=~"a_.+"}', {""}, set()),
    ],
)
def test_selectors_and_grouping_labels_are_found_in_expressions(
    expression: str, names: set[str], labels: set[str]
) -> None:
    assert {selector.name for selector in selectors(expression)} == names
    assert grouping_labels(expression) == labels
