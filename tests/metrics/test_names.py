"""Every metric and label that a rule, panel, runbook or document names exists on a live scrape with that name."""

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
from tests.metrics.sources import ROOT, documents, expressions, recorded
from tests.support.programs import program
from tests.support.scripted_engine import ScriptedEngine

Series = dict[str, list[dict[str, str]]]

TARGET_LABELS = {"job", "instance", "cluster", "namespace"}
"""Put on by the scrape, not by the service."""

PROMETHEUS_S_OWN = {
    "up": TARGET_LABELS,
    "ALERTS": TARGET_LABELS | {"alertname", "alertstate", "severity"},
}
WORDS_THAT_ARE_NO_METRICS = {"inspyrenet_"}
"""The prefix itself, spoken of in documents."""


@pytest.fixture(scope="module")
def live() -> Series:
    """What a scrape of the service returns: the labels of every series, by name."""
    found: Series = {}
    for family in text_string_to_metric_families(asyncio.run(scrape())):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


async def scrape() -> str:
    app = create_app(Settings(), engine=ScriptedEngine(), registry=CollectorRegistry())
    async with TestClient(TestServer(app)) as client, client.get("/metrics") as response:
        return await response.text()


def wrong_with(selector: Selector, live: Series) -> str | None:
    """What is wrong with a selector, or None."""
    name, labels = selector.name, {label for label, _, _ in selector.matchers}
    if name in PROMETHEUS_S_OWN:
        unknown = labels - PROMETHEUS_S_OWN[name]
        return f"{name} has no label {unknown}" if unknown else None
    if name in recorded():
        unknown = labels - TARGET_LABELS
        return f"{name} has no label {unknown}" if unknown else None
    if not name:
        return None if "__name__" in labels else "a selector without a name"
    if name not in live:
        return f"{name} is not on the scrape"
    if unknown := labels - TARGET_LABELS - set(live[name][0]):
        return f"{name} has no label {unknown}"
    if name.endswith("_info"):  # its values are what the machine found
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
        if (problem := wrong_with(selector, live))
    }
    assert not wrong, "\n".join(sorted(wrong))


def test_every_label_that_is_grouped_by_exists(live: Series) -> None:
    known = TARGET_LABELS | {label for series in live.values() for labels in series for label in labels}
    known |= PROMETHEUS_S_OWN["ALERTS"] | {"__name__"}
    wrong = {
        f"{where}: {unknown}"
        for where, expression in expressions()
        if (unknown := grouping_labels(expression) - known)
    }
    assert not wrong, "\n".join(sorted(wrong))


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_metric_a_document_names_is_on_the_scrape(path: Path, live: Series) -> None:
    families = live.keys() | {re.sub(r"_(bucket|sum|count)$", "", name) for name in live} | recorded()
    named = set(re.findall(r"(?<![\w/:.-])(?:\w+:)?inspyrenet_\w*(?::\w+)?", path.read_text()))
    assert named - families - WORDS_THAT_ARE_NO_METRICS == set()


def test_every_expression_is_promql(tmp_path: Path) -> None:
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
def test_names_are_found_in_expressions(expression: str, names: set[str], labels: set[str]) -> None:
    assert {selector.name for selector in selectors(expression)} == names
    assert grouping_labels(expression) == labels
