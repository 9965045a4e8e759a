"""Fail if an installed package has a known vulnerability that ``deploy/audit.toml`` does not accept.

``make check`` runs ``python deploy/audit.py`` in the environment that it examines. pip-audit looks the packages up. The
exit code is 1 if a vulnerability is not accepted, if its acceptance has expired, or if an accepted one is no longer
found, else 0. Without access to vulnerability data the program prints ``SKIPPED`` and exits with 0, because ``make
check`` must also work without a network.
"""

# ruff: noqa: T201, S603, DTZ011 - this script prints, starts a program, and compares dates with the local day

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ACCEPTED_FILE = Path(__file__).with_name("audit.toml")
LIMIT_SECONDS = 300


@dataclass(frozen=True)
class Accepted:
    """A known vulnerability that is accepted until a date."""

    id: str
    reason: str
    until: datetime.date


def read_accepted(text: str) -> list[Accepted]:
    """Parse the text of ``audit.toml``.

    Raises:
        TypeError: an entry lacks its id, its reason or its date, or has any other key.
    """
    return [Accepted(**entry) for entry in tomllib.loads(text).get("accepted", [])]


def find_problems(
    dependencies: Sequence[Mapping[str, Any]], accepted: Sequence[Accepted], today: datetime.date
) -> tuple[list[str], list[str]]:
    """Compare the report of pip-audit with the accepted vulnerabilities.

    Args:
        dependencies: the list ``dependencies`` of pip-audit's JSON report.
        accepted: the entries of ``audit.toml``.
        today: an acceptance is valid up to and including its date.

    Returns:
        One line for each problem, and the names of the packages that pip-audit could not look up.
    """
    accepted_by_id = {entry.id: entry for entry in accepted}
    problems, skipped, found_ids = [], [], set()
    for dependency in dependencies:
        if "skip_reason" in dependency:
            skipped.append(dependency["name"])
            continue
        for vulnerability in dependency["vulns"]:
            names = {vulnerability["id"], *vulnerability.get("aliases", [])}
            entries = [accepted_by_id[name] for name in sorted(names & accepted_by_id.keys())]
            found_ids |= {entry.id for entry in entries}
            if any(entry.until >= today for entry in entries):
                continue
            fixed = ", ".join(vulnerability.get("fix_versions", [])) or "no version yet"
            expired = "; its entry in deploy/audit.toml has expired" if entries else ""
            problems.append(
                f"{dependency['name']} {dependency['version']}: {vulnerability['id']}, fixed in {fixed}{expired}"
            )
    if not skipped:  # an accepted vulnerability may be in a package that was not looked up
        problems += [
            f"deploy/audit.toml: {name} is no longer found: remove its entry"
            for name in sorted(accepted_by_id.keys() - found_ids)
        ]
    return problems, skipped


def main() -> int:
    """Run pip-audit, print the problems, and return the exit code."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--format",
        "json",
        "--progress-spinner",
        "off",
        "--timeout",
        "15",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS)
        dependencies = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        print(f"audit: SKIPPED: pip-audit got no vulnerability data within {LIMIT_SECONDS} s")
        return 0
    except (
        ValueError
    ):  # the output is no JSON, because pip-audit could not reach a source of vulnerability data
        reason = (done.stderr.strip().splitlines() or ["pip-audit printed no reason"])[-1]
        if "No module named" in reason:
            print(f"audit: {reason}. Install it with: make setup", file=sys.stderr)
            return 1
        print(f"audit: SKIPPED: vulnerability data is not available here ({reason[:200]})")
        return 0
    problems, skipped = find_problems(
        dependencies, read_accepted(ACCEPTED_FILE.read_text()), datetime.date.today()
    )
    looked_up = len(dependencies) - len(skipped)
    if not looked_up:
        print("audit: SKIPPED: vulnerability data is not available here for any package")
        return 0
    print(f"audit: {looked_up} packages were looked up; not looked up: {', '.join(skipped) or 'none'}")
    for problem in problems:
        print(f"audit: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
