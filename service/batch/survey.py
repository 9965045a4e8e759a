"""One look at the inputs and the output folder: what is to be done, what is done, and what cannot be done.

The command calls it once, or every second while it watches. It reads folders and writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from service.batch.plan import Job, plan
from service.batch.problem import Problem, system_reason
from service.batch.results import Results, State, WouldReplace
from service.batch.sources import find


@dataclass(slots=True)
class Survey:
    """What one look has found."""

    to_do: list[Job] = field(default_factory=list)
    done: list[Job] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    """Files in folders that are no pictures: ending or kind -> number."""


def survey(
    arguments: Iterable[str],
    folder: Results,
    *,
    ending: str,
    full_names: bool,
    choose: Callable[[Sequence[Job]], Sequence[Job]] = lambda jobs: jobs,
) -> Survey:
    """Look at the inputs.

    Args:
        arguments: files, folders and patterns.
        folder: of the results.
        ending: of the results.
        full_names: keep the pictures' own endings before it.
        choose: the jobs that count now; all by default.
    """
    found = find(arguments, ours=folder.results)
    jobs, refused = plan(found.sources, folder.root, ending=ending, full_names=full_names)
    seen = Survey(problems=[*found.problems, *refused], passed_over=found.passed_over)
    for job in choose(jobs):
        try:
            state = folder.judge(job)
        except WouldReplace as error:
            seen.problems.append(Problem(str(job.source.path), str(error)))
            continue
        except OSError as error:
            seen.problems.append(Problem(str(job.source.path), system_reason(error)))
            continue
        (seen.done if state is State.DONE else seen.to_do).append(job)
    return seen
