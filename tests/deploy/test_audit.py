"""Which known vulnerabilities stop the check, and which are borne."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from deploy.audit import LIST, Accepted, accepted, judge

TODAY = datetime.date(2026, 6, 1)
BORNE = Accepted("CVE-1", "not used here", datetime.date(2026, 6, 1))
FOUND: dict[str, Any] = {
    "name": "lib",
    "version": "1.0",
    "vulns": [{"id": "GHSA-1", "aliases": ["CVE-1"], "fix_versions": ["1.1"]}],
}


def test_one_that_nobody_has_judged_stops_it() -> None:
    assert judge([FOUND], [], TODAY) == (["lib 1.0: GHSA-1, fixed in 1.1"], [])


def test_one_that_is_borne_does_not_by_whichever_of_its_names() -> None:
    assert judge([FOUND], [BORNE], TODAY) == ([], [])


def test_after_its_date_it_does_again() -> None:
    [problem], _ = judge([FOUND], [BORNE], TODAY + datetime.timedelta(days=1))
    assert "past its date" in problem


def test_an_entry_that_is_met_no_more_must_go() -> None:
    [problem], _ = judge([{"name": "lib", "version": "1.1", "vulns": []}], [BORNE], TODAY)
    assert "CVE-1 is met no more" in problem


def test_what_cannot_be_looked_up_is_named_and_stops_nothing() -> None:
    assert judge([{"name": "torch", "skip_reason": "a local version"}], [BORNE], TODAY) == ([], ["torch"])


def test_the_list_can_be_read() -> None:
    for entry in accepted(LIST.read_text()):
        assert entry.reason


@pytest.mark.parametrize("entry", ['id = "CVE-1"', 'id = "CVE-1"\nreason = "x"', 'id = "CVE-1"\nwhy = "x"'])
def test_an_entry_without_reason_or_date_is_refused(entry: str) -> None:
    with pytest.raises(TypeError):
        accepted(f"[[accepted]]\n{entry}\n")
