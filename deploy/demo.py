"""``make demo``: runs the service once from start to stop, and shows what it does.

It starts the service on a free port, waits until it is warm, sends a photograph to ``/process``, and saves the cut-out
in ``out/``. Then it prints the answer of ``/warmup`` and the warmup metrics, and stops the service with SIGTERM. If a
step fails, the exit code must be 1.
"""

# ruff: noqa: T201, S603 - a script that prints, and that starts a program

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image
from skimage import data

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "out"
LONGEST_START = 900.0
"""Seconds: the first start may download a checkpoint of about 370 MB."""
LONGEST_STOP = 20.0


class DemoFailed(Exception):
    """A step has failed."""


def main() -> int:
    """Run every step; return 0 if all succeeded, else 1."""
    OUT.mkdir(exist_ok=True)
    port = free_port()
    log = OUT / "demo.log"
    arguments = ["--host", "127.0.0.1", "--port", str(port)]
    print(f"$ {' '.join(['./inspyrenet', *arguments])}    (log: {log.relative_to(ROOT)})")
    with log.open("w") as output:
        service = subprocess.Popen(
            [str(ROOT / "inspyrenet"), *arguments],
            cwd=ROOT,
            env={"INSPYRENET_ENGINE": "auto"} | os.environ,
            stdout=output,
            stderr=output,
        )
    try:
        wait_until_warm(service, port)
        cut_out(port)
        show_warmth(port)
        stop(service)
    except (DemoFailed, OSError, http.client.HTTPException) as error:
        print(
            f"FAILED: {str(error) or type(error).__name__}\nThe log {log.relative_to(ROOT)} ends with:",
            file=sys.stderr,
        )
        print(*log.read_text(errors="replace").splitlines()[-20:], sep="\n", file=sys.stderr)
        return 1
    finally:
        if service.poll() is None:
            service.kill()
            service.wait()
    return 0


def free_port() -> int:
    """A TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_warm(service: subprocess.Popen[bytes], port: int) -> None:
    """Wait until ``/readyz`` answers 200, and print each new reason for waiting."""
    started, printed = time.monotonic(), None
    while time.monotonic() - started < LONGEST_START:
        if service.poll() is not None:
            raise DemoFailed(f"the service ended with code {service.returncode}")
        try:
            status, _, body = ask(port, "GET", "/readyz")
        except ConnectionRefusedError:
            status, body = 0, b"the port is not open yet"
        if status == 200:
            print(f"warm after {time.monotonic() - started:.1f} s")
            return
        if (line := body.decode(errors="replace")) != printed:
            print(f"waiting: {line}")
            printed = line
        time.sleep(0.2)
    raise DemoFailed(f"not warm after {LONGEST_START:.0f} s")


def cut_out(port: int) -> None:
    """Send a photograph, check that the answer is its cut-out, and save it."""
    photograph = Image.fromarray(data.astronaut())
    sent = io.BytesIO()
    photograph.save(sent, "JPEG", quality=92)
    status, headers, body = ask(port, "POST", "/process", sent.getvalue(), {"Content-Type": "image/jpeg"})
    if status != 200:
        raise DemoFailed(f"/process answered {status}: {body.decode(errors='replace')}")
    with Image.open(io.BytesIO(body)) as result:
        result.load()
        least, most = result.getchannel("A").getextrema()
    if result.size != photograph.size or least == most:
        raise DemoFailed(f"not a cut-out: {result.size} pixels, alpha from {least} to {most}")
    file = OUT / "cutout.png"
    file.write_bytes(body)
    print(f"saved {file.relative_to(ROOT)}: {result.width} x {result.height}, alpha from {least} to {most}")
    for name in ("X-Engine", "X-Weights", "Server-Timing", "X-Request-Id"):
        print(f"  {name}: {headers[name]}")


def show_warmth(port: int) -> None:
    """Print the answer of ``/warmup`` and the warmup metrics."""
    status, _, body = ask(port, "GET", "/warmup")
    print(f"/warmup: {status}\n{json.dumps(json.loads(body), indent=2)}")
    if status != 200:
        raise DemoFailed("/warmup is not 200")
    _, _, body = ask(port, "GET", "/metrics")
    metrics = [line for line in body.decode().splitlines() if line.startswith("inspyrenet_warmup_")]
    if "inspyrenet_warmup_success 1.0" not in metrics:
        raise DemoFailed("the metrics do not say that the warmup succeeded")
    print("/metrics:", *(line for line in metrics if "_bucket{" not in line), sep="\n  ")


def stop(service: subprocess.Popen[bytes]) -> None:
    """Stop the service as a platform does, and check that it ends in time and with exit code 0."""
    started = time.monotonic()
    service.send_signal(signal.SIGTERM)
    try:
        code = service.wait(LONGEST_STOP)
    except subprocess.TimeoutExpired:
        raise DemoFailed(f"still running {LONGEST_STOP:.0f} s after SIGTERM") from None
    if code != 0:
        raise DemoFailed(f"ended with code {code} after SIGTERM")
    print(f"stopped {time.monotonic() - started:.1f} s after SIGTERM, with code 0")


def ask(
    port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Send one request to the service; return status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
