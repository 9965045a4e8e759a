"""Programs that pip cannot bring: found, or the test is skipped with the reason, or fails where they are required."""

from __future__ import annotations

import os
import shutil
import socket

import pytest

PACKAGES = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
    "haproxy": "haproxy",
    "chromium": "chromium",
}
"""The Debian package of each."""

OTHER_NAMES = {"alertmanager": ["prometheus-alertmanager"], "chromium": ["chromium-browser", "google-chrome"]}


def program(name: str) -> str:
    """The path of a program.

    Where it is missing the test that asks is skipped; with ``REQUIRE_E2E=1`` it fails instead.
    """
    # Debian keeps servers in sbin, which an ordinary user's PATH leaves out.
    path = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin"
    for candidate in [name, *OTHER_NAMES.get(name, [])]:
        if (found := shutil.which(candidate, path=path)) is not None:
            return found
    reason = f"{name} is not installed (Debian: apt-get install {PACKAGES[name]})"
    if os.environ.get("REQUIRE_E2E") == "1":
        pytest.fail(f"{reason}, and REQUIRE_E2E=1 asks for it")
    pytest.skip(reason)


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port
