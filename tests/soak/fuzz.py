"""The long fuzz test: thousands of damaged files of every format, through ``decode``, in one process.

``make soak`` runs ``python -m tests.soak.fuzz``; ``--examples`` says how many. The exit code is 1 if a file ends in
anything but a picture or a refusal with a 4xx, or if the process needed more memory than ``decode`` states for a
picture of the largest size that is allowed here.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from service.imaging.decode import configure_pillow
from tests.support.damaged import CORPUS, MAX_PIXELS, damaged, decode_or_refuse, sound

FALSE_SIZE = 1 << 30
"""What an AVIF with a false size may cost; ``service/imaging/formats/avif.py`` says why. One is decoded at a time."""


def main(argv: Sequence[str]) -> int:
    """Run the fuzz test, print the figures, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak.fuzz", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--examples", type=int, default=20_000)
    args = parser.parse_args(argv)
    configure_pillow()
    outcomes = Counter(decode_or_refuse(sound(name)) for name in CORPUS)
    begun, most = time.monotonic(), 0

    @given(damaged())
    @settings(
        max_examples=args.examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    def run(data: bytes) -> None:
        nonlocal most
        before = _start_peak()
        outcomes[decode_or_refuse(data)] += 1
        used = _memory("VmHWM") - before
        if data[4:8] == b"ftyp":
            assert used < FALSE_SIZE, f"{used >> 20} MiB"
        else:
            most = max(most, used)
            assert used < 24 * MAX_PIXELS + 3 * len(data) + (16 << 20), f"{used >> 20} MiB"

    run()
    print(
        f"{outcomes.total()} files in {time.monotonic() - begun:.0f} s: {outcomes[True]} decoded, "
        f"{outcomes[False]} refused; at most {most >> 20} MiB at a time, but for AVIF"
    )
    return 0


def _start_peak() -> int:
    """Begin to measure the largest resident memory; return the present one, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    return int(re.findall(name + r":\s+(\d+)", Path("/proc/self/status").read_text())[0]) << 10


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
