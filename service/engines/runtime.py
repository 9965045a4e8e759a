"""The loaded network on its device: everything of the engine that needs torch, imported in the engine's own thread."""

from __future__ import annotations

import threading

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from service.cpu import available_cpus
from service.engines import devices, precision
from service.engines.base import RGB, Alpha
from service.engines.checkpoint import assign_weights, read_checkpoint
from service.engines.dummy import dummy_state, smooth_noise
from service.engines.network import build_network
from service.engines.upstream import mode_config
from service.engines.weights import Checkpoint

SELF_CHECK_SIDE = 256
"""Pixels. The attention stages work at the base size whatever the input, so a small picture shows their error."""

LEAST_SPREAD = 0.05
"""Standard deviation of alpha below which a mask is flat, and two flat masks agree whatever the precision."""

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def set_up_device(name: str) -> torch.device:
    """Choose the device, and give torch as many threads as the container has CPUs.

    To be called in the thread that will compute: the number of threads belongs to the thread that sets it.

    Raises:
        ConfigurationError: the named device is not there.
    """
    torch.set_num_threads(available_cpus())
    return devices.choose_device(name)


def read_network(checkpoint: Checkpoint, mode: str) -> nn.Module:
    """The network of ``mode`` with the checkpoint's weights, in main memory, no tensor backed by the file.

    Raises:
        WeightsUnavailable: the checkpoint is damaged, of another network, or changed since it was verified.
    """
    if checkpoint.path is None:
        state = dummy_state(mode)
    else:
        checkpoint.check_unchanged()
        state = read_checkpoint(checkpoint.path)
        checkpoint.check_unchanged()
    network = build_network(mode_config(mode).base_size)
    assign_weights(network, state, checkpoint.source)
    return network


class Runtime:
    """A network, moved to its device, and the arithmetic around it.

    Args:
        network: in evaluation mode, in float32; its plain-tensor kernels move with it.
        device: where it computes.

    Raises:
        OutOfMemory, DeviceError: the device failed.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._device = device
        with devices.device_errors(device):
            self._network = network.to(device)
            self._mean = torch.tensor(_MEAN, device=device).view(3, 1, 1)
            self._std = torch.tensor(_STD, device=device).view(3, 1, 1)
        self._forward_running = threading.Lock()

    def infer(self, image: RGB, input_size: tuple[int, int]) -> Alpha:
        """The mask of one image at its own size, as ``Remover.process`` makes it.

        Args:
            image: any size from 1 x 1.
            input_size: (width, height) fed to the network.

        Raises:
            OutOfMemory, DeviceError: the device failed.
        """
        height, width = image.shape[:2]
        resized = np.array(Image.fromarray(image).resize(input_size, Image.Resampling.BILINEAR))
        with devices.device_errors(self._device), torch.inference_mode():
            pixels = torch.from_numpy(resized).to(self._device).permute(2, 0, 1).float()
            # One image a pass: the network stretches the range of the whole batch to [0, 1].
            mask = self._forward(((pixels / 255 - self._mean) / self._std).unsqueeze(0))
            mask = functional.interpolate(mask, (height, width), mode="bilinear", align_corners=True)
            alpha: Alpha = mask[0, 0].clamp_(0, 1).cpu().numpy()
        return alpha

    def settle_precision(self, wanted: precision.Wanted) -> tuple[precision.Precision, str]:
        """Compute in bf16 if that is asked for, or (``auto``) if it gains something and leaves the masks as they are.

        Returns:
            The precision now in use, and why, with the figures of the self-check if there was one.
        """
        if wanted == "fp32":
            return "fp32", "asked for"
        unsuitable = precision.unsuitable_hardware(self._device)
        if wanted == "bf16":
            precision.use_bf16(self._network, self._device.type)
            return "bf16", f"asked for, not checked; {unsuitable}" if unsuitable else "asked for, not checked"
        if unsuitable:
            return "fp32", unsuitable
        with devices.device_errors(self._device), torch.inference_mode():
            picture = _self_check_picture().to(self._device)
            exact = self._forward(picture)
            if float(exact.std()) < LEAST_SPREAD:
                return "fp32", "self-check inconclusive: these weights see nothing in its picture"
            undo = precision.use_bf16(self._network, self._device.type)
            deviation = precision.measure_deviation(exact, self._forward(picture))
        if deviation.acceptable:
            return "bf16", f"self-check passed: {deviation}"
        undo()
        return "fp32", f"self-check failed: bf16 differs from fp32 by {deviation}"

    def memory(self) -> dict[str, int]:
        """Bytes of device memory ``allocated`` and ``reserved``; zeros on a CPU."""
        return devices.memory_in_use(self._device)

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        # The network writes its current size into its own blocks: two passes at once corrupt each other.
        if not self._forward_running.acquire(blocking=False):
            raise RuntimeError("two forward passes at once on one network")
        try:
            mask: torch.Tensor = self._network(batch)
        finally:
            self._forward_running.release()
        return mask.float()


def _self_check_picture() -> torch.Tensor:
    """A textured disc before a calmer ground, 1 x 3 x side x side, normalised; always the same."""
    generator = torch.Generator().manual_seed(0)
    ground, subject = (smooth_noise(generator, side=SELF_CHECK_SIDE) for _ in range(2))
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, SELF_CHECK_SIDE)] * 2, indexing="ij")
    disc = ((0.6 - (x**2 + y**2).sqrt()) * 20).sigmoid()
    return torch.lerp(ground / 2 - 0.5, subject + 0.8, disc)
