"""The network of ``transparent_background``, imported without the rest of the package.

``session`` and ``dummy_weights`` build the network with it, in one thread. After the import, ``sys.modules`` and
``sys.path`` must be as before, so that a later ``import transparent_background`` gets the real package.

The package's ``__init__`` imports its GUI, albumentations (which may call the network), gdown and more. That takes
seconds of every cold start, for code that is not used here. The modules of its network need only torch, NumPy, OpenCV
and five names from two heavy libraries. None of the five does any work in an inference network with loaded weights:

* ``timm.layers.to_2tuple`` makes pairs of the patch and window sizes,
* ``timm.layers.trunc_normal_`` initialises a parameter that the checkpoint overwrites,
* ``timm.layers.DropPath`` is the identity outside of training,
* ``kornia.morphology.dilation`` and ``erosion`` are used only by the pyramid blending, which needs a ``threshold``
  that ``Remover`` never passes.

They are replaced while the modules are imported. This also avoids a failure: timm imports torchvision, whose compiled
operators cannot be loaded together with a CPU build of torch from PyPI.
"""

from __future__ import annotations

import importlib
import sys
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


def build_network(base_size: tuple[int, int]) -> nn.Module:
    """InSPyReNet with a SwinB backbone, as ``Remover`` builds it, in evaluation mode on the CPU.

    The parameters are meta tensors, which have no memory: assign all of them before use.
    """
    make = network_module().InSPyReNet_SwinB
    with _without_parameters(), warnings.catch_warnings():
        # The package calls torch.meshgrid without naming a layout, and means the default.
        warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)
        # The package's base_size means (height, width); every published mode is square.
        network = make(depth=64, pretrained=False, base_size=list(base_size), threshold=None)
    network.eval()
    # The attribute holds a method of the network itself. This reference cycle would keep 370 MB of weights until the
    # garbage collector runs.
    del network.forward
    return cast("nn.Module", network)


@cache
def network_module() -> ModuleType:
    """The module ``transparent_background.InSPyReNet``; it does not stay in ``sys.modules``."""
    with _replaced_imports():
        module = importlib.import_module(f"{PACKAGE}.InSPyReNet")
    module.InSPyReNet.forward = module.InSPyReNet.forward_inference  # instead of each instance's attribute
    return module


@contextmanager
def _replaced_imports() -> Iterator[None]:
    """Replace the package's ``__init__`` and the two libraries by stubs, and restore everything afterwards."""

    def is_replaced(name: str) -> bool:
        return name in _REPLACED or name == PACKAGE or name.startswith(f"{PACKAGE}.")

    saved_modules = {name: module for name, module in sys.modules.items() if is_replaced(name)}
    saved_path = list(sys.path)  # the package's modules append their own directory
    for name in saved_modules:
        del sys.modules[name]
    package = ModuleType(PACKAGE)
    package.__path__ = [str(package_directory())]
    sys.modules[PACKAGE] = package
    sys.modules.update(_library_stubs())
    try:
        yield
    finally:
        for name in [name for name in sys.modules if is_replaced(name)]:
            del sys.modules[name]
        sys.modules.update(saved_modules)
        sys.path[:] = saved_path


def _library_stubs() -> dict[str, ModuleType]:
    def to_2tuple(value: Any) -> tuple[Any, Any]:
        return value if isinstance(value, tuple) else (value, value)

    def trunc_normal_(tensor: torch.Tensor, **_: float) -> torch.Tensor:
        return tensor  # the checkpoint overwrites it

    class DropPath(nn.Identity):
        """Stochastic depth, which is the identity in evaluation mode; this network is never trained."""

    def unused(*_: object, **__: object) -> torch.Tensor:
        raise NotImplementedError(
            "pyramid blending needs kornia, which is replaced here; Remover never uses it"
        )

    modules = {name: ModuleType(name) for name in _REPLACED}
    modules["timm.layers"].__dict__.update(
        to_2tuple=to_2tuple, trunc_normal_=trunc_normal_, DropPath=DropPath
    )
    modules["kornia.morphology"].__dict__.update(dilation=unused, erosion=unused)
    return modules


@contextmanager
def _without_parameters() -> Iterator[None]:
    """Allocate no memory for parameters, and make every function of ``torch.nn.init`` do nothing.

    Layers allocate their parameters by ``torch.empty``, and nothing else here calls it. A meta device for everything
    would not work: the network computes its kernels and window indices while it is built, and these must be real.
    """

    class WithoutParameters(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            kwargs = kwargs or {}
            if getattr(func, "__module__", None) == "torch.nn.init":
                return kwargs["tensor"] if "tensor" in kwargs else args[0]
            if func in {torch.Tensor.normal_, torch.Tensor.uniform_}:  # called by kaiming_normal_
                return args[0]
            if func is torch.empty:
                kwargs["device"] = "meta"
            return func(*args, **kwargs)

    with WithoutParameters():
        yield
