"""The fixtures of ``tests.support.running_service``, for every test below this directory."""

from tests.support.running_service import nothing_blocks_the_loop, photo, start

__all__ = ["nothing_blocks_the_loop", "photo", "start"]
