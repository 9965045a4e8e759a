"""Runs the commands of the runbooks, as a person would who pastes them, with the values of the alert."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.metrics.sources import RUNBOOKS
from tests.support.programs import ROOT

OF_A_PLATFORM = {
    "kubectl",
    "docker",
    "journalctl",
    "systemctl",
    "nvidia-smi",
    "dmesg",
    "py-spy",
    "promtool",
    "amtool",
}
"""Programs that a machine may lack. Only the syntax of such commands is checked where they are missing; those that ask
for something that is not there (a pod, a unit) fail."""

_BLOCK = re.compile(r"```(sh|promql)\n(.*?)```", re.DOTALL)
_ASSIGNMENT = re.compile(r"([A-Z]+)=(\S+)$")


@dataclass(frozen=True)
class Ran:
    """One command and what it did."""

    command: str
    code: int
    output: str


def lines(alert: str, language: str) -> Iterator[str]:
    """The lines of a runbook's blocks in this language, without comments."""
    for found, block in _BLOCK.findall((RUNBOOKS / f"{alert}.md").read_text()):
        if found == language:
            for line in block.splitlines():
                if command := re.sub(r"(^|\s+)# .*$", "", line).strip():
                    yield command


def variables(alert: str) -> dict[str, str]:
    """The variables that a reader has to set, with the values that the runbook shows."""
    return {match[1]: match[2] for line in lines(alert, "sh") if (match := _ASSIGNMENT.fullmatch(line))}


def commands(alert: str) -> list[str]:
    """The commands of a runbook, without the lines that only set a variable to a value of the alert."""
    return [line for line in lines(alert, "sh") if not _ASSIGNMENT.fullmatch(line)]


def is_of_a_platform(command: str) -> bool:
    """Whether it needs a program or an object that this machine lacks."""
    words = re.findall(r"(?:^|[|;&(]\s*)([\w./-]+)(?![\w=])", command)
    return any(word in OF_A_PLATFORM - {"promtool", "amtool"} or not _exists(word) for word in words)


def _exists(word: str) -> bool:
    builtin = {"grep", "tail", "sort", "uniq", "cut", "head"}
    return word in builtin or word.startswith("./") or shutil.which(word) is not None


def run(alert: str, values: Mapping[str, str]) -> list[Ran]:
    """Run every command of a runbook in one shell after the other, with these variables."""
    environment = os.environ | variables(alert) | dict(values)
    ran = []
    kept: list[str] = []
    for command in commands(alert):
        if re.match(r"[A-Z]+=\$\(", command):  # it sets a variable for the next ones
            kept.append(command)
        checked = ["bash", "-n"] if is_of_a_platform(command) else ["bash"]
        done = subprocess.run(
            checked,
            input="\n".join([*kept, command]),
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        ran.append(Ran(command, done.returncode, done.stdout + done.stderr))
    return ran
