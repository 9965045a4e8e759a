"""How a long command shows how far it is: a bar on a terminal, one plain line a picture anywhere else.

``cut`` uses it. Everything goes to standard error, because standard output may carry a picture.
"""

from __future__ import annotations

import sys
from typing import Any, Self, TextIO

from tqdm import tqdm

from service.batch.problem import printable


class ProgressDisplay:
    """Shows the progress of a run; use it as a context manager.

    Args:
        total: pictures that will be done; None if nobody knows.
        stream: standard error if not given.
    """

    def __init__(self, total: int | None, *, stream: TextIO | None = None) -> None:
        self._total = total
        self._stream = sys.stderr if stream is None else stream
        self._ended = 0
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Self:
        if self._stream.isatty():
            # It shows the rate and the time that is left.
            self._bar = tqdm(
                total=self._total, file=self._stream, unit=" pictures", dynamic_ncols=True, leave=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def picture(self, name: str, problem: str = "") -> None:
        """A picture has ended.

        Args:
            name: of the picture.
            problem: why it has no result; empty if it has one.
        """
        self._ended += 1
        of = "" if self._total is None else f"/{self._total}"
        line = f"{self._ended}{of} {name}{': FAILED: ' if problem else ''}{problem}"
        if self._bar is None:
            self.line(line)
            return
        if problem:
            self.line(line)
        self._bar.update()

    def line(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if self._bar is None:
            print(printable(text), file=self._stream, flush=True)
        else:
            self._bar.write(printable(text), file=self._stream)
