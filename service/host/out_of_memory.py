"""Tells whether an error means that there was not enough main memory, whichever library raised it.

``imaging.decode`` asks, because a good picture must not be called damaged, and ``inference.pipeline``, because a lack
of memory is not our bug: both become a 503. Engines may ask too. Most libraries have words for it. Some decoders have
none: libjpeg says "broken data stream", libwebp "failed to read next frame", libde265 and dav1d that decoding failed.
After such an error only a try can tell whether there would have been enough.
"""

from __future__ import annotations

import ctypes

_WORDS = (
    "out of memory",  # Pillow's codecs, libavif, libtiff, CUDA
    "memory allocation error",  # libheif
    "insufficient memory",  # OpenCV, libjpeg
    "not enough memory",
    "cannot allocate memory",  # the C library
    "can't allocate memory",  # torch's DefaultCPUAllocator
    "failed to allocate",
    "bad_alloc",  # C++
    "can't start new thread",  # a thread's stack is memory
)
_WEBP_ENCODER = ("encoding error 1", "encoding error 2")
"""libwebp: VP8_ENC_ERROR_OUT_OF_MEMORY and VP8_ENC_ERROR_BITSTREAM_OUT_OF_MEMORY."""
_OPENCV_NO_MEMORY = -4

_library = ctypes.CDLL(None)  # the C library, whose heap all the others use
_library.malloc.argtypes, _library.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
_library.free.argtypes, _library.free.restype = [ctypes.c_void_p], None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was not enough main memory."""
    if isinstance(error, MemoryError):
        return True
    if type(error).__module__ == "cv2" and getattr(error, "code", None) == _OPENCV_NO_MEMORY:
        return True
    message = str(error).lower()
    return message in _WEBP_ENCODER or any(words in message for words in _WORDS)


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
