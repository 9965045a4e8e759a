"""The device: which one is chosen, how much of its memory is in use, and what its errors mean.

``session`` calls it. The service reacts to the classes of errors. So ``translate_errors`` must convert every failure of
memory or of the device.

A GPU under memory pressure fails in many words, which change with each version of torch and its libraries. So on a CUDA
device every error of torch is one of the device (503), and the words decide only which one. On a CPU nothing but
memory can fail, so any other error is a bug and stays visible as one (500).
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from service.engines.out_of_memory import first_line
from service.engines.protocol import ConfigurationError, DeviceError, OutOfMemory
from service.host.out_of_memory import says_no_memory

_TORCH_ERRORS = (RuntimeError, torch.cuda.DeferredCudaCallError)
"""What torch raises: all its own classes but the second are RuntimeErrors."""


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
    on_cuda = device.type == "cuda"
    try:
        yield
    except (MemoryError, *_TORCH_ERRORS) as error:
        out_of_memory = says_no_memory(error, cuda=on_cuda)
        if not (out_of_memory or on_cuda):
            raise
        message = first_line(error)
        traceback.clear_frames(error.__traceback__)  # they reference the tensors of the failed pass
        gc.collect()
        answers = not on_cuda or _still_answers(device)
        if out_of_memory and answers:
            raise OutOfMemory(message) from None
        raise DeviceError(message, sticky=not answers) from error


def _still_answers(device: torch.device) -> bool:
    """Whether the GPU still works: after a CUDA context error, every later call raises the error again.

    Its cache is emptied first. Otherwise a GPU without a byte to spare could not take this test.
    """
    try:
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.zeros(1, device=device).item()
    except _TORCH_ERRORS as error:
        return says_no_memory(error, cuda=True)
    return True
