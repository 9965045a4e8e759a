"""Reading checkpoints: a good file gives its tensors, a bad one a message that says what is wrong with it."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from service.engines.protocol import WeightsUnavailable
from service.engines.weights.state_dict import assign_weights, read_checkpoint, state_hash
from service.host.out_of_memory import says_no_memory
from tests.support.examples import examples
from tests.support.scarce_memory import spare_memory


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def save(state: Any, path: Path) -> Path:
    torch.save(state, path)
    return path


def mapped_files() -> str:
    return Path("/proc/self/maps").read_text()


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path, network: nn.Module) -> None:
    state = read_checkpoint(save(network.state_dict(), tmp_path / "x.pth"))
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())


def test_the_old_format_of_torch_can_be_read(tmp_path: Path, network: nn.Module) -> None:
    torch.save(network.state_dict(), tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    assert read_checkpoint(tmp_path / "x.pth").keys() == network.state_dict().keys()


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
def test_safetensors_are_recognised_by_name_or_by_content(
    tmp_path: Path, network: nn.Module, name: str
) -> None:
    safetensors.torch.save_file(network.state_dict(), tmp_path / name)
    assert read_checkpoint(tmp_path / name).keys() == network.state_dict().keys()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_shortage_of_memory_is_not_called_a_damaged_file(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "x.pth"
    torch.save({"weight": torch.ones(1 << 24)}, path, _use_new_zipfile_serialization=zipped)
    with spare_memory(16_000_000), pytest.raises((MemoryError, RuntimeError)) as raised:
        read_checkpoint(path)
    assert says_no_memory(raised.value)


def test_a_checkpoint_is_mapped_until_its_tensors_are_deleted(tmp_path: Path) -> None:
    path = save({"weight": torch.ones(1 << 20)}, tmp_path / "mapped.pth")
    state = read_checkpoint(path)
    assert path.name in mapped_files()
    assert float(state["weight"].sum()) == 1 << 20
    del state
    assert path.name not in mapped_files()


def test_a_file_that_cannot_be_mapped_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save({"weight": torch.ones(1 << 20)}, tmp_path / "x.pth")
    load = torch.load

    def load_without_mapping(*args: Any, **options: Any) -> Any:
        if options.get("mmap"):
            raise RuntimeError("unable to mmap 4194304 bytes from file: No such device (19)")
        return load(*args, **options)

    monkeypatch.setattr(torch, "load", load_without_mapping)
    assert float(read_checkpoint(path)["weight"].sum()) == 1 << 20


def write_half(path: Path, network: nn.Module) -> None:
    save({"weight": torch.ones(10_000)}, path)
    os.truncate(path, path.stat().st_size // 2)


def write_script(path: Path, network: nn.Module) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, ("true",)

    path.write_bytes(pickle.dumps(Evil(), protocol=2))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path, _: path.write_bytes(b""), "is empty"),
        (lambda path, _: path.write_bytes(b"<!DOCTYPE html><html>404</html>"), "web page"),
        (write_half, "truncated or damaged"),
        (lambda path, _: path.write_bytes(b"PK\x03\x04" + b"\0" * 1000), "truncated or damaged"),
        (lambda path, _: path.write_bytes(bytes(range(256)) * 10), "damaged"),
        (write_script, "it holds other objects than tensors"),
        (lambda path, network: save(network, path), "holds other objects than tensors"),
        (lambda path, _: save([torch.ones(2)], path), "plain dictionary of tensors"),
        (lambda path, _: save({"epoch": 3, "model": {}}, path), "plain dictionary of tensors"),
        (lambda path, _: path.mkdir(), "Is a directory"),
        (lambda path, _: None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_explained(
    tmp_path: Path, network: nn.Module, write: Callable[[Path, nn.Module], object], message: str
) -> None:
    path = tmp_path / "x.pth"
    write(path, network)
    with pytest.raises(WeightsUnavailable, match=message) as raised:
        read_checkpoint(path)
    assert str(path) in str(raised.value)


def test_a_cut_off_safetensors_file_is_explained(tmp_path: Path, network: nn.Module) -> None:
    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file(network.state_dict(), path)
    os.truncate(path, path.stat().st_size - 8)
    with pytest.raises(WeightsUnavailable, match="not a whole safetensors file"):
        read_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@settings(max_examples=examples(200))
@given(start=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02"]), rest=st.binary(min_size=1, max_size=60))
def test_invalid_data_is_refused_and_never_breaks_the_reader(
    tmp_path_factory: pytest.TempPathFactory, start: bytes, rest: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "invalid.pth"
    path.write_bytes(start + rest)
    with pytest.raises(WeightsUnavailable):
        read_checkpoint(path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_are_copied_completely_as_constants_in_float32(
    network: nn.Module, dtype: torch.dtype
) -> None:
    """Also if the file was saved with trainable or transposed parameters, which torch preserves."""
    expected = {name: torch.randn(tensor.shape).to(dtype) for name, tensor in network.state_dict().items()}
    expected["1.num_batches_tracked"] = torch.tensor(7)
    state = {name: tensor.clone() for name, tensor in expected.items()}
    state["0.weight"] = state["0.weight"].t().contiguous().t().requires_grad_()
    assign_weights(network, state, "x")
    for tensor in state.values():
        tensor.detach().zero_()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, expected[name].to(tensor.dtype))
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_checkpoint_of_another_network_is_named_with_examples(network: nn.Module) -> None:
    state = network.state_dict()
    state["2.weight"] = state.pop("0.weight")
    with pytest.raises(
        WeightsUnavailable, match=r"another network.*1 are missing.*0\.weight.*1 are unknown.*2\.weight"
    ):
        assign_weights(network, state, "x.pth")


def test_wrong_shapes_are_named_with_both_shapes(network: nn.Module) -> None:
    state = network.state_dict() | {"0.weight": torch.zeros(4, 9)}
    with pytest.raises(WeightsUnavailable, match=r"another size.*0\.weight: \[4, 9\] instead of \[4, 3\]"):
        assign_weights(network, state, "x.pth")


def test_the_hash_of_tensors_depends_on_names_types_shapes_and_bytes_but_not_on_their_order() -> None:
    state = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3)}
    others = [
        {"a": torch.tensor([1.0, 2.5]), "b": torch.tensor(3)},
        {"a": torch.tensor([[1.0], [2.0]]), "b": torch.tensor(3)},
        {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3, dtype=torch.int32)},
        {"c": torch.tensor([1.0, 2.0]), "b": torch.tensor(3)},
    ]
    assert state_hash(dict(reversed(state.items()))) == state_hash(state)
    assert len({state_hash(state), *map(state_hash, others)}) == 5
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", state_hash(state))
