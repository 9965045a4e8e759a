"""``tests/e2e/time_scale.py`` turns minutes into seconds and changes nothing else."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.e2e import time_scale
from tests.metrics.sources import METRICS


@pytest.mark.parametrize(
    ("given", "scaled"),
    [
        ("1m", "1000ms"),
        ("5m", "5000ms"),
        ("1h", "60000ms"),
        ("15s", "250ms"),
        ("1d", "1440000ms"),
        ("0s", "0s"),
    ],
)
def test_a_duration_is_divided_by_the_factor(given: str, scaled: str) -> None:
    assert time_scale.duration(given) == scaled


def test_a_text_that_is_no_duration_is_refused() -> None:
    with pytest.raises(ValueError, match="not a duration"):
        time_scale.duration("soon")


def test_ranges_and_offsets_are_divided_and_numbers_and_labels_stay() -> None:
    expression = 'rate(a{b="5m"}[5m]) > 300 and last_over_time(c[1m] offset 3m) < 1h'
    assert (
        time_scale.promql(expression)
        == 'rate(a{b="5m"}[5000ms]) > 300 and last_over_time(c[1000ms] offset 3000ms) < 1h'
    )


@pytest.mark.parametrize("name", ["alerts.yml", "prometheus.yml", "alertmanager.yml"])
def test_a_factor_of_one_changes_only_the_spelling_of_durations(name: str) -> None:
    def in_milliseconds(text: str) -> str:
        return re.sub(
            r"\b(\d+)([smhd])\b", lambda m: time_scale.duration(m[0], 1) if m[0] != "0s" else m[0], text
        )

    loaded = yaml.safe_load((METRICS / name).read_text())
    scaled = time_scale.configuration(loaded, 1)
    assert in_milliseconds(yaml.safe_dump(scaled, width=1e6)) == in_milliseconds(
        yaml.safe_dump(loaded, width=1e6)
    )


def test_every_duration_in_the_rules_is_divided() -> None:
    text = yaml.safe_dump(
        time_scale.configuration(yaml.safe_load((METRICS / "alerts.yml").read_text())), width=1e6
    )
    assert re.findall(r"\[\d+[smhd]\]|offset \d+[smhd]\b|(?:for|interval): \d+[smhd]\b", text) == []
