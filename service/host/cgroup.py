"""Where the limits of this process's control groups are: files of the kernel, in version 1 and version 2.

``cpu`` reads the CPU quota from them, ``memory_limit`` the memory limit. A limit of any group from the process's own up
to the root of the hierarchy applies, and inside a container the path of the own group may not exist.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

ROOT = Path("/")


def parse_proc_cgroup(text: str) -> dict[str, str]:
    """The path of each controller in ``/proc/self/cgroup``; in cgroup v2 the only controller is ``""``."""
    paths = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, separator, path = rest.partition(":")
        if separator and path.startswith("/"):
            paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def ancestors(mount: Path, path: str) -> list[Path]:
    """The group with this path and all above it, up to the root of the hierarchy that is mounted there."""
    parts = [part for part in PurePosixPath(path).parts if part not in {"/", ".."}]
    return [mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def read(path: Path) -> str:
    """The text of a file; empty if it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
