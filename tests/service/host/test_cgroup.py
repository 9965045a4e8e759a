"""Where the limits of a process's control groups are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.host.cgroup import parse_proc_cgroup


def test_each_controller_of_proc_cgroup_has_its_path() -> None:
    text = "12:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n0::/kubepods/pod:1/x\nnonsense\n"
    assert parse_proc_cgroup(text) == {
        "cpu": "/docker/abc",
        "cpuacct": "/docker/abc",
        "memory": "/docker/abc",
        "": "/kubepods/pod:1/x",
    }


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    parse_proc_cgroup(text)
