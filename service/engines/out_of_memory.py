"""Turns a shortage of main memory, as any library tells it, into the engines' ``OutOfMemory``.

The engines and ``unmixing`` run their work inside ``main_memory``. ``host.out_of_memory`` knows the libraries' words.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from service.engines.protocol import EngineError, OutOfMemory
from service.host.out_of_memory import says_no_memory


@contextmanager
def main_memory() -> Iterator[None]:
    """Raise :class:`OutOfMemory` if a library finds too little main memory; all else passes through unchanged."""
    try:
        yield
    except EngineError:
        raise
    except Exception as error:
        if not says_no_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they reference what there is no room for
        raise OutOfMemory(first_line(error)) from error


def first_line(error: BaseException) -> str:
    """What the error says, in one line and without the place in OpenCV's source; else the name of its class."""
    text = str(error).strip().partition("\n")[0]
    return re.sub(r"^OpenCV\(\S+\) \S+ error: ", "OpenCV: ", text) or type(error).__name__
