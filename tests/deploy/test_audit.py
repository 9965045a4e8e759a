"""``deploy/audit.py``: which known vulnerabilities fail the check, and which are accepted."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from deploy.audit import ACCEPTED_FILE, Accepted, find_problems, read_accepted

TODAY = datetime.date(2026, 6, 1)
ACCEPTED = Accepted("CVE-1", "not used here", datetime.date(2026, 6, 1))
FOUND: dict[str, Any] = {
    "name": "lib",
    "version": "1.0",
    "vulns": [{"id": "GHSA-1", "aliases": ["CVE-1"], "fix_versions": ["1.1"]}],
}


def test_a_vulnerability_that_is_not_accepted_is_a_problem() -> None:
    assert find_problems([FOUND], [], TODAY) == (["lib 1.0: GHSA-1, fixed in 1.1"], [])


def test_an_accepted_vulnerability_is_found_by_any_of_its_names() -> None:
    assert find_problems([FOUND], [ACCEPTED], TODAY) == ([], [])


def test_an_acceptance_that_has_expired_is_a_problem() -> None:
    [problem], _ = find_problems([FOUND], [ACCEPTED], TODAY + datetime.timedelta(days=1))
    assert "has expired" in problem


def test_an_entry_whose_vulnerability_is_no_longer_found_is_a_problem() -> None:
    [problem], _ = find_problems([{"name": "lib", "version": "1.1", "vulns": []}], [ACCEPTED], TODAY)
    assert "CVE-1 is no longer found" in problem


def test_a_package_that_cannot_be_looked_up_is_named_and_is_no_problem() -> None:
    torch = {"name": "torch", "skip_reason": "a local version"}
    assert find_problems([torch], [ACCEPTED], TODAY) == ([], ["torch"])


def test_every_entry_of_the_file_gives_a_reason() -> None:
    for entry in read_accepted(ACCEPTED_FILE.read_text()):
        assert entry.reason


@pytest.mark.parametrize("entry", ['id = "CVE-1"', 'id = "CVE-1"\nreason = "x"', 'id = "CVE-1"\nwhy = "x"'])
def test_an_entry_without_reason_or_date_is_refused(entry: str) -> None:
    with pytest.raises(TypeError):
        read_accepted(f"[[accepted]]\n{entry}\n")
