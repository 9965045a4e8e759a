"""Finds a port for a program that a test starts.

Tests that start processes call it. All of them must use it, so that there is one place to change when ports collide.
"""

from __future__ import annotations

import socket


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which no program listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
