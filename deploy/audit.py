"""Known vulnerabilities of what is installed, by pip-audit, less those that ``audit.toml`` gives a reason to bear.

``python deploy/audit.py`` from the environment to look at. Exits 1 if there is one that nobody has judged, or whose
judgement is past its date; 0 if there is none. Where no vulnerability data can be had it says so and exits 0: a
machine without the network must still be able to check its work.
"""

# ruff: noqa: T201, S603, DTZ011 - a script that prints and starts a program; a list is dated by its reader's day

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

LIST = Path(__file__).with_name("audit.toml")
SECONDS = 300


@dataclass(frozen=True)
class Accepted:
    """A vulnerability that is borne for now."""

    id: str
    reason: str
    until: datetime.date


def accepted(text: str) -> list[Accepted]:
    """The list, read.

    Raises:
        TypeError: an entry lacks its id, its reason or its date, or has anything else.
    """
    return [Accepted(**entry) for entry in tomllib.loads(text).get("accepted", [])]


def judge(
    dependencies: Sequence[Mapping[str, Any]], borne: Sequence[Accepted], today: datetime.date
) -> tuple[list[str], list[str]]:
    """What is wrong, one line each, and the names of the packages that could not be looked up."""
    reasons = {entry.id: entry for entry in borne}
    problems, unknown, met = [], [], set()
    for dependency in dependencies:
        if "skip_reason" in dependency:
            unknown.append(dependency["name"])
            continue
        for found in dependency["vulns"]:
            names = {found["id"], *found.get("aliases", [])}
            entries = [reasons[name] for name in sorted(names & reasons.keys())]
            met |= {entry.id for entry in entries}
            if any(entry.until >= today for entry in entries):
                continue
            fixed = ", ".join(found.get("fix_versions", [])) or "no version yet"
            late = "; its judgement in deploy/audit.toml is past its date" if entries else ""
            problems.append(
                f"{dependency['name']} {dependency['version']}: {found['id']}, fixed in {fixed}{late}"
            )
    if not unknown:  # or it may be met on a machine that can look it up
        problems += [
            f"deploy/audit.toml: {name} is met no more: take it out" for name in sorted(reasons.keys() - met)
        ]
    return problems, unknown


def main() -> int:
    """Ask, judge, say."""
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
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        dependencies = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        print(f"audit: SKIPPED: no vulnerability data within {SECONDS} s")
        return 0
    except ValueError:  # no JSON: it found nobody to ask
        reason = (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
        if "No module named" in reason:
            print(f"audit: {reason}; make setup brings it", file=sys.stderr)
            return 1
        print(f"audit: SKIPPED: no vulnerability data can be had here ({reason[:200]})")
        return 0
    problems, unknown = judge(dependencies, accepted(LIST.read_text()), datetime.date.today())
    looked_up = len(dependencies) - len(unknown)
    if not looked_up:
        print("audit: SKIPPED: no vulnerability data can be had here for any package")
        return 0
    print(
        f"audit: {looked_up} packages looked up; {len(unknown)} could not be: {', '.join(unknown) or 'none'}"
    )
    for problem in problems:
        print(f"audit: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
