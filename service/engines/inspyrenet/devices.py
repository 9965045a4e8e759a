"""The device: which one is chosen, how much of its memory is in use, and what its errors mean.

``session`` calls it. The service reacts to the classes of errors. So ``translate_errors`` must convert every failure of
memory or of the device, and no other exception.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from service.engines.protocol import ConfigurationError, DeviceError, OutOfMemory

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "alloc_failed", "not enough memory")
_DEVICE_FAILURE = ("cuda error", "cudnn error", "cudnn_status", "cublas_status", "cufft_status", "nccl error")


def choose_device(name: str) -> torch.device:
    """The device named ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; ``auto`` is the first GPU, else the CPU.

    Raises:
        ConfigurationError: the named device is missing; the CPU never replaces a GPU that was named.
    """
    if name == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda", 0) if count else torch.device("cpu")
    device = torch.device(name)
    index = device.index or 0
    if index >= count:
        found = f"{count} CUDA device(s)" if count else "no CUDA device"
        build = "" if torch.version.cuda else "; this build of torch has no CUDA support"
        raise ConfigurationError(
            f"INSPYRENET_DEVICE={name}: there is {found} here{build}. Name a device that exists, or auto, or cpu"
        )
    return torch.device("cuda", index)


def memory_in_use(device: torch.device) -> dict[str, int]:
    """Bytes ``allocated`` by tensors and ``reserved`` from the driver; zeros on a CPU."""
    if device.type != "cuda":
        return {"allocated": 0, "reserved": 0}
    return {"allocated": torch.cuda.memory_allocated(device), "reserved": torch.cuda.memory_reserved(device)}


@contextmanager
def translate_errors(device: torch.device) -> Iterator[None]:
    """Convert torch's errors about memory and devices; all other exceptions pass through unchanged.

    Raises:
        OutOfMemory: the caches were emptied; a smaller image or a later attempt may succeed.
        DeviceError: it is sticky if the device no longer answers.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        out_of_memory = isinstance(error, MemoryError) or _is_out_of_memory(error)
        if not out_of_memory and not _is_about_device(error):
            raise
        message = str(error).partition("\n")[0] or type(error).__name__
        traceback.clear_frames(error.__traceback__)  # they reference the tensors of the failed pass
        if out_of_memory:
            _empty_caches(device)
            raise OutOfMemory(message) from None
        raise DeviceError(message, sticky=not _still_answers(device)) from error


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(
        hint in str(error).lower() for hint in _OUT_OF_MEMORY
    )


def _is_about_device(error: BaseException) -> bool:
    accelerator_error = getattr(torch, "AcceleratorError", ())  # since torch 2.8
    return isinstance(error, accelerator_error) or any(hint in str(error).lower() for hint in _DEVICE_FAILURE)


def _still_answers(device: torch.device) -> bool:
    """Whether the device still works: after a CUDA context error, every later call raises the error again."""
    if device.type != "cuda":
        return True
    try:
        torch.cuda.synchronize(device)
        torch.zeros(1, device=device).item()
    except RuntimeError:
        return False
    return True


def _empty_caches(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
