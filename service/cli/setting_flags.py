"""Flags made from the settings, for the commands that take settings.

``serve``, ``accept`` and ``cut`` use it, so that a setting has the same flag and the same words in all. A setting needs
no code here.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from service.settings import Settings, flag, takes, variable


def add_flags(group: argparse._ArgumentGroup, fields: Iterable[str]) -> None:
    """Add a flag for each of these settings, with its description, its variable and its default."""
    for field in fields:
        info = Settings.model_fields[field]
        default = info.get_default()
        shown = "none" if default in (None, ()) else f"{default:g}" if isinstance(default, float) else default
        text = f"{info.description} [{variable(field)}; default: {shown}]"
        group.add_argument(flag(field), metavar=takes(field).metavar, help=text.replace("%", "%%"))


def given(args: argparse.Namespace) -> dict[str, str]:
    """The settings that flags gave: field name -> text."""
    return {
        field: text for field in Settings.model_fields if (text := getattr(args, field, None)) is not None
    }
