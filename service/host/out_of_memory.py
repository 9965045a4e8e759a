"""Recognises what a library raises when there is not enough memory, whatever class and words it chooses.

The engines, ``imaging.decode`` and ``inference.pipeline`` ask. A shortage of memory must never look like a bug (500) or
like a damaged file, and a bug must never look like a shortage of memory. So a new saying needs a source: a report, or a
run under ``RLIMIT_AS``. This module must import no library that it recognises, because they may not be imported before
the port is open.

Some decoders have no words for it: libjpeg says "broken data stream", libwebp "failed to read next frame", libde265 and
dav1d that decoding failed. After such an error only a try (``can_allocate``) tells whether there was enough.
"""

from __future__ import annotations

import ctypes
import errno
import re

_SAYINGS = re.compile(
    "|".join(
        (
            r"out of memory",  # torch's CUDA allocator, the CUDA runtime, the driver; Pillow's codecs, libavif, libtiff
            r"can't allocate memory",  # torch's CPU allocator
            r"not enough memory",  # the same on other systems
            r"cannot allocate memory",  # the operating system, as torch repeats it for a mapping
            r"failed to allocate",
            r"memory allocation error",  # libheif
            r"bad[_ ]alloc",  # the C++ library
            r"insufficient memory",  # OpenCV, libjpeg
            r"can't start new thread",  # a thread's stack is memory
            r"^encoding error [12]$",  # libwebp: VP8_ENC_ERROR_OUT_OF_MEMORY, ..._BITSTREAM_OUT_OF_MEMORY
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
_OPENCV_NO_MEMORY = -4

_library = ctypes.CDLL(None)  # the C library, whose heap all the others use
_library.malloc.argtypes, _library.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
_library.free.argtypes, _library.free.restype = [ctypes.c_void_p], None


def says_no_memory(error: BaseException, *, cuda: bool = False) -> bool:
    """Whether this is a library's way to say that there is not enough memory.

    Args:
        error: as raised.
        cuda: whether work on a CUDA device raised it. Then a few vague messages count, which usually mean that.
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM
    if type(error).__module__ == "cv2" and getattr(error, "code", None) == _OPENCV_NO_MEMORY:
        return True
    message = str(error).lower()
    return bool(_SAYINGS.search(message) or (cuda and _SAYINGS_OF_CUDA.search(message)))


def can_allocate(count: int) -> bool:
    """Whether that many bytes could be had now, in one piece. They are not touched, so this costs no memory."""
    block = _library.malloc(count)
    _library.free(block)
    return block is not None


def require(count: int, purpose: str) -> None:
    """Make sure that there is as much memory as a codec may take, before it runs.

    libde265 and libaom end the process when they get none (an exception of C++ that nobody catches).

    Raises:
        MemoryError: there is not.
    """
    if not can_allocate(count):
        raise MemoryError(f"there are no {count} bytes for {purpose}")
