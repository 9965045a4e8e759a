"""The memory that this process's control groups allow: the limit of its container.

``app`` reads it once and gives it to ``inference.memory_budget``. A process that exceeds it is killed without a word.
"""

from __future__ import annotations

from pathlib import Path

from service.host.cgroup import ROOT, ancestors, parse_proc_cgroup, read

NO_LIMIT = 1 << 60
"""Version 1 says "no limit" as a number near 2**63."""


def memory_limit(root: Path = ROOT) -> int | None:
    """Bytes granted by the smallest memory limit that applies to this process, or None if there is none.

    Args:
        root: the directory that holds ``proc`` and ``sys``.
    """
    groups = parse_proc_cgroup(read(root / "proc/self/cgroup"))
    mount = root / "sys/fs/cgroup"
    texts = [read(group / "memory.max") for group in ancestors(mount, groups.get("", "/"))]
    for group in ancestors(mount / "memory", groups.get("memory", "/")):
        texts += [read(group / "memory.limit_in_bytes"), _hierarchical_limit(read(group / "memory.stat"))]
    limits = [int(text) for text in texts if text.strip().isdecimal()]
    return min((limit for limit in limits if 0 < limit < NO_LIMIT), default=None)


def _hierarchical_limit(stat: str) -> str:
    """What version 1 says of the groups above: a container may see only its own, and the smallest limit is above it."""
    return dict(line.partition(" ")[::2] for line in stat.splitlines()).get("hierarchical_memory_limit", "")
