"""Starts the service where no file can be written and no network can be reached.

``benchmarks.cold`` calls ``start``. ``start`` runs this module in mount and network namespaces of its own, which
``unshare`` creates. In them every file system must be mounted read-only without exception, and the only network
interface must be a loopback. The client runs in them too.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

UNSHARE = ("unshare", "--mount", "--net", "--")
FAR_AWAY = ("192.0.2.1", 80)
"""An address that is reserved for documentation and never used (RFC 5737)."""
SET_FLAGS = 0x8914
"""``SIOCSIFFLAGS`` of netdevice(7)."""
UP = 0x1


def impossible() -> str | None:
    """Return why such namespaces cannot be created here, or None if they can."""
    if shutil.which(UNSHARE[0]) is None:
        return "the program unshare(1) is not installed"
    if os.geteuid() != 0:
        return "only root may create namespaces"
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else None


def start(home: Path, checkpoint: Path, picture: Path, *, isolated: bool) -> dict[str, Any]:
    """Start the service, wait until it is warm, and let it make one cut-out.

    Args:
        home: the folder of its caches.
        checkpoint: the weights.
        picture: the file that the client posts.
        isolated: True for read-only file systems without a network; False for the same run on the ordinary machine.

    Returns:
        ``seconds`` from the start of the process to the first 200 on ``/warmup``, the ``phases`` of the start,
        ``engine`` and ``device`` from ``/warmup``, and the ``size`` and the ``sha256`` of the cut-out.

    Raises:
        RuntimeError: the run failed.
    """
    from benchmarks._harness import ROOT

    (home / "tmp").mkdir(exist_ok=True)
    plain = [sys.executable, "-m", "benchmarks._isolated", *map(str, (home, checkpoint, picture))]
    command = [*UNSHARE, *plain, "isolated"] if isolated else [*plain, "ordinary"]
    with (home / "service.log").open("wb") as log:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, check=False)
    if done.returncode:
        raise RuntimeError(
            f"the run ended with exit code {done.returncode}: {(home / 'service.log').read_text()[-2000:]}"
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def main(home: str, checkpoint: str, picture: str, where: str) -> None:
    """Run in the namespaces, and print what ``start`` returns as JSON."""
    from benchmarks import _sides

    if where == "isolated":
        shut_off(Path(home))
    # The log was opened outside of the namespace. So it is the only file that can still be written.
    log = os.fdopen(os.dup(sys.stderr.fileno()), "wb")
    with _sides.Service(Path(home), log=log, WEIGHTS=checkpoint) as service:
        seconds = service.wait("/warmup")
        cut_out = service.cut_out(Path(picture).read_bytes())
        warmup = service.warmup()
        phases = service.metrics("inspyrenet_startup_duration_seconds")
    with Image.open(BytesIO(cut_out)) as image:
        image.load()
        size = image.size
    answer = {
        "seconds": seconds,
        "phases": phases,
        "engine": warmup["engine"],
        "device": warmup["device"],
        "size": size,
        "sha256": hashlib.sha256(cut_out).hexdigest(),
    }
    print(json.dumps(answer))


def shut_off(home: Path) -> None:
    """Remount everything read-only, start the loopback interface, and check the result.

    Raises:
        RuntimeError: a file can still be written, or a network can still be reached.
    """
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), line.split()[4])
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=False)
        if not os.statvfs(place).f_flag & os.ST_RDONLY:
            raise RuntimeError(f"{place} cannot be remounted read-only")
    with closing(socket.socket()) as any_socket:
        fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sh14x", b"lo", UP))
    for folder in (home / "tmp", Path.cwd(), Path("/tmp"), Path("/dev/shm")):
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        raise RuntimeError(f"{folder} can still be written")
    try:
        socket.create_connection(FAR_AWAY, timeout=1).close()
    except TimeoutError:
        raise RuntimeError("there is a route to another network") from None
    except OSError:
        return
    raise RuntimeError("another network can be reached")


if __name__ == "__main__":
    main(*sys.argv[1:])
