"""The fixtures of ``tests.support.running_service``, for every test in this directory."""

from tests.support.running_service import nothing_blocks_the_loop, photo, plain_log_lines, start

__all__ = ["nothing_blocks_the_loop", "photo", "plain_log_lines", "start"]
