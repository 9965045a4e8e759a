"""The number of CPUs that a process may use, read from the files of the kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.host.cpu import (
    available_cpus,
    cgroup_quota,
    has_native_bf16,
    parse_cfs,
    parse_cpu_flags,
    parse_cpu_max,
)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("max 100000\n", None),
        ("150000 100000\n", 1.5),
        ("50000 100000", 0.5),
        ("200000", 2.0),
        ("", None),
        ("-1 100000", None),
        ("100000 0", None),
        ("many 100000", None),
    ],
)
def test_cpu_max_is_a_quota_and_a_period_in_microseconds(text: str, cpus: float | None) -> None:
    assert parse_cpu_max(text) == cpus


def test_a_v1_quota_of_minus_one_means_no_limit() -> None:
    assert parse_cfs("-1\n", "100000\n") is None
    assert parse_cfs("400000\n", "100000\n") == 4.0


@given(st.text())
def test_the_parsers_take_any_text(text: str) -> None:
    parse_cpu_flags(text)
    quota = parse_cpu_max(text)
    assert quota is None or quota > 0


def test_the_tightest_limit_on_the_way_to_the_root_binds(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/b/cpu.max": "max 100000",
            "sys/fs/cgroup/a/cpu.max": "300000 100000",
            "sys/fs/cgroup/cpu.max": "800000 100000",
        },
    )
    assert cgroup_quota(root) == 3.0


def test_the_limit_of_a_container_is_read_at_the_mount_even_if_the_path_is_the_hosts(
    tmp_path: Path,
) -> None:
    root = write(
        tmp_path, {"proc/self/cgroup": "0::/../../host/path\n", "sys/fs/cgroup/cpu.max": "100000 100000"}
    )
    assert cgroup_quota(root) == 1.0


@pytest.mark.parametrize("controller", ["cpu", "cpu,cpuacct"])
def test_a_v1_limit_is_found_under_either_name_of_its_controller(tmp_path: Path, controller: str) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/docker/x\n",
            f"sys/fs/cgroup/{controller}/docker/x/cpu.cfs_quota_us": "250000",
            f"sys/fs/cgroup/{controller}/docker/x/cpu.cfs_period_us": "100000",
        },
    )
    assert cgroup_quota(root) == 2.5


def test_the_affinity_alone_counts_without_cgroups(tmp_path: Path) -> None:
    assert cgroup_quota(tmp_path) is None
    assert available_cpus(tmp_path) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "affinity", "cpus"), [("50000 100000", 8, 1), ("150000 100000", 8, 2), ("900000 100000", 4, 4)]
)
def test_a_fraction_is_rounded_up_and_the_affinity_is_never_exceeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, affinity: int, cpus: int
) -> None:
    root = write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": quota})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)))
    assert available_cpus(root) == cpus


@pytest.mark.parametrize(
    ("cpuinfo", "native"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16\n", True),
        ("flags : fpu amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags : fpu avx2 avx512f\n", False),
        ("", False),
    ],
)
def test_native_bf16_is_read_from_the_cpus_features(tmp_path: Path, cpuinfo: str, native: bool) -> None:
    assert has_native_bf16(write(tmp_path, {"proc/cpuinfo": cpuinfo})) is native
