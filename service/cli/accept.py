"""``./inspyrenet accept DIR``: makes pictures the references that a service is judged by.

An operator runs it, on any machine. The pictures must go through the same parts as a client's, so ``service.app`` puts
these together; nothing listens on a port. ``service.warmup.references`` makes the set.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from service import logs, startup
from service.cli.printing import print_error, print_line
from service.cli.setting_flags import add_flags, given
from service.engines.protocol import ConfigurationError, Engine, EngineError, EngineInfo
from service.settings import Settings
from service.settings_reader import load_settings

if TYPE_CHECKING:
    from service.warmup.references.acceptance import Cut, Precision
    from service.warmup.references.manifest import Manifest

FLAGS = ("engine", "mode", "resize", "weights", "device", "precision", "max_pixels", "max_model_pixels")
"""The settings that decide what a mask is. They must be those of the service that will use the references."""

_DESCRIPTION = """\
Cut every picture in DIR out, and write its masks, references.json and a contact sheet (index.html) into DIR. Look at
the contact sheet. Then start the service with INSPYRENET_REFERENCES=DIR: it is warm only while it makes these masks.

With --masks, masks that you have count instead of the engine's, such as cut-outs that another service made.
Exit code 0 if the set was written, 1 if it was not (nothing is changed then), 2 if a setting cannot be used.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command and its arguments."""
    parser.description = _DESCRIPTION
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="directory of the pictures; every file in it counts"
    )
    parser.add_argument(
        "--masks",
        type=Path,
        metavar="DIR2",
        help="directory of PNG files, one for each picture and named like it: grey masks, or cut-outs, whose alpha "
        "counts",
    )
    parser.add_argument(
        "--max-error",
        type=_ratio,
        metavar="ERROR",
        help="mean absolute alpha error, 0 to 1, that every mask may show later [default: what was measured on the "
        "picture + 0.0078]",
    )
    add_flags(parser.add_argument_group("settings, as for serve"), FLAGS)


def _ratio(text: str) -> float:
    ratio = float(text)
    if not (math.isfinite(ratio) and 0 < ratio <= 1):
        raise ValueError(text)
    return ratio


_ratio.__name__ = "number above 0 and at most 1"  # argparse says: "invalid ... value: '2'"


def run(
    args: argparse.Namespace,
    environ: Mapping[str, str],
    *,
    make_engine: Callable[[Settings], Engine] | None = None,
) -> int:
    """Accept the pictures and print the progress; return the exit code.

    Args:
        args: the command line.
        environ: environment variables.
        make_engine: makes the engine, if it is not the one that the settings ask for.
    """
    settings, notes = load_settings(given(args), environ)
    settings = settings.model_copy(update={"references": None})  # those that are replaced must not matter
    logs.configure("console")
    startup.configure_libraries()
    for note in notes:
        print_line(note)
    # Imported late, so that --help and wrong settings are answered without the web server and the codecs.
    from service.server import requested_engine  # noqa: PLC0415 - imports the web server
    from service.warmup.references.gathering import NotAccepted  # noqa: PLC0415 - imports the codecs

    try:
        made = _accept(args, settings, make_engine or requested_engine)
    except NotAccepted as error:
        for problem in error.problems:
            print_error(problem)
    except ConfigurationError as error:
        print_error(str(error))
        return 2
    except (EngineError, OSError) as error:
        print_error(str(error))
    else:
        count = len(made.references)
        pictures = "1 picture" if count == 1 else f"{count} pictures"
        print_line(f"{pictures} accepted. Look at {args.directory / 'index.html'}.")
        print_line(f"Then start the service with INSPYRENET_REFERENCES={args.directory.resolve()}")
        return 0
    print_error(f"nothing was accepted; {args.directory} is as it was")
    return 1


def _accept(
    args: argparse.Namespace, settings: Settings, make_engine: Callable[[Settings], Engine]
) -> Manifest:
    from service.warmup.references import acceptance  # noqa: PLC0415 - imports the codecs

    @contextmanager
    def cutting(info: EngineInfo | None, precision: Precision | None) -> Iterator[tuple[EngineInfo, Cut]]:
        wanted = settings
        if info is not None and precision is not None:
            gc.collect()  # frees the engine before this one: the parts around it refer to each other
            wanted = settings.model_copy(update={"engine": info.engine, "precision": precision})
        with opened_pipeline(wanted, make_engine(wanted)) as opened:
            yield opened

    return acceptance.accept(
        args.directory,
        masks=args.masks,
        max_pixels=settings.max_pixels,
        max_error=args.max_error,
        cutting=cutting,
        report=print_line,
    )


@contextmanager
def opened_pipeline(settings: Settings, engine: Engine) -> Iterator[tuple[EngineInfo, Cut]]:
    """The service's own parts around a loaded engine, without HTTP and without probes.

    The event loop runs only while a picture is cut out; files are read and written between the pictures.
    """
    from service.cli.offline import loaded, offline_parts  # noqa: PLC0415 - imports the web server
    from service.imaging.options import Options  # noqa: PLC0415 - imports the codecs
    from service.inference.pipeline import EncodedPicture, Progress  # noqa: PLC0415 - imports the codecs
    from service.inference.service_time import Work  # noqa: PLC0415 - imports the codecs

    parts = offline_parts(settings, engine)

    async def cut_out(data: bytes) -> bytes:
        picture = EncodedPicture(data)
        parts.admission.memory.check_alone(Work(size=picture.header_size(), options=Options()))
        with parts.admission.probe_place() as place:
            done = await parts.pipeline.run(picture, Options(), place=place, progress=Progress())
        return done.body

    with asyncio.Runner() as runner:
        opened = AsyncExitStack()
        try:
            info = runner.run(opened.enter_async_context(loaded(parts, report=print_line)))
            yield info, lambda data: runner.run(cut_out(data))
        finally:
            runner.run(opened.aclose())
