"""Flags made from the parameters of ``/process``, for commands that cut pictures out.

``cut`` uses it, so that each parameter has the same name, the same values and the same words in both. A new parameter
needs no code here.
"""

from __future__ import annotations

import argparse

from service.http import openapi
from service.http.parameters import NAMES, parse
from service.imaging.options import Options


def add_option_flags(group: argparse._ArgumentGroup) -> None:
    """Add a flag for each parameter, with the description that ``/openapi.json`` has."""
    document = openapi.document(version="", max_upload_bytes=0)
    described = {each["name"]: each for each in document["paths"]["/process"]["post"]["parameters"]}
    for name in NAMES:
        parameter = described[name]
        words = parameter["description"].replace("`", "")
        if parameter["schema"].get("type") == "boolean":
            group.add_argument(_flag(name), action="store_const", const="true", help=_escaped(words))
        else:
            group.add_argument(_flag(name), metavar="VALUE", help=_escaped(words))


def given_options(args: argparse.Namespace) -> Options:
    """The options that the flags ask for.

    Raises:
        BadParameter: a value is invalid, or two do not go together.
    """
    given = [(name, value) for name in NAMES if (value := getattr(args, name)) is not None]
    return parse(given)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _escaped(words: str) -> str:
    return words.replace("%", "%%")
