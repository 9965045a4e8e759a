"""Reading a checkpoint into memory, and saying in words what is wrong with one that cannot be used."""

from __future__ import annotations

import pickle
import zipfile
from contextlib import suppress
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from service.engines.protocol import WeightsUnavailable

_ALIGNED = 16
"""Every tensor begins at a multiple of so many values: of 64 bytes, as if it had been allocated by itself."""

_HEAD = 512
"""Bytes of a file's beginning that tell its format."""


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a PyTorch or safetensors checkpoint, on the CPU.

    They may map the file: copy what is to be kept, and let go of them. Whoever truncates a mapped file in place kills
    this process (SIGBUS), but reading 370 MB through torch's own reader takes half a second, and mapping them none.

    Raises:
        WeightsUnavailable: what is wrong with the file.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if not head:
            raise WeightsUnavailable(f"{path} is empty; remove it and fetch the weights again")
        if head.lstrip()[:1] == b"<":
            raise WeightsUnavailable(
                f"{path} is a web page, not a checkpoint (a download answered with an error page?); "
                "remove it and fetch the weights again"
            )
        if path.suffix == ".safetensors" or head[8:9] == b"{":
            return _read_safetensors(path)
        return _read_torch(path, head)
    except OSError as error:
        raise WeightsUnavailable(f"cannot read {path}: {error.strerror or error}") from error


def assign_weights(network: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Copy ``state`` into memory of the network's own; every key must match in name and shape.

    It is one block of memory: when the network goes, a pass finds all of it free, and in one piece.

    Args:
        network: as built; its own parameters are discarded.
        state: may map a file. Float tensors of any precision become float32, which is what the network computes in.
        source: for the message, where the weights came from.

    Raises:
        WeightsUnavailable: the checkpoint belongs to another network.
    """
    expected = network.state_dict()
    missing, unexpected = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unexpected:
        raise WeightsUnavailable(
            f"{source} is a checkpoint of another network: of {len(expected)} parameters {len(missing)} are missing"
            f"{_example(missing)}, and {len(unexpected)} are unknown{_example(unexpected)}"
        )
    wrong = [name for name, tensor in expected.items() if tensor.shape != state[name].shape]
    if wrong:
        name = wrong[0]
        raise WeightsUnavailable(
            f"{source} is a checkpoint of a network of another size: {len(wrong)} parameters have another shape, "
            f"such as {name}: {list(state[name].shape)} instead of {list(expected[name].shape)}"
        )
    network.load_state_dict(_in_one_block(state), strict=True, assign=True)
    network.requires_grad_(requires_grad=False)


@torch.no_grad()
def _in_one_block(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    copied = {name: tensor.clone() for name, tensor in state.items() if not tensor.is_floating_point()}
    floats = {name: tensor for name, tensor in state.items() if name not in copied}
    lengths = [-(-tensor.numel() // _ALIGNED) * _ALIGNED for tensor in floats.values()]
    block = torch.split(torch.empty(sum(lengths)), lengths)
    for (name, tensor), part in zip(floats.items(), block, strict=True):
        copied[name] = part[: tensor.numel()].view(tensor.shape).copy_(tensor)
    return copied


def _read_torch(path: Path, head: bytes) -> dict[str, torch.Tensor]:
    damaged = (
        f"{path} is truncated or damaged ({path.stat().st_size} bytes); remove it and fetch the weights again"
    )
    if head.startswith(b"PK") and not zipfile.is_zipfile(path):  # its directory is at the end
        raise WeightsUnavailable(damaged)
    try:
        # torch's older format cannot be mapped, nor can compressed records, nor anything on some file systems.
        with suppress(RuntimeError):
            if head.startswith(b"PK") and _all_stored(path):
                return _only_tensors(torch.load(path, map_location="cpu", weights_only=True, mmap=True), path)
        return _only_tensors(torch.load(path, map_location="cpu", weights_only=True), path)
    except (OSError, MemoryError, WeightsUnavailable):
        raise
    except pickle.UnpicklingError as error:
        raise WeightsUnavailable(
            f"{path} is not a plain checkpoint: it is damaged, or holds other objects than tensors, "
            "which are not loaded"
        ) from error
    except Exception as error:  # an unpickler that is fed rubbish raises anything
        raise WeightsUnavailable(damaged) from error


def _all_stored(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return _only_tensors(safetensors.torch.load(path.read_bytes()), path)
    except safetensors.SafetensorError as error:
        raise WeightsUnavailable(
            f"{path} is not a whole safetensors file ({error}); fetch it again"
        ) from error


def _only_tensors(state: object, path: Path) -> dict[str, torch.Tensor]:
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items()
    ):
        raise WeightsUnavailable(
            f"{path} is not a checkpoint of this network: a plain dictionary of tensors was expected"
        )
    return state


def _example(names: list[str]) -> str:
    return f" (such as {names[0]})" if names else ""
