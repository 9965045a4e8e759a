"""How many CPUs this process may use, and whether they compute bfloat16 in hardware.

``service.app`` and the engines size their thread pools with it, and ``precision`` asks it about bfloat16. The number
must follow the affinity and the container's CPU quota, not the host's cores. A container with two CPUs on a 64-core
host sees 64 cores; 64 threads would use up its quota in the first milliseconds of each period and then be throttled.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from service.host.cgroup import ROOT, ancestors, parse_proc_cgroup, read


def available_cpus(root: Path = ROOT) -> int:
    """Whole CPUs that this process may keep busy: the smaller of affinity and cgroup quota, rounded up; at least 1.

    Args:
        root: the directory that holds ``proc`` and ``sys``.
    """
    quota = cgroup_quota(root)
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cpus if quota is None else min(cpus, math.ceil(quota)))


def cgroup_quota(root: Path = ROOT) -> float | None:
    """CPUs granted by the smallest CPU quota that applies to this process, or None if there is none.

    This reads cgroup v2 (``cpu.max``) and v1 (``cpu.cfs_quota_us``), from the process's own group up to the root of the
    hierarchy. A limit of any of these groups applies, and inside a container the path of the own group may not exist.
    """
    groups = parse_proc_cgroup(read(root / "proc/self/cgroup"))
    mount = root / "sys/fs/cgroup"
    quotas = [parse_cpu_max(read(group / "cpu.max")) for group in ancestors(mount, groups.get("", "/"))]
    quotas += [
        parse_cfs(read(group / "cpu.cfs_quota_us"), read(group / "cpu.cfs_period_us"))
        for controller in ("cpu", "cpu,cpuacct")
        for group in ancestors(mount / controller, groups.get("cpu", "/"))
    ]
    return min((quota for quota in quotas if quota is not None), default=None)


def parse_cpu_max(text: str) -> float | None:
    """CPUs granted by a cgroup v2 ``cpu.max``, whose text is ``<quota or max> <period>`` in microseconds."""
    quota, _, period = text.strip().partition(" ")
    return parse_cfs(quota, period or "100000")


def parse_cfs(quota: str, period: str) -> float | None:
    """CPUs granted by a quota and a period in microseconds; None for ``max``, -1 and text that is not a number."""
    try:
        cpus = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return cpus if cpus > 0 else None


def has_native_bf16(root: Path = ROOT) -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX512_BF16, AMX, Arm BF16) and does not emulate it."""
    return bool(parse_cpu_flags(read(root / "proc/cpuinfo")) & {"avx512_bf16", "amx_bf16", "bf16"})


def parse_cpu_flags(cpuinfo: str) -> frozenset[str]:
    """The features of the first CPU in ``/proc/cpuinfo``: ``flags`` on x86, ``Features`` on Arm."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"flags", "Features"}:
            return frozenset(value.split())
    return frozenset()
