"""Jobs for threads under test."""

from __future__ import annotations

import threading


class BlockingJob:
    """A job that blocks its thread until the test lets it end."""

    def __init__(self) -> None:
        self.running = threading.Event()
        self.release = threading.Event()

    def __call__(self) -> str:
        self.running.set()
        assert self.release.wait(30)
        return "done"
