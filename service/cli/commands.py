"""The command line: what each command takes, and the help that says so. Flags are made from the settings."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

from service import logs
from service.cli import check
from service.cli import probe as probe_cli
from service.engines.package_config import mode_config
from service.engines.protocol import WeightsUnavailable
from service.engines.weights import official as weights
from service.settings import Settings, SettingsError, flag, load_settings, takes, variable
from service.version import __version__

GROUPS: Mapping[str, tuple[str, ...]] = {
    "model": ("engine", "mode", "resize", "weights", "device", "precision"),
    "network": ("host", "port", "cors_origins", "api_keys_file"),
    "warmth": ("warmup_interval", "warmup_timeout", "warmup_size"),
    "time": ("request_timeout", "read_timeout", "load_timeout", "hang_timeout", "drain_timeout"),
    "room": ("queue_size", "max_upload_bytes", "max_pixels", "max_model_pixels"),
    "logging": ("log_format",),
}
"""The flags of ``serve``, as its help groups them: every setting but the keys, which other users of a machine
could read off a command line."""

_OVERVIEW = """\
Background removal as a service that never lies about being warm.

Without a command it serves: python -m service --port 9000
"""
_EXAMPLES = """\
examples:
  python -m service                              serve on port 8080
  python -m service --engine auto                with InSPyReNet if its weights can be had, else GrabCut
  python -m service weights --mode base          fetch and verify the official checkpoint beforehand
  python -m service check --ready                exit code 0 if the service on this machine is warm
  python -m service probe https://cutout.example make it prove that it works, from anywhere

python -m service serve --help lists every setting.
"""
_WEIGHTS = """\
Have a checkpoint ready on disk: the official one, downloaded if it is not there yet and verified where upstream
publishes a hash. TRANSPARENT_BACKGROUND_FILE_PATH is where, as in transparent-background; the home directory if unset.
"""
_SERVE = """\
Serve until SIGTERM. Every setting is an environment variable too, named in brackets; a flag beats its variable.
"""
_SERVE_NOTES = """\
Keys have no flag, since command lines can be seen by others: INSPYRENET_API_KEYS holds them, comma-separated.
"""


def main(
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    serve: Callable[[Settings], int],
) -> int:
    """Run one command.

    Args:
        argv: the command line without the program's name; no command means ``serve``.
        environ: environment variables.
        serve: serves with these settings until told to stop, and returns the exit code.

    Returns:
        The exit code: 0, 1 if the command failed, 2 if it was not understood.
    """
    args = _parser().parse_args(_with_command(argv))
    try:
        match args.command:
            case "check":
                return check.run(args, environ)
            case "probe":
                return probe_cli.run(args)
            case "weights":
                return _weights(args, environ)
            case _:
                return _serve(args, environ, serve)
    except SettingsError as error:
        for problem in error.problems:
            _complain(problem)
        return 2


def _with_command(argv: Sequence[str]) -> list[str]:
    general = {"-h", "--help", "--version"}
    if not argv or (argv[0].startswith("-") and argv[0] not in general):
        return ["serve", *argv]
    return list(argv)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description=_OVERVIEW,
        epilog=_EXAMPLES,
        formatter_class=raw,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"inspyrenet-api {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")

    def add(
        name: str, summary: str, description: str, *, epilog: str = "", usage: str | None = None
    ) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=description,
            epilog=epilog,
            usage=usage,
            formatter_class=raw,
            allow_abbrev=False,
        )

    usage = "python -m service [serve] [--SETTING VALUE ...]"
    _add_setting_flags(add("serve", "serve (the default)", _SERVE, epilog=_SERVE_NOTES, usage=usage))
    _add_weights_flags(add("weights", "fetch and verify a checkpoint", _WEIGHTS))
    check.add_arguments(
        add("check", "ask a running service how it is", "Exit code 0 if the answer is 200, else 1.")
    )
    probe_cli.add_arguments(
        add(
            "probe",
            "make a running service prove that it works",
            "Exit code 0: it works; 1: it fails; 2: cannot tell.",
        )
    )
    return parser


def _add_setting_flags(parser: argparse.ArgumentParser) -> None:
    for title, fields in GROUPS.items():
        group = parser.add_argument_group(title)
        for field in fields:
            info = Settings.model_fields[field]
            default = info.get_default()
            shown = (
                "none" if default in (None, ()) else f"{default:g}" if isinstance(default, float) else default
            )
            text = f"{info.description} [{variable(field)}; default: {shown}]"
            group.add_argument(flag(field), metavar=takes(field).metavar, help=text.replace("%", "%%"))


def _add_weights_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mode",
        metavar=takes("mode").metavar,
        help=f"whose checkpoint [{variable('mode')}; default: {Settings.model_fields['mode'].get_default()}]",
    )
    parser.add_argument(
        "--dummy",
        type=Path,
        metavar="FILE",
        help="write seeded random weights there instead, for tests and load tests; nothing is downloaded",
    )


def _serve(args: argparse.Namespace, environ: Mapping[str, str], serve: Callable[[Settings], int]) -> int:
    given = {
        field: text for field in Settings.model_fields if (text := getattr(args, field, None)) is not None
    }
    settings, notes = load_settings(given, environ)
    logs.configure(settings.log_format, project=environ.get("GOOGLE_CLOUD_PROJECT"))
    log = structlog.get_logger(__name__)
    for note in notes:
        log.warning(note)
    return serve(settings)


def _weights(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings, _ = load_settings({} if args.mode is None else {"mode": args.mode}, environ)
    logs.configure("console")
    try:
        if args.dummy:
            return _write_dummy(args.dummy, settings.mode)
        found = weights.describe(mode_config(settings.mode))
        _say(f"{found.path}: {found.state}")
        checkpoint = weights.fetch(mode_config(settings.mode), report=_say)
        if not found.present or checkpoint.note != found.state:
            _say(f"{checkpoint.path}: {checkpoint.note} ({checkpoint.hash})")
    except (WeightsUnavailable, OSError) as error:
        _complain(str(error))
        return 1
    return 0


def _write_dummy(file: Path, mode: str) -> int:
    # torch would say so too, but later and in a traceback
    if file.is_dir():
        _complain(f"{file}: is a directory; name a file")
        return 1
    if not os.access(file.parent, os.W_OK):
        _complain(f"{file}: cannot write in {file.parent}")
        return 1
    from service.engines.inspyrenet.dummy_weights import write_dummy  # noqa: PLC0415 - imports torch

    _say(f"{write_dummy(file, mode)}: dummy weights for {mode}, masks mean nothing")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what a command answers goes to standard output


def _complain(line: str) -> None:
    print(f"error: {line}", file=sys.stderr)  # noqa: T201 - no log format is known yet
