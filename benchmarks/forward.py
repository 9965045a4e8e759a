"""One forward pass in this process: the package's own modules compared with the rearranged pass, in fp32 and bf16.

``python -m benchmarks.forward`` reports time and differences of the masks. It has no limit for the figures, so only an
error makes it fail. All passes must use the same weights, threads and allocator, so that only the order of work
differs.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from benchmarks import _harness, _sides
from service.engines.inspyrenet.forward.model import Forward
from service.engines.inspyrenet.precision import REDUCED_PARTS
from service.engines.inspyrenet.session import read_network, self_check_picture
from service.engines.inspyrenet.torch_settings import configure_torch
from service.engines.package_config import mode_config
from service.engines.weights.requested import Weights

SIDES = (64, 256, 512, 1024)


def main() -> None:
    given = _harness.options(__doc__)
    report = _harness.Report("forward", given)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    configure_torch()
    weights = Weights(str(_sides.weights()), mode_config("base"))
    network = read_network(weights.obtain(lambda _: None), "base")
    passes: dict[str, Any] = {
        "fp32": Forward(network, device),
        "bf16": Forward(network, device, reduced=REDUCED_PARTS),
    }
    passes["package"] = network.to(device)
    with torch.inference_mode():
        for side in SIDES[:2] if given.quick else SIDES:
            picture = self_check_picture(side).to(device)
            masks = {name: forward(picture) for name, forward in passes.items()}
            samples = _harness.alternate(
                {name: partial(_seconds, forward, picture) for name, forward in passes.items()}, given.rounds
            )
            for name in ("fp32", "bf16"):
                difference = (masks[name] - masks["package"]).abs()
                report.add(
                    _harness.Row(
                        f"{side} x {side}, {name}",
                        "s",
                        samples[name],
                        samples["package"],
                        other="package's modules",
                        note=f"mask differs by {float(difference.max()):.1e} at most",
                    )
                )
    report.finish()
    _harness.bars(report, "One forward pass", report.rows)


def _seconds(forward: Any, picture: torch.Tensor) -> float:
    def run() -> None:
        forward(picture)
        if picture.is_cuda:
            torch.cuda.synchronize()

    return _harness.timed(run)


if __name__ == "__main__":
    main()
