"""``./inspyrenet weights``: stores a checkpoint on the disk before a service needs it.

Builds of images and set-ups of new machines run it. It must give the same file that a service would download or compute
itself, so it uses the functions of ``service.engines``.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from service import logs
from service.cli.printing import print_error, print_line
from service.engines.package_config import mode_config
from service.engines.protocol import WeightsUnavailable
from service.engines.weights import official
from service.engines.weights.checkpoint_file import Checkpoint
from service.host.waiting_threads import sleep_while_waiting
from service.settings import Settings, takes, variable
from service.settings_reader import load_settings

_DESCRIPTION = """\
Get the official checkpoint onto the disk: download it (about 370 MB) if it is not there yet, and verify it where
upstream publishes a hash. It is kept where transparent-background keeps it: below the directory that
TRANSPARENT_BACKGROUND_FILE_PATH names, or below the home directory if that is unset.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command and its arguments."""
    parser.description = _DESCRIPTION
    default = Settings.model_fields["mode"].get_default()
    parser.add_argument(
        "--mode",
        metavar=takes("mode").metavar,
        help=f"the network whose checkpoint is wanted [{variable('mode')}; default: {default}]",
    )
    parser.add_argument(
        "--dummy",
        type=Path,
        metavar="FILE",
        help="download nothing; write seeded random weights to FILE instead, for tests and load tests",
    )


def run(
    args: argparse.Namespace,
    environ: Mapping[str, str],
    *,
    fetch: Callable[..., Checkpoint] = official.fetch,
) -> int:
    """Get the checkpoint and print the progress; return 0, or 1 if it is not available."""
    settings, _ = load_settings({} if args.mode is None else {"mode": args.mode}, environ)
    logs.configure("console")
    try:
        if args.dummy:
            return _write_dummy(args.dummy, settings.mode)
        config = mode_config(settings.mode)
        found = official.describe(config)
        print_line(f"{found.path}: {found.state}")
        checkpoint = fetch(config, report=print_line)
        if not found.present or checkpoint.note != found.state:
            print_line(f"{checkpoint.path}: {checkpoint.note} ({checkpoint.hash})")
    except (WeightsUnavailable, OSError) as error:
        print_error(str(error))
        return 1
    return 0


def _write_dummy(file: Path, mode: str) -> int:
    # torch would find these problems too, but only after the computation, and with a traceback.
    if file.is_dir():
        print_error(f"{file} is a directory; name a file")
        return 1
    if not os.access(file.parent, os.W_OK):
        print_error(f"{file} cannot be written: {file.parent} is missing or not writable")
        return 1
    print_line(
        f"Writing random weights for {mode} to {file}, about 370 MB. This takes 5 seconds to a minute."
    )
    steps = itertools.count(1)

    def report(step: str) -> None:
        print_line(f"Step {next(steps)} of 3: {step}")

    report("importing torch")
    sleep_while_waiting(os.environ)  # before that
    from service.engines.inspyrenet.dummy_weights import write_dummy  # noqa: PLC0415 - imports torch

    print_line(
        f"{write_dummy(file, mode, report=report)}: dummy weights for {mode}; their masks mean nothing"
    )
    return 0
