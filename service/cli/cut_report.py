"""What a run of ``cut`` has done so far, and what it says at its end.

``cut_run`` and ``cluster_run`` fill it while they run, so that both end with the same words and the same exit codes.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Mapping

from service.batch.problem import Problem
from service.batch.survey import Survey
from service.cli.printing import print_error, print_note
from service.cli.progress import ProgressDisplay


class CutReport:
    """The count of a run, and its display.

    Args:
        total: pictures to be done; None if nobody knows, because the run watches a folder.
    """

    def __init__(self, total: int | None) -> None:
        self.display = ProgressDisplay(total)
        self.made = 0
        self.cannot_go_on = ""
        """Why the run stops early."""
        self.signal: signal.Signals | None = None
        """The signal that asked for the end."""
        self._watching = total is None
        self._skipped = 0
        self._problems: list[Problem] = []
        self._passed_over: Counter[str] = Counter()

    def note(self, seen: Survey) -> None:
        """Count what a look has found beside the pictures to be done."""
        self._skipped += len(seen.done)
        self._passed_over = seen.passed_over  # a later look finds the same ones again
        self._problems += seen.problems

    def picture(self, name: str, problem: str = "") -> None:
        """A picture has ended.

        Args:
            name: of the picture.
            problem: why it has no result; empty if it has one.
        """
        if problem:
            self._problems.append(Problem(name, problem))
        else:
            self.made += 1
        self.display.picture(name, problem)

    def end(self, *, dropped: bool = False) -> int:
        """Say what was done; return the code with which the command ends.

        Args:
            dropped: whether pictures under way were dropped.
        """
        for problem in self._problems:
            print_error(str(problem))
        if self.cannot_go_on:
            print_error(f"stopped early: {self.cannot_go_on}")
        words = [f"{self.made} cut out"]
        words += [f"{self._skipped} done before"] if self._skipped else []
        words += [f"{len(self._problems)} failed"] if self._problems else []
        print_note(f"{', '.join(words)}. {passed_over_in_words(self._passed_over)}".rstrip())
        return self._code(dropped=dropped)

    def _code(self, *, dropped: bool) -> int:
        if self.cannot_go_on:
            return 1
        if self.signal is not None and (dropped or not self._watching):
            return 128 + self.signal
        return 1 if self._problems else 0


def passed_over_in_words(passed_over: Mapping[str, int]) -> str:
    """What was in the folders beside pictures, as a sentence; empty if there was nothing."""
    kinds = [f"{count} {kind}" for kind, count in sorted(passed_over.items()) if count]
    return f"Ignored: {', '.join(kinds)}." if kinds else ""
