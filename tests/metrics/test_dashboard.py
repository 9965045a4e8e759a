"""The Grafana dashboard: it is complete, every panel uses the variables, and no panels overlap."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.metrics.sources import dashboard, panels

SUBJECTS = {
    "is it there": ["up{"],
    "is it warm": ["inspyrenet_ready", "inspyrenet_warmup_success"],
    "since when": ["inspyrenet_warmup_last_success_timestamp_seconds"],
    "why not": ["inspyrenet_warmup_runs_total", "inspyrenet_warmup_supervisor_up", "ALERTS"],
    "references": ["inspyrenet_warmup_references", "inspyrenet_warmup_reference_worst_error_ratio"],
    "real sizes": ["inspyrenet_warmup_sizes", "inspyrenet_warmup_real_size_last_success_timestamp_seconds"],
    "codec threads": ["inspyrenet_codec_jobs_running", "inspyrenet_codec_oldest_job_started"],
    "cold start": ["inspyrenet_startup_duration_seconds"],
    "traffic": ["inspyrenet_http_requests_total"],
    "errors": ["job:inspyrenet_process_errors:ratio_rate5m"],
    "latency by stage": ["inspyrenet_stage_duration_seconds_bucket"],
    "queue": ["inspyrenet_queue_depth", "inspyrenet_queue_capacity", "inspyrenet_expected_wait_seconds"],
    "GPU": ["inspyrenet_device_memory_bytes", "inspyrenet_device_errors_total"],
}


def title(panel: dict[str, Any]) -> str:
    return str(panel["title"])


@pytest.mark.parametrize("panel", panels(), ids=title)
def test_every_panel_has_a_title_a_description_a_unit_and_a_query(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert len(panel["description"]) > 20
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert all(target["expr"] for target in panel["targets"])
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references) > 0


@pytest.mark.parametrize("panel", panels(), ids=title)
def test_every_panel_uses_the_variables_of_the_dashboard(panel: dict[str, Any]) -> None:
    for holder in (panel, *panel["targets"]):
        assert holder["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for target in panel["targets"]:
        assert "$job" in target["expr"]


def test_stat_panels_show_the_current_value_and_a_text_if_there_is_none() -> None:
    stats = [panel for panel in panels() if panel["type"] == "stat"]
    assert stats
    assert all(target["instant"] and not target["range"] for panel in stats for target in panel["targets"])
    assert all(panel["fieldConfig"]["defaults"]["noValue"] for panel in stats)


def test_the_variables_are_data_source_job_and_instance() -> None:
    variables = {variable["name"]: variable for variable in dashboard()["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "instance"]
    assert variables["datasource"]["query"] == "prometheus"
    assert all(variables[name]["multi"] and variables[name]["includeAll"] for name in ("job", "instance"))


@pytest.mark.parametrize("name", ["job", "instance"])
def test_the_variables_offer_targets_that_were_never_scraped(name: str) -> None:
    [variable] = [variable for variable in dashboard()["templating"]["list"] if variable["name"] == name]
    assert variable["definition"].startswith("label_values(up{")
    assert variable["definition"] == variable["query"]["query"]


@pytest.mark.parametrize(("subject", "metrics"), SUBJECTS.items())
def test_every_subject_has_a_panel(subject: str, metrics: list[str]) -> None:
    queries = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    assert [metric for metric in metrics if metric not in queries] == []


def test_panels_have_unique_ids_and_do_not_overlap() -> None:
    everything = dashboard()["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    cells = [cells_of(panel["gridPos"]) for panel in everything]
    assert all(one.isdisjoint(other) for one, other in itertools.combinations(cells, 2))
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in everything)


def cells_of(position: dict[str, int]) -> set[tuple[int, int]]:
    columns = range(position["x"], position["x"] + position["w"])
    rows = range(position["y"], position["y"] + position["h"])
    return set(itertools.product(columns, rows))
