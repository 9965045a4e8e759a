"""Recognises what a library raises when there is not enough memory, whatever class and words it chooses.

The engines, ``unmixing`` and ``weights.state_dict`` call it. A shortage of memory must never look like a bug (500) or
like a damaged file, and a bug must never look like a shortage of memory. So a new saying needs a source: a report, or a
run under ``RLIMIT_AS``. This module must import no library that it recognises, because they may not be imported before
the port is open.
"""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from service.engines.protocol import EngineError, OutOfMemory

_SAYINGS = re.compile(
    "|".join(
        (
            r"out of memory",  # torch's CUDA allocator, the CUDA runtime and the driver
            r"can't allocate memory",  # torch's CPU allocator
            r"not enough memory",  # the same on other systems
            r"cannot allocate memory",  # the operating system, as torch repeats it for a mapping
            r"bad[_ ]alloc",  # the C++ library
            r"insufficient memory",  # OpenCV
            r"_alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED
            r"allocation_failed",  # CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED, ..._HOST_...
            r"could not create a primitive(?! descriptor)",  # oneDNN has no memory for a kernel's code
            r"could not create a memory object",  # oneDNN
            r"could not execute a primitive",  # oneDNN has no memory for a kernel's scratchpad
        )
    )
)
_SAYINGS_OF_CUDA = re.compile(
    "|".join(
        (
            r"unable to find an engine",  # cuDNN has no memory for the workspace of any algorithm
            r"cudacachingallocator",  # an assertion in torch's allocator fails, after cudaMalloc has failed
            r"cu(blas|dnn)_status_not_initialized",  # no memory for the library's own state
        )
    )
)


def says_no_memory(error: BaseException, *, cuda: bool = False) -> bool:
    """Whether this is a library's way to say that there is not enough memory.

    Args:
        error: as raised.
        cuda: whether work on a CUDA device raised it. Then a few vague messages count, which usually mean that.
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    message = str(error).lower()
    return bool(_SAYINGS.search(message) or (cuda and _SAYINGS_OF_CUDA.search(message)))


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
