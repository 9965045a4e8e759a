"""``cut`` for many pictures: opens where the results go, looks at what there is to do, and hands it to a run.

``cut`` calls it, with the run that it wants: on this machine or on a cluster. Who opens the results closes them, also
when the run fails, and tells them whether anything can still be written.
"""

from __future__ import annotations

import argparse
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from service.batch.addresses import Address, ObjectStore, is_address
from service.batch.ledger import InUse
from service.batch.output_folder import OutputFolder
from service.batch.plan import Job, endings_of
from service.batch.problem import Problem, printable, system_reason
from service.batch.remote_folder import RemoteFolder
from service.batch.results import Results, made_with
from service.batch.survey import Survey, survey
from service.batch.tasks import FolderTask, Task
from service.cli.cluster_run import ClusterRun
from service.cli.cut_report import passed_over_in_words
from service.cli.cut_run import CutRun
from service.cli.printing import print_error, print_line, print_note
from service.imaging.options import Options
from service.settings import Settings

STANDARD = "-"
"""Standard input, or standard output."""


class CannotStart(Exception):
    """The command ends before the first picture; the message is the reason."""


class Wanted(NamedTuple):
    """What the results look like."""

    options: Options
    background: bytes | None
    """The file of the picture behind the subjects."""


class _Opened:
    """Results that are open, and what must be known when they are closed."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.run: CutRun | ClusterRun | None = None
        self.code = 0

    def close(self) -> None:
        complete = self.run is None or self.run.complete
        try:
            self.results.close(complete=complete)
        except OSError as error:
            print_error(
                f"--to {self.results.root}: what was written cannot be noted: {system_reason(error)} The next run "
                "makes it again."
            )
            self.code = self.code or 1


def cut_many(
    args: argparse.Namespace, settings: Settings, wanted: Wanted, new_run: Callable[..., CutRun]
) -> int:
    """Cut many pictures out on this machine; return the exit code.

    Args:
        args: the command line.
        settings: of the service.
        wanted: what the results look like.
        new_run: makes the run.

    Raises:
        CannotStart: there is nothing to do, or nothing can be written.
    """
    folder, look = _folder_and_look(args, settings, wanted)
    if args.watch:
        _check_watched(args.inputs)
    if args.dry_run:
        return _list(_something(look(), args), folder)
    with _open(folder) as opened:
        make_task = partial(_task, folder, settings.max_upload_bytes)
        if args.watch:
            seen = look()
            folder.remove_unfinished([*seen.to_do, *seen.done])
            opened.run = watch_run = new_run(total=None)
            opened.code = watch_run.watch(partial(_look_and_claim, folder, look), make_task)
        else:
            seen = _prepare(folder, _something(look(), args))
            opened.run = cut_run = new_run(total=len(seen.to_do))
            cut_run.note(seen)
            opened.code = cut_run.run([make_task(job) for job in seen.to_do])
    return opened.code


def cut_on_cluster(
    args: argparse.Namespace, settings: Settings, wanted: Wanted, new_run: Callable[..., ClusterRun]
) -> int:
    """Cut many pictures out on a cluster; as ``cut_many``."""
    folder, look = _folder_and_look(args, settings, wanted)
    if args.dry_run:
        return _list(_something(look(), args), folder)
    with _open(folder) as opened:
        seen = _prepare(folder, _something(look(), args))
        opened.run = cluster_run = new_run(total=len(seen.to_do))
        cluster_run.note(seen)
        opened.code = cluster_run.run(seen.to_do, folder)
    return opened.code


def _folder_and_look(
    args: argparse.Namespace, settings: Settings, wanted: Wanted
) -> tuple[Results, Callable[..., Survey]]:
    folder = _output_folder(args, settings, wanted)
    ending = endings_of(wanted.options.format)[0]
    return folder, partial(survey, args.inputs, folder, ending=ending, full_names=args.full_names)


def _check_watched(names: Sequence[str]) -> None:
    """Nobody wants a mistyped folder watched for ever. What a pattern or an address names may still arrive."""
    for name in names:
        if is_address(name):
            try:
                next(ObjectStore(Address(name)).find(Address(name)), None)
            except OSError as error:
                raise CannotStart(f"{name} cannot be watched: {system_reason(error)}") from None
        elif not (os.path.lexists(name) or glob.has_magic(name)):
            raise CannotStart(f"{name}: there is no such file or folder to be watched.")


def _output_folder(args: argparse.Namespace, settings: Settings, wanted: Wanted) -> Results:
    if STANDARD in args.inputs:
        raise CannotStart("- is standard input, which is one picture. It cannot stand beside other inputs.")
    if args.to is None:
        raise CannotStart("Name the folder of the results: --to cut-outs/")
    made = made_with(wanted.options, settings, wanted.background)
    if is_address(args.to):
        try:
            return RemoteFolder(Address(args.to), made_with=made, overwrite=args.overwrite)
        except OSError as error:
            raise CannotStart(f"--to {args.to} cannot be read: {system_reason(error)}") from None
    root = Path(args.to)
    if root.exists() and not root.is_dir():
        raise CannotStart(
            f"--to {root} is a file. Name a folder, or for one picture a file with a picture's ending."
        )
    try:
        return OutputFolder(root, made_with=made, overwrite=args.overwrite)
    except OSError as error:
        raise CannotStart(f"--to {root} cannot be read: {system_reason(error)}") from None


@contextmanager
def _open(folder: Results) -> Iterator[_Opened]:
    try:
        folder.open()
    except InUse:
        raise CannotStart(f"--to {folder.root}: another run writes into this folder.") from None
    except OSError as error:
        raise CannotStart(f"--to {folder.root} cannot be written: {system_reason(error)}") from None
    opened = _Opened(folder)
    try:
        yield opened
    finally:
        opened.close()


def _prepare(folder: Results, seen: Survey) -> Survey:
    folder.remove_unfinished([*seen.to_do, *seen.done])
    try:
        folder.claim(seen.to_do)
    except OSError as error:
        raise CannotStart(f"--to {folder.root} cannot be written: {system_reason(error)}") from None
    return seen


def _look_and_claim(
    folder: Results, look: Callable[..., Survey], choose: Callable[[Sequence[Job]], Sequence[Job]]
) -> Survey:
    """One look of a run that watches: what cannot be claimed is reported, and the watch goes on."""
    seen = look(choose=choose)
    try:
        folder.claim(seen.to_do)
    except OSError as error:
        reason = f"Its result cannot be written: {system_reason(error)}"
        seen.problems += [Problem(str(job.source.path), reason) for job in seen.to_do]
        seen.to_do = []
    return seen


def _something(seen: Survey, args: argparse.Namespace) -> Survey:
    """What was seen, unless it is nothing: a mistyped folder must not look like success."""
    if not (seen.to_do or seen.done or seen.problems):
        passed_over = passed_over_in_words(seen.passed_over)
        raise CannotStart(f"There is no picture in {', '.join(args.inputs)}. {passed_over}".rstrip())
    return seen


def _task(folder: Results, max_bytes: int, job: Job) -> Task:
    return FolderTask(job, folder, max_bytes=max_bytes)


def _list(seen: Survey, folder: Results) -> int:
    for state, jobs in (("done", seen.done), ("to do", seen.to_do)):
        for job in jobs:
            print_line(printable(f"{state}: {job.source.path} -> {folder.root / job.output}"))
    for problem in seen.problems:
        print_error(str(problem))
    print_note(passed_over_in_words(seen.passed_over))
    return 1 if seen.problems else 0
