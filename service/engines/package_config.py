"""The configuration of the installed ``transparent_background``, read without importing the package.

The InSPyReNet engine, ``build`` and ``./inspyrenet weights`` call it. It must only read the package's files, because
importing the package takes seconds.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

PACKAGE = "transparent_background"


@dataclass(frozen=True, slots=True)
class ModeConfig:
    """One mode in the package's ``config.yaml``."""

    url: str
    md5: str | None
    """None if upstream publishes no hash."""
    ckpt_name: str
    base_size: tuple[int, int]
    """(width, height) in pixels; also the size at which the network's attention stages sum up features."""


@cache
def package_directory() -> Path:
    """The directory in which ``transparent_background`` is installed, found without importing it."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the package {PACKAGE} is not installed", name=PACKAGE)
    return Path(spec.submodule_search_locations[0])


@cache
def mode_config(mode: str) -> ModeConfig:
    """The package's settings for ``mode``.

    Raises:
        KeyError: the package has no such mode.
    """
    entry = yaml.safe_load((package_directory() / "config.yaml").read_text())[mode]
    width, height = entry["base_size"]
    return ModeConfig(
        url=entry["url"],
        md5=entry["md5"],
        ckpt_name=entry["ckpt_name"],
        base_size=(int(width), int(height)),
    )
