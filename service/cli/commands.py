"""The command line: the table of commands, and the code that imports and runs the command that was asked for.

``service.__main__`` calls :func:`main`. This module is imported for every command. So at its top it may import only the
standard library, ``environment_variables`` and ``startup``, and never a command.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, cast

from service import startup
from service.cli.printing import print_error
from service.environment_variables import SettingsError
from service.version import __version__

_OVERVIEW = """\
Remove the background of pictures: an HTTP service that never lies about being warm.

Without a command it serves: ./inspyrenet --port 9000
"""
_EXAMPLES = """\
examples:
  ./inspyrenet                               serve on port 8080
  ./inspyrenet --engine auto                 serve with InSPyReNet if its weights can be had, else with u2netp
  ./inspyrenet cut photos/ --to cut-outs/    cut out every picture of a folder
  ./inspyrenet weights --mode base           download and verify the official checkpoint beforehand
  ./inspyrenet accept pictures/              accept the masks of ten photographs, to be judged by them
  ./inspyrenet check --ready                 exit code 0 if the service on this machine is warm
  ./inspyrenet probe https://cutout.example  test from anywhere that a service works

./inspyrenet serve --help lists every setting.
"""


class CommandModule(Protocol):
    """What the module of a command contains."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Describe the command and its arguments."""

    def run(self, args: argparse.Namespace, environ: Mapping[str, str]) -> int:
        """Run the command and return its exit code.

        Raises:
            SettingsError: the settings cannot be used.
        """


class Command(NamedTuple):
    """One entry of the table."""

    name: str
    summary: str
    """For the list of commands."""
    module: str
    """A :class:`CommandModule`, imported when the command is asked for."""
    prepare: Callable[[Sequence[str], Mapping[str, str]], None] = lambda *_: None
    """What must happen to the process before the module is imported; called with the arguments of :func:`main`."""


COMMANDS: Mapping[str, Command] = {
    command.name: command
    for command in (
        Command("serve", "serve (the default)", "service.cli.serve", startup.prepare_to_serve),
        Command(
            "cut", "cut out files and folders, without a server", "service.cli.cut", startup.prepare_to_serve
        ),
        Command(
            "weights",
            "get a checkpoint onto the disk",
            "service.cli.weights",
            lambda *_: startup.exit_on_sigterm(),
        ),
        Command(
            "accept",
            "make pictures the references of a service",
            "service.cli.accept",
            startup.prepare_to_serve,
        ),
        Command("check", "ask a running service whether it is alive or ready", "service.cli.check"),
        Command("probe", "test from outside that a running service works", "service.cli.probe"),
    )
}


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Prepare the process for a command and run it.

    Args:
        argv: the command line without the program's name.
        environ: environment variables.

    Returns:
        The exit code: 0, 1 if the command failed, 2 if its arguments or settings cannot be used.
    """
    command = COMMANDS.get(_with_default(argv)[0])
    if command is not None:
        command.prepare(argv, environ)
    return run(argv, environ)


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a command as :func:`main` does, in a process that is prepared or needs no preparation."""
    args = parse(argv)
    module: CommandModule = args.module
    try:
        return module.run(args, environ)
    except SettingsError as error:
        for problem in error.problems:
            print_error(problem)
        return 2


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; ``module`` of the result is the command's module.

    Raises:
        SystemExit: help was asked for (code 0), or the arguments are wrong (code 2).
    """
    argv = _with_default(argv)
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="./inspyrenet",
        description=_OVERVIEW,
        epilog=_EXAMPLES,
        formatter_class=raw,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"inspyrenet-api {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.summary, formatter_class=raw, allow_abbrev=False)
        if name == argv[0]:
            module = cast("CommandModule", importlib.import_module(command.module))
            module.add_arguments(subparser)
            subparser.set_defaults(module=module)
    return parser.parse_args(argv)


def _with_default(argv: Sequence[str]) -> list[str]:
    general = {"-h", "--help", "--version"}
    if not argv or (argv[0].startswith("-") and argv[0] not in general):
        return ["serve", *argv]
    return list(argv)
