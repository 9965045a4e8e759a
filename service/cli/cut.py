"""``./inspyrenet cut``: cuts files and folders out through the service's own parts, without a server.

This module decides what the arguments mean, what is printed and how the command ends. ``cut_many`` is the way of many
pictures; ``service.batch`` finds them and writes the results, ``cut_run`` and ``cluster_run`` run them. Standard output
carries the picture of ``--to -`` or the list of
``--dry-run``, and nothing else.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from service import logs, startup
from service.batch.addresses import as_named, is_address, redact
from service.batch.arrivals import SETTLE_SECONDS
from service.batch.output_folder import write_whole
from service.batch.plan import endings_of
from service.batch.problem import printable, system_reason
from service.batch.results import WouldReplace
from service.batch.sources import PICTURE_ENDINGS
from service.batch.tasks import NotCutOut, SingleTask, check_bytes, read_file
from service.cli.cluster_run import CannotUseCluster, ClusterRun, check_installed
from service.cli.cut_many import STANDARD, CannotStart, Wanted, cut_many, cut_on_cluster
from service.cli.cut_run import CutRun
from service.cli.offline import FLAGS
from service.cli.option_flags import add_option_flags, given_options
from service.cli.printing import print_error, print_line, print_note
from service.cli.setting_flags import add_flags, given
from service.engines.protocol import Engine
from service.errors import BadParameter, ServiceError
from service.imaging.decode import upright_size
from service.imaging.options import Format, Options, Output
from service.server import requested_engine
from service.settings import Settings
from service.settings_reader import load_settings

_FILE_ENDINGS = PICTURE_ENDINGS.union(*map(endings_of, Format))
"""With one of these, ``--to`` names a file."""

_DESCRIPTION = """\
Cut pictures out, without a server. What was done before is skipped, so a run that was ended can be started again.

  ./inspyrenet cut photo.jpg --to cutout.png       one picture
  ./inspyrenet cut photos/ --to cut-outs/          a folder, with its folders
  ./inspyrenet cut a/*.jpg b.png --to cut-outs/    files and patterns
  ./inspyrenet cut - < photo.jpg > cutout.png      standard input and output
  ./inspyrenet cut inbox/ --to done/ --watch       what arrives, until SIGTERM or Ctrl+C
  ./inspyrenet cut s3://shop/photos --to s3://shop/cut-outs --ray    on every machine of a Ray cluster

Exit code 0 if every picture has its result, 1 if some have not, 2 if the command could not start.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command and its arguments."""
    parser.description = _DESCRIPTION
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="file, folder, pattern (photos/**/*.jpg) or address (s3://bucket/photos); - is standard input",
    )
    parser.add_argument(
        "--to",
        metavar="PATH",
        help="folder of the results, made if it is missing, or an address (s3://bucket/cut-outs); for one picture also "
        "a file, or - for standard output",
    )
    parser.add_argument("--full-names", action="store_true", help="name results photo.jpg.png, not photo.png")
    parser.add_argument(
        "--overwrite", action="store_true", help="do everything again, and replace files that are in the way"
    )
    parser.add_argument("--dry-run", action="store_true", help="list what would be done, and do nothing")
    parser.add_argument(
        "--watch",
        action="store_true",
        help="go on, and cut out every picture that arrives, until the end is asked for",
    )
    parser.add_argument(
        "--background", metavar="FILE", help="the picture behind the subjects, for --output background"
    )
    add_cluster_flags(parser.add_argument_group("many machines (docs/cut.md)"))
    add_option_flags(parser.add_argument_group("results, as for /process"))
    add_flags(parser.add_argument_group("settings, as for serve"), FLAGS)


def add_cluster_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags of a run on a cluster."""
    group.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="use the machines of the Ray cluster at this address; without an address, of the cluster that this "
        "machine belongs to (RAY_ADDRESS), or else this machine alone",
    )
    group.add_argument(
        "--ray-workers",
        type=_count,
        metavar="N",
        help="at most so many workers [default: one for each GPU or, without GPUs, one for each machine]",
    )


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: takes a number from 1")
    return int(text)


def run(
    args: argparse.Namespace,
    environ: Mapping[str, str],
    *,
    make_engine: Callable[[Settings], Engine] = requested_engine,
    settle_seconds: float = SETTLE_SECONDS,
) -> int:
    """Cut the pictures out; return the exit code.

    Args:
        args: the command line.
        environ: environment variables.
        make_engine: makes the engine, if it is not the one that the settings ask for.
        settle_seconds: how long a picture must stand still in a watched folder.
    """
    settings, notes = load_settings(given(args), environ)
    logs.configure("console")
    startup.configure_libraries()
    for note in notes:
        print_note(note)
    try:
        _take_names(args)
        _check_cluster(args)
        wanted = _wanted(args, settings)
        if args.ray is not None:
            new_cluster_run = partial(
                ClusterRun,
                settings,
                *wanted,
                make_engine=make_engine,
                address=args.ray,
                most_workers=args.ray_workers,
            )
            return cut_on_cluster(args, settings, wanted, new_cluster_run)
        new_run = partial(CutRun, settings, *wanted, make_engine=make_engine, settle_seconds=settle_seconds)
        one = args.to == STANDARD or args.inputs == [STANDARD] or _names_one_file(args)
        return (_cut_one if one else cut_many)(args, settings, wanted, new_run)
    except (CannotStart, CannotUseCluster, BadParameter) as error:
        print_error(printable(redact(str(error))))
        return 2


def _take_names(args: argparse.Namespace) -> None:
    """From here on, a name with ``://`` in it is an address, and every other one is a path."""
    try:
        args.inputs = [as_named(name) for name in args.inputs]
        args.to, args.background = (name and as_named(name) for name in (args.to, args.background))
    except ValueError as error:
        raise CannotStart(str(error)) from None


def _check_cluster(args: argparse.Namespace) -> None:
    if args.ray is None:
        if args.ray_workers is not None:
            raise CannotStart("--ray-workers needs --ray.")
        return
    if args.watch:
        raise CannotStart(
            "--ray and --watch do not go together. Start the command again for what has arrived."
        )
    if STANDARD in (args.to, *args.inputs) or _names_one_file(args):
        raise CannotStart("--ray is for many pictures. Name a folder or an address of the results with --to.")
    check_installed()


def _wanted(args: argparse.Namespace, settings: Settings) -> Wanted:
    options = given_options(args)
    if (options.output is Output.BACKGROUND) != (args.background is not None):
        raise CannotStart("--output background and --background FILE need each other.")
    if args.background is None:
        return Wanted(options, None)
    if is_address(args.background):
        raise CannotStart(f"--background {args.background}: name a file of this machine.")
    try:
        data, _ = read_file(Path(args.background), max_bytes=settings.max_upload_bytes)
        upright_size(data)
    except ServiceError as error:
        raise CannotStart(f"--background {args.background}: {error.message}") from None
    except NotCutOut as error:
        raise CannotStart(f"--background {args.background}: {error}") from None
    except OSError as error:
        raise CannotStart(f"--background {args.background}: {system_reason(error)}") from None
    return Wanted(options, data)


# -- one picture -------------------------------------------------------------------------------------------------------


def _names_one_file(args: argparse.Namespace) -> bool:
    """Whether ``--to`` names a file and not a folder.

    Raises:
        CannotStart: it names an object, or there may be several pictures.
    """
    if args.to is None or args.to.endswith(os.sep) or os.path.isdir(args.to):
        return False
    if Path(args.to).suffix.lower() not in _FILE_ENDINGS:
        return False
    if is_address(args.to):
        raise CannotStart(
            f"--to {args.to} names one object, but results go below an address, under names of their own. If this is "
            f"what they go below, end it with a slash: {args.to}/"
        )
    if len(args.inputs) > 1 or os.path.isdir(args.inputs[0]):
        raise CannotStart(f"--to {args.to} names a file, but there may be several pictures. Name a folder.")
    return True


def _cut_one(
    args: argparse.Namespace, settings: Settings, wanted: Wanted, new_run: Callable[..., CutRun]
) -> int:
    if len(args.inputs) > 1:
        raise CannotStart(
            "Standard input and output carry one picture. Name one input, or a folder with --to."
        )
    if args.watch:
        raise CannotStart("--watch needs a folder of results: name one with --to.")
    (name,) = args.inputs
    if is_address(name):
        raise CannotStart(
            f"{name} is an address. Its result goes into a folder or below an address: --to cut-outs/"
        )
    if args.to is not None and is_address(args.to):
        raise CannotStart(
            "Standard input goes to a file or to standard output. Results below an address need names."
        )
    task = SingleTask(
        name,
        _reader(name, settings.max_upload_bytes),
        _writer(args.to or STANDARD, wanted.options, overwrite=args.overwrite),
    )
    if args.dry_run:
        print_line(printable(f"to do: {name} -> {args.to or STANDARD}"))
        return 0
    return new_run(total=1).run([task])


def _reader(name: str, max_bytes: int) -> Callable[[], bytes]:
    if name != STANDARD:
        if not os.path.isfile(name):
            raise CannotStart(f"{name} is not a file.")
        return lambda: read_file(Path(name), max_bytes=max_bytes)[0]
    if sys.stdin is None or sys.stdin.isatty():
        raise CannotStart(
            "Standard input is a terminal. Send a picture to it: ./inspyrenet cut - < photo.jpg"
        )
    return lambda: check_bytes(sys.stdin.buffer.read(max_bytes + 1), max_bytes=max_bytes)


def _writer(name: str, options: Options, *, overwrite: bool) -> Callable[[bytes], None]:
    if name == STANDARD:
        if sys.stdout is None or sys.stdout.isatty():
            raise CannotStart("Standard output is a terminal. Send the result to a file: ... > cutout.png")
        return _write_standard
    target, endings = Path(name), endings_of(options.format)
    if target.suffix.lower() not in endings:
        raise CannotStart(
            f"--to {name}: the result is {options.format.value}. Name it {target.stem}{endings[0]}, or ask for another "
            "--format."
        )
    if not os.access(target.parent, os.W_OK):
        raise CannotStart(f"--to {name}: {target.parent} is missing or cannot be written.")

    def write(data: bytes) -> None:
        if not overwrite and os.path.lexists(target):
            raise WouldReplace(f"{target} is there already. --overwrite replaces it.")
        write_whole(target, data)

    if not overwrite and os.path.lexists(target):
        raise CannotStart(f"{target} is there already. --overwrite replaces it.")
    return write


def _write_standard(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
