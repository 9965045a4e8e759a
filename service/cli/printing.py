"""How a command writes to the terminal: results to standard output, errors to standard error.

Every command but ``serve`` calls it. It must print at once, because another program may read the lines while
the command still runs.
"""

from __future__ import annotations

import sys


def print_line(line: str) -> None:
    """Print a line of the command's result or progress, at once."""
    print(line, flush=True)  # noqa: T201 - a result belongs on standard output, not in the log


def print_note(text: str) -> None:
    """Print a line of progress, at once, where standard output belongs to the command's result; nothing if empty."""
    if text:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - as above


def print_error(message: str) -> None:
    """Print why the command failed."""
    print(f"error: {message}", file=sys.stderr)  # noqa: T201 - the format of the log may not be known yet
