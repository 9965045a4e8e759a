"""What the installed ``transparent_background`` says of itself, read without importing it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

PACKAGE = "transparent_background"


@dataclass(frozen=True, slots=True)
class ModeConfig:
    """One entry of the package's ``config.yaml``."""

    mode: str
    url: str
    md5: str | None
    """None where upstream publishes no hash."""
    ckpt_name: str
    base_size: tuple[int, int]
    """(width, height) in pixels; also the size at which the network's attention stages work."""


@cache
def package_directory() -> Path:
    """Where ``transparent_background`` is installed; found without importing it."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the package {PACKAGE} is not installed", name=PACKAGE)
    return Path(spec.submodule_search_locations[0])


@cache
def mode_config(mode: str) -> ModeConfig:
    """The package's own settings of ``mode``.

    Raises:
        KeyError: the package knows no such mode.
    """
    entry = yaml.safe_load((package_directory() / "config.yaml").read_text())[mode]
    width, height = entry["base_size"]
    return ModeConfig(
        mode=mode,
        url=entry["url"],
        md5=entry["md5"],
        ckpt_name=entry["ckpt_name"],
        base_size=(int(width), int(height)),
    )
