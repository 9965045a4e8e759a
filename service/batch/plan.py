"""Decides the names of the results, and refuses pictures whose results would overwrite something.

The command calls ``plan`` for all pictures together. The name of a result depends on nothing but the picture's own name
and the options, so that a later run finds it again. So pictures that would share one result are all refused: no rule
could say, today and after files were added, which of them it belongs to. No result is ever written outside the output
folder, whatever a store calls its objects.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from service.batch.addresses import Address
from service.batch.problem import Problem
from service.batch.sources import PICTURE_ENDINGS, Source, key_of
from service.imaging.options import Format

FULL_NAMES = "--full-names keeps the pictures' endings in the names of the results (photo.jpg.png)."

_ENDINGS: dict[Format, tuple[str, ...]] = {Format.JPEG: (".jpg", ".jpeg")}


def endings_of(output_format: Format) -> tuple[str, ...]:
    """The endings that a file of this format may have; the first one is what results get."""
    return _ENDINGS.get(output_format, (f".{output_format.value}",))


@dataclass(frozen=True, slots=True)
class Job:
    """One picture and its result."""

    source: Source
    output: PurePath
    """Below the output folder."""


def plan(
    sources: Sequence[Source], root: Path | Address, *, ending: str, full_names: bool
) -> tuple[list[Job], list[Problem]]:
    """Name the results.

    Args:
        sources: all pictures.
        root: the output folder.
        ending: of the results, with its dot.
        full_names: keep the pictures' own endings before it.

    Returns:
        The jobs in the order of the pictures, and why the other pictures cannot be done.
    """
    jobs = [Job(source, _result_name(source.below, ending, full_names=full_names)) for source in sources]
    shared: dict[PurePath, list[Source]] = defaultdict(list)
    for job in jobs:
        shared[job.output].append(job.source)
    inputs = {source.key for source in sources}
    real_root = os.path.realpath(root) if isinstance(root, Path) else ""
    accepted, refused = [], []
    for job in jobs:
        if job.output.is_absolute() or ".." in job.output.parts:  # pathlib would leave the output folder
            reason = (
                f"Its result would be written outside the output folder, at {job.output}. Rename the picture."
            )
        elif "\0" in str(job.output):
            reason = "Its name has a null character, which no file's name can have. Rename the picture."
        elif len(shared[job.output]) > 1:
            other = next(source.path for source in shared[job.output] if source is not job.source)
            reason = f"Its result and that of {other} would have the same name, {job.output}. {FULL_NAMES}"
        elif _key_of_result(root, real_root, job.output) in inputs:
            reason = f"Its result would replace an input, {root / job.output}. Name another output folder. {FULL_NAMES}"
        else:
            accepted.append(job)
            continue
        refused.append(Problem(str(job.source.path), reason))
    return accepted, refused


def _key_of_result(root: Path | Address, real_root: str, output: PurePath) -> str:
    return str(root / output) if isinstance(root, Address) else key_of(Path(real_root, output))


def _result_name(below: PurePath, ending: str, *, full_names: bool) -> PurePath:
    stem = below.name
    if not full_names and below.suffix.lower() in PICTURE_ENDINGS:
        stem = below.stem
    return below.with_name(stem + ending)
