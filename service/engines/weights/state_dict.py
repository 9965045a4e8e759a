"""Reads a checkpoint file into a dictionary of tensors, copies such a dictionary into a network, and hashes one.

The engine's load calls these, in the device thread. Importing this module imports torch. Code in a checkpoint must
never run, and after the load no tensor may still map the file.
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from service.engines.protocol import WeightsUnavailable
from service.host.out_of_memory import says_no_memory

_ALIGNMENT = 16
"""In float32 values: every tensor begins at a multiple of 64 bytes, as if it had been allocated separately."""

_HEAD_BYTES = 512
"""Enough of a file's beginning to recognise its format."""


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a PyTorch or safetensors checkpoint, on the CPU.

    The tensors may map the file. The caller copies them and drops its references, because a program that truncates a
    mapped file in place kills this process (SIGBUS). Mapping takes no time; reading 370 MB with torch's own reader
    takes half a second.

    Raises:
        WeightsUnavailable: what is wrong with the file.
        MemoryError, RuntimeError: there is not enough main memory, as ``out_of_memory`` recognises it.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if not head:
            raise WeightsUnavailable(f"{path} is empty; remove it and download the weights again", path)
        if head.lstrip()[:1] == b"<":
            raise WeightsUnavailable(
                f"{path} is a web page, not a checkpoint (a download answered with an error page?); "
                "remove it and download the weights again",
                path,
            )
        if path.suffix == ".safetensors" or head[8:9] == b"{":
            return _read_safetensors(path)
        return _read_torch(path, head)
    except OSError as error:
        raise WeightsUnavailable(f"cannot read {path}: {error.strerror or error}", path) from error


def assign_weights(network: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Copy ``state`` into new memory of the network; every key must match in name and shape.

    The memory is one block: once the network is deleted, a forward pass can use all of it, in one piece.

    Args:
        network: as built; its own parameters are discarded.
        state: may map a file. Float tensors of any precision become float32, in which the network computes.
        source: where the weights came from; for messages.

    Raises:
        WeightsUnavailable: the checkpoint belongs to another network.
    """
    expected = network.state_dict()
    missing, unexpected = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unexpected:
        raise WeightsUnavailable(
            f"{source} is a checkpoint of another network: of {len(expected)} parameters, {len(missing)} are missing"
            f"{_example(missing)}, and {len(unexpected)} are unknown{_example(unexpected)}",
            Path(source),
        )
    wrong = [name for name, tensor in expected.items() if tensor.shape != state[name].shape]
    if wrong:
        name = wrong[0]
        raise WeightsUnavailable(
            f"{source} is a checkpoint of a network of another size: {len(wrong)} parameters have another shape, "
            f"such as {name}: {list(state[name].shape)} instead of {list(expected[name].shape)}",
            Path(source),
        )
    network.load_state_dict(_in_one_block(state), strict=True, assign=True)
    network.requires_grad_(requires_grad=False)


def state_hash(state: dict[str, torch.Tensor]) -> str:
    """``sha256:<hex>`` of the names, types, shapes and bytes of all tensors, in the order of their names."""
    hasher = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        hasher.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        hasher.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{hasher.hexdigest()}"


@torch.no_grad()
def _in_one_block(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    copied = {name: tensor.clone() for name, tensor in state.items() if not tensor.is_floating_point()}
    floats = {name: tensor for name, tensor in state.items() if name not in copied}
    lengths = [-(-tensor.numel() // _ALIGNMENT) * _ALIGNMENT for tensor in floats.values()]
    block = torch.split(torch.empty(sum(lengths)), lengths)
    for (name, tensor), part in zip(floats.items(), block, strict=True):
        copied[name] = part[: tensor.numel()].view(tensor.shape).copy_(tensor)
    return copied


def _read_torch(path: Path, head: bytes) -> dict[str, torch.Tensor]:
    damaged = f"{path} is truncated or damaged ({path.stat().st_size} bytes); remove it and download the weights again"
    if head.startswith(b"PK") and not zipfile.is_zipfile(path):  # a ZIP file's directory is at its end
        raise WeightsUnavailable(damaged, path)
    try:
        # Mapping fails for torch's older format, for compressed records, and on some file systems.
        with suppress(RuntimeError):
            if head.startswith(b"PK") and _all_stored(path):
                return _only_tensors(torch.load(path, map_location="cpu", weights_only=True, mmap=True), path)
        return _only_tensors(torch.load(path, map_location="cpu", weights_only=True), path)
    except (OSError, MemoryError, WeightsUnavailable):
        raise
    except pickle.UnpicklingError as error:
        raise WeightsUnavailable(
            f"{path} is not a plain checkpoint: it is damaged, or it holds other objects than tensors, "
            "which are never loaded",
            path,
        ) from error
    except Exception as error:  # unpickling invalid data can raise any exception
        if says_no_memory(error):
            raise
        raise WeightsUnavailable(damaged, path) from error


def _all_stored(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return _only_tensors(safetensors.torch.load(path.read_bytes()), path)
    except safetensors.SafetensorError as error:
        raise WeightsUnavailable(
            f"{path} is not a whole safetensors file ({error}); download it again", path
        ) from error


def _only_tensors(state: object, path: Path) -> dict[str, torch.Tensor]:
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items()
    ):
        raise WeightsUnavailable(
            f"{path} is not a checkpoint of this network: a plain dictionary of tensors was expected", path
        )
    return state


def _example(names: list[str]) -> str:
    return f" (such as {names[0]})" if names else ""
