"""The memory that a process's control groups allow, read from the files of the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.host.memory_limit import memory_limit

NONE_V1 = "9223372036854771712\n"


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"sys/fs/cgroup/memory.max": "max\n", "proc/self/cgroup": "0::/\n"}, None),
        ({"sys/fs/cgroup/memory.max": "1073741824\n", "proc/self/cgroup": "0::/\n"}, 1 << 30),
        (
            {
                "proc/self/cgroup": "0::/pod/container\n",
                "sys/fs/cgroup/pod/memory.max": "2000\n",
                "sys/fs/cgroup/pod/container/memory.max": "max\n",
            },
            2000,
        ),
        (
            {"proc/self/cgroup": "0::/not/here\n", "sys/fs/cgroup/memory.max": "3000"},
            3000,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/docker/abc\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": NONE_V1,
                "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "4000\n",
            },
            4000,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/docker/abc\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": NONE_V1,
                "sys/fs/cgroup/memory/memory.stat": "rss 1\nhierarchical_memory_limit 5000\ntotal_rss 1\n",
            },
            5000,
        ),
        ({"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": NONE_V1}, None),
    ],
)
def test_the_smallest_limit_of_all_groups_above_applies_in_both_versions(
    tmp_path: Path, files: dict[str, str], limit: int | None
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert memory_limit(tmp_path) == limit
