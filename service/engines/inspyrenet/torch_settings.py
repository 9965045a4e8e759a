"""Everything that this program sets in torch for the whole process.

``session`` calls it when a device is set up; the benchmarks that call the network directly do so too. No other module
may set a flag of torch.

Float32 must be float32. Torch's default for convolutions on NVIDIA's GPUs is TF32, which keeps 10 of the 23 bits of
mantissa, and NVIDIA's images turn it on for products too. Then ``fp32`` would be an untrue name for what serves, and
the self-check of bf16 would compare with a reference that is rounded itself. Fused attention needs no flag: its kernels
for float32 add up three TF32 products, which is as exact as float32.
"""

from __future__ import annotations

import torch

from service.host.cpu import available_cpus


def configure_torch() -> None:
    """Compute float32 exactly, on as many threads as the container has CPUs.

    Call it in the thread that will compute: torch keeps the number of threads for each calling thread. It may be called
    on a machine without a GPU, and again.
    """
    torch.set_num_threads(available_cpus())
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
