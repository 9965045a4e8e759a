"""How long it takes from a fault to its alert, and from the repair to RESOLVED, as a table in ``docs/monitoring.md``.

``test_alerts_fire`` measures it with all durations divided by sixty, so its seconds are the minutes of this table.
Alerts that it cannot raise have a dash; their time is given by their rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tests.e2e.drill import Fault
from tests.e2e.processes import alert_name
from tests.metrics.sources import alerts, rules
from tests.support.programs import ROOT

DOCUMENT = ROOT / "docs" / "monitoring.md"
BEGIN, END = "<!-- times: written by tests/e2e/test_alerts_fire.py -->", "<!-- end of times -->"

NOISE_SECONDS = 1.5
"""Of the machine that runs the tests. The steps of the service and of the tests are not divided by sixty."""
PAGE_LIMIT = 5.0 + NOISE_SECONDS
RESOLVED_LIMIT = 3.0 + NOISE_SECONDS

LATER = {("panorama-oom", "InspyrenetOutOfMemory (warning)"): PAGE_LIMIT + 5.0}
"""By fault and alert: warnings that may come later, in minutes. Three shortages of memory raise this one. A size that
is too large is refused after the first ones, and the third may be that of the next try (five intervals at most)."""

WINDOWED = {
    "InspyrenetOutOfMemory (warning)": 15.0 + NOISE_SECONDS,
    "InspyrenetPicturesRefused (warning)": 5.0 + RESOLVED_LIMIT,
}
"""Alerts that may last longer, in minutes: as long as their window, or as long as the service waits until it tries a
refused size again (five intervals at most)."""


class Times(NamedTuple):
    """Minutes."""

    to_page: float
    to_resolved: float


def name_of(rule: Mapping[str, Any]) -> str:
    """The name of an alert as the table writes it."""
    return alert_name({"alertname": rule["alert"], **rule["labels"]})


def measured(faults: Iterable[Fault]) -> dict[str, Times]:
    """The longest times of each alert, over all faults that raise it."""
    found: dict[str, Times] = {}
    for fault in faults:
        for alert, to_page in fault.to_page.items():
            before = found.get(alert, Times(0, 0))
            found[alert] = Times(
                max(before.to_page, to_page), max(before.to_resolved, fault.to_resolved.get(alert, 0))
            )
    return found


def rows(times: Mapping[str, Times]) -> list[str]:
    """The lines of the table, without its head."""
    lines = []
    for name in dict.fromkeys(name_of(rule) for rule in alerts()):
        one = times.get(name)
        # An alert that ends because another one takes its place is not resolved by the repair.
        cells = " | ".join(f"{minutes:.1f} min" if minutes else "-" for minutes in one or (0, 0))
        [rule, *_] = [rule for rule in alerts() if name_of(rule) == name]
        lines.append(f"| {name} | {cells} | {looks_back(rule)} | {rule.get('for', '-')} |")
    return lines


def looks_back(rule: Mapping[str, Any]) -> str:
    """The longest time that the rule of an alert looks back at; five minutes only find the last sample."""
    text = re.sub(r"max_over_time\(\s*ALERTS\{[^}]*\}\[\w+\]\s*\)", "", rule["expr"])
    text = re.sub(r"last_over_time\([^\[\]]*\[5m\]\)", "", text)
    for record in rules():
        if record.get("record", "-").endswith("_stuck:seconds"):
            text = re.sub(rf"(?<!unless ){record['record']}", record["expr"], text)
    found = re.findall(r"\[(\d+[smhd])\]|offset (\d+[smhd])|ratio_rate(\d+[smhd])|:avg(\d+[smhd])", text)
    return max(("".join(one) for one in found), key=_seconds, default="-")


def _seconds(text: str) -> int:
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]]


def write(times: Mapping[str, Times]) -> None:
    """Replace the table in the document."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    head = "| alert | fault to notification | repair to RESOLVED | looks back | must last |\n|---|---|---|---|---|"
    table = "\n".join([head, *rows(times)])
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")


def listed() -> dict[str, bool]:
    """The alerts of the table in the document, and whether they have a measured time."""
    table = DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0]
    cells = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| Inspyrenet")]
    return {name: page != "-" for name, page, *_ in cells}
