"""A start of the service where nothing can be written and no network can be reached.

``start(...)`` runs this module in mount and network namespaces of its own, made by ``unshare``: there every file system
is mounted read-only, no exception made, and the only interface is a loopback of its own. The client is in there too.
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
"""An address that nobody has (RFC 5737)."""
SET_FLAGS = 0x8914
"""``SIOCSIFFLAGS`` of netdevice(7)."""
UP = 0x1


def impossible() -> str | None:
    """Why there can be no such namespace here; None if there can."""
    if shutil.which(UNSHARE[0]) is None:
        return "there is no unshare(1) here"
    if os.geteuid() != 0:
        return "it takes root"
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else None


def start(home: Path, checkpoint: Path, picture: Path, *, isolated: bool) -> dict[str, Any]:
    """Start the service, wait until it is warm, have a picture cut out.

    Args:
        home: of its caches.
        checkpoint: the weights.
        picture: what is posted.
        isolated: read-only and without a network; otherwise the same client, and an ordinary machine.

    Returns:
        ``seconds`` from the start of the process to the first 200 on ``/warmup``, ``phases`` of it, ``engine`` and
        ``device`` as ``/warmup`` names them, the ``size`` and the ``sha256`` of the cut-out.
    """
    from benchmarks._harness import ROOT

    (home / "tmp").mkdir(exist_ok=True)
    order = [sys.executable, "-m", "benchmarks._isolated", *map(str, (home, checkpoint, picture))]
    command = [*UNSHARE, *order, "isolated"] if isolated else [*order, "ordinary"]
    with (home / "service.log").open("wb") as log:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, check=False)
    if done.returncode:
        raise RuntimeError(f"it ended with {done.returncode}: {(home / 'service.log').read_text()[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def main(home: str, checkpoint: str, picture: str, where: str) -> None:
    """In the namespaces: what ``start`` promises, as JSON."""
    from benchmarks import _sides

    if where == "isolated":
        shut_off(Path(home))
    # It was opened outside, and so is the one file that can still be written.
    log = os.fdopen(os.dup(sys.stderr.fileno()), "wb")
    with _sides.Service(Path(home), log=log, WEIGHTS=checkpoint) as service:
        seconds = service.wait("/warmup")
        cut_out = service.cut_out(Path(picture).read_bytes())
        said = service.warmup()
        phases = service.metrics("inspyrenet_startup_duration_seconds")
    with Image.open(BytesIO(cut_out)) as image:
        image.load()
        size = image.size
    answer = {
        "seconds": seconds,
        "phases": phases,
        "engine": said["engine"],
        "device": said["device"],
        "size": size,
        "sha256": hashlib.sha256(cut_out).hexdigest(),
    }
    print(json.dumps(answer))


def shut_off(home: Path) -> None:
    """Remount everything read-only, bring the loopback up, and make sure that it is so.

    Raises:
        RuntimeError: something can still be written, or reached.
    """
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), line.split()[4])
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=False)
        if not os.statvfs(place).f_flag & os.ST_RDONLY:
            raise RuntimeError(f"{place} would not become read-only")
    with closing(socket.socket()) as any_socket:
        fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sh14x", b"lo", UP))
    for folder in (home / "tmp", Path.cwd(), Path("/tmp"), Path("/dev/shm")):
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        raise RuntimeError(f"{folder} can be written")
    try:
        socket.create_connection(FAR_AWAY, timeout=1).close()
    except TimeoutError:
        raise RuntimeError("there is a route out of here") from None
    except OSError:
        return
    raise RuntimeError("there is a network")


if __name__ == "__main__":
    main(*sys.argv[1:])
