"""The network of ``transparent_background``, imported without the rest of the package.

The package's ``__init__`` imports its GUI, albumentations (which may call the network), gdown and more: seconds of
every cold start for code that is never used here. Its network modules need only torch, NumPy and OpenCV, plus five
names of two heavy libraries, none of which does any work in an inference network whose weights are then loaded:

* ``timm.layers.to_2tuple`` makes pairs of the patch and window sizes,
* ``timm.layers.trunc_normal_`` initialises a parameter that the checkpoint overwrites,
* ``timm.layers.DropPath`` is the identity outside of training,
* ``kornia.morphology.dilation`` and ``erosion`` are used by the pyramid blending alone, which needs a ``threshold``
  that ``Remover`` never passes.

They are replaced while the modules are imported. timm imports torchvision, whose compiled operators cannot load beside
a CPU build of torch from PyPI, so leaving them out also removes that way to die. Afterwards ``sys.modules`` and
``sys.path`` are as they were: a later ``import transparent_background`` gets the real package.
"""

from __future__ import annotations

import importlib
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any, cast

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from service.engines.package_config import PACKAGE, package_directory

_REPLACED = ("timm", "timm.layers", "kornia", "kornia.morphology")
_import_lock = threading.Lock()


def build_network(base_size: tuple[int, int]) -> nn.Module:
    """InSPyReNet with a SwinB backbone, as ``Remover`` builds it, in evaluation mode on the CPU.

    The parameters have no memory (they are meta tensors): assign every one of them before use.
    """
    make = network_module().InSPyReNet_SwinB
    with _without_parameters(), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="torch.meshgrid", category=UserWarning
        )  # one layout, on purpose
        # The package calls it base_size and means (height, width); every published mode is square.
        network = make(depth=64, pretrained=False, base_size=list(base_size), threshold=None)
    network.eval()
    # It keeps a method of its own as an attribute, a cycle that only the garbage collector would find, with 370 MB of
    # weights in it.
    del network.forward
    return cast("nn.Module", network)


@cache
def network_module() -> ModuleType:
    """The module ``transparent_background.InSPyReNet``, private to the caller: it is not left in ``sys.modules``."""
    with _import_lock, _package_shell():
        module = importlib.import_module(f"{PACKAGE}.InSPyReNet")
    module.InSPyReNet.forward = module.InSPyReNet.forward_inference  # instead of each instance's attribute
    return module


@contextmanager
def _package_shell() -> Iterator[None]:
    """Stand in for the package's ``__init__`` and for the libraries it does not need, then tidy up."""

    def ours(name: str) -> bool:
        return name in _REPLACED or name == PACKAGE or name.startswith(f"{PACKAGE}.")

    saved_modules = {name: module for name, module in sys.modules.items() if ours(name)}
    saved_path = list(sys.path)  # the package's modules append their own directory
    for name in saved_modules:
        del sys.modules[name]
    shell = ModuleType(PACKAGE)
    shell.__path__ = [str(package_directory())]
    sys.modules[PACKAGE] = shell
    sys.modules.update(_stand_ins())
    try:
        yield
    finally:
        for name in [name for name in sys.modules if ours(name)]:
            del sys.modules[name]
        sys.modules.update(saved_modules)
        sys.path[:] = saved_path


def _stand_ins() -> dict[str, ModuleType]:
    def to_2tuple(value: Any) -> tuple[Any, Any]:
        return value if isinstance(value, tuple) else (value, value)

    def trunc_normal_(tensor: torch.Tensor, **_: float) -> torch.Tensor:
        return tensor  # overwritten by the checkpoint

    class DropPath(nn.Identity):
        """Stochastic depth, which is the identity in evaluation mode: the only one there is here."""

    def unused(*_: object, **__: object) -> torch.Tensor:
        raise NotImplementedError("pyramid blending needs kornia; Remover never asks for it")

    modules = {name: ModuleType(name) for name in _REPLACED}
    modules["timm.layers"].__dict__.update(
        to_2tuple=to_2tuple, trunc_normal_=trunc_normal_, DropPath=DropPath
    )
    modules["kornia.morphology"].__dict__.update(dilation=unused, erosion=unused)
    return modules


@contextmanager
def _without_parameters() -> Iterator[None]:
    """Give parameters no memory, and make every function of ``torch.nn.init`` leave its tensor alone.

    Layers make theirs by ``torch.empty``, and nothing else here calls it. What the network computes while it is built,
    its kernels and window indices, is real: a meta device for everything would lose it.
    """

    class WithoutParameters(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            kwargs = kwargs or {}
            if getattr(func, "__module__", None) == "torch.nn.init":
                return kwargs["tensor"] if "tensor" in kwargs else args[0]
            if func in {torch.Tensor.normal_, torch.Tensor.uniform_}:  # kaiming_normal_ gets here by itself
                return args[0]
            if func is torch.empty:
                kwargs["device"] = "meta"
            return func(*args, **kwargs)

    with WithoutParameters():
        yield
