"""Disks that are full, read-only or not writable, and weights that are overwritten: the service goes on serving."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.photos import encoded
from tests.support.service_process import Live, live

pytestmark = pytest.mark.process

PHOTO = encoded(96, 80)
NOWHERE = "/proc/nowhere"
"""A folder in which even root cannot write."""

HOMELESS = {
    "HOME": NOWHERE, "TMPDIR": NOWHERE, "XDG_CACHE_HOME": NOWHERE, "NUMBA_CACHE_DIR": NOWHERE,
    "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip


def no_file_may_grow() -> None:
    """Make every write to a file fail, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def serves(service: Live) -> None:
    for photo in (PHOTO, encoded(500, 400, "JPEG"), encoded(64, 64, "TIFF"), encoded(64, 64, "WEBP")):
        assert service.post(photo).status == 200
    assert [service.status(path) for path in ("/readyz", "/warmup", "/livez", "/metrics", "/")] == [200] * 5


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_log_on_a_full_disk_costs_the_log_and_nothing_else(tmp_path: Path) -> None:
    with live(tmp_path, output=Path("/dev/full")) as service:
        serves(service)
        service.terminate()
        assert service.exit_code() == 0


def test_a_log_whose_reader_has_gone_costs_the_log_and_nothing_else(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with live(tmp_path, ready=False, output=pipe) as service:
        os.close(reader)
        service.until_ready()
        serves(service)
        service.terminate()
        assert service.exit_code() == 0


def test_a_service_without_any_place_to_write_serves(tmp_path: Path) -> None:
    with live(
        tmp_path, command=["-m", "service"], engine="u2netp", env=HOMELESS, in_child=no_file_may_grow
    ) as service:
        serves(service)
        service.terminate()
        assert service.exit_code() == 0


def _can_remount() -> bool:
    probe = ["unshare", "--map-root-user", "--mount", "mount", "-o", "remount,bind,ro", "/"]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not _can_remount(), reason="no namespaces in which to mount the file system read-only")
def test_a_service_on_a_read_only_file_system_serves(tmp_path: Path) -> None:
    program = (
        "import os, sys; "
        "os.execvp('unshare', ['unshare', '--map-root-user', '--mount', 'sh', '-c', "
        '\'mount -o remount,bind,ro / && ! touch "$HOME/x" && exec "$0" -m service\', sys.executable])'
    )
    env = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    with live(tmp_path, command=["-c", program], engine="u2netp", env=env) as service:
        serves(service)
        service.terminate()
        assert service.exit_code() == 0


@pytest.mark.network
@pytest.mark.timeout(300)
def test_weights_overwritten_or_deleted_while_it_runs_change_nothing(
    tmp_path: Path, dummy_checkpoint: Callable[[str], Path]
) -> None:
    weights = tmp_path / "weights.pth"
    shutil.copyfile(dummy_checkpoint("fast"), weights)
    with live(
        tmp_path,
        command=["-m", "service"],
        ready=False,
        env=HOMELESS,
        weights=weights,
        mode="fast",
        device="cpu",
        precision="fp32",
    ) as service:
        service.until_ready(seconds=200)
        photo = encoded(64, 64)
        before = service.post(photo)
        assert before.status == 200
        assert str(weights) not in Path(f"/proc/{service.process.pid}/maps").read_text()

        with weights.open("r+b") as file:  # in place: the same inode
            file.write(b"\xff" * 4096)
            file.seek(weights.stat().st_size // 2)
            file.write(b"\xff" * 4096)
        os.truncate(weights, 0)
        assert service.post(photo).body == before.body
        weights.unlink()
        assert service.post(photo).body == before.body
        assert service.ask("/warmup").status == 200
        service.terminate()
        assert service.exit_code() == 0


def test_a_named_gpu_that_is_missing_ends_the_start_with_one_line(tmp_path: Path) -> None:
    with live(
        tmp_path,
        command=["-m", "service"],
        ready=False,
        env={**HOMELESS, "CUDA_VISIBLE_DEVICES": ""},
        weights="dummy",
        device="cuda:7",
    ) as service:
        assert service.exit_code(within=100) == 2
        [line] = service.log_messages("CRITICAL")
        assert "INSPYRENET_DEVICE=cuda:7" in line
        assert "Traceback" not in service.log.read_text()
