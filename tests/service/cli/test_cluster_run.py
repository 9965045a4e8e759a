"""The command ``cut --ray`` on a real cluster of two nodes on this machine, whose workers and nodes are killed."""

from __future__ import annotations

import errno
import json
import logging
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import fsspec
import pytest
from PIL import Image

from service.batch import ledger, output_folder
from service.cli import cluster_run, commands, cut
from service.cli.cluster_run import CannotUseCluster, Workers, workers_for
from service.cli.cluster_worker import WORKER_SETTINGS
from service.settings import Settings
from tests.support import cluster_engine, photos
from tests.support.programs import missing
from tests.support.waiting import wait_until


def ray(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that uses the cluster. Ray warns of its own settings, and of processes that it leaves behind."""
    for mark in (pytest.mark.ray, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")):
        test = mark(test)
    return test


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> None:
    """The event loop of the object stores' package reads files; the service has no part in it."""


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The address of an S3 server with an empty bucket ``shop``, which this process and all workers use."""
    try:
        import boto3
        from moto.server import ThreadedMotoServer
    except ImportError:
        raise missing("moto is not installed (make test-ray installs it)") from None

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setattr(logging.getLogger("werkzeug"), "disabled", True)  # a line a request
        boto3.client("s3").create_bucket(Bucket="shop")
        yield "s3://shop"
    server.stop()


@pytest.fixture(scope="module")
def cluster(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two nodes with room for one worker each."""
    try:
        from ray.cluster_utils import Cluster
    except ImportError:
        raise missing("Ray is not installed (make test-ray installs it)") from None

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUT_PIDS", str(tmp_path_factory.mktemp("pids")))
        patch.setenv("RAY_agent_register_timeout_ms", "300000")  # a busy machine is no fault
        cluster = patiently(
            lambda: Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        )
        cluster.second = patiently(lambda: cluster.add_node(num_cpus=1))
        yield cluster
        cluster.shutdown()


def patiently(start: Callable[[], Any]) -> Any:
    """Start a node. Ray gives one 30 s, which is not enough on a busy machine."""
    for _ in range(4):
        with suppress(Exception):
            return start()
    return start()


def run(cluster: Any, *argv: str, engine: Callable[[Settings], Any]) -> int:
    return cut.run(commands.parse(["cut", *argv, "--ray", cluster.address]), {}, make_engine=engine)


def pictures(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        data = photos.save(photos.photograph(64, 48, seed=number), "PNG")
        (folder / f"{number:02}.png").write_bytes(data)


def results(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.png"))


@ray
def test_a_worker_and_a_machine_die_and_every_picture_gets_its_result(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures(Path("in"), 48)
    Path("in/broken.png").write_bytes(Path("in/00.png").read_bytes()[:60])
    killed: list[str] = []
    over = threading.Event()

    def wait_for(count: int) -> None:
        wait_until(
            lambda: over.is_set() or len(results(tmp_path / "out")) >= count,
            seconds=240,
            what=f"{count} results",
        )

    def kill() -> None:
        pids = Path(os.environ["CUT_PIDS"])
        wait_for(8)
        pid = min(pids.iterdir(), key=lambda path: path.stat().st_mtime_ns).name
        os.kill(int(pid), signal.SIGKILL)
        killed.append("worker")
        wait_for(16)
        cluster.remove_node(cluster.second, allow_graceful=False)
        killed.append("machine")

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        code = run(cluster, "in", "--to", "out", engine=cluster_engine.steady)
    finally:
        over.set()
        killer.join()
    *_, problem, summary = capsys.readouterr().err.splitlines()
    assert killed == ["worker", "machine"]
    assert (code, summary) == (1, "48 cut out, 1 failed.")
    assert problem.startswith("error: in/broken.png: The PNG image cannot be decoded")
    assert results(Path("out")) == [f"{number:02}.png" for number in range(48)]
    for name in results(Path("out")):
        with Image.open(Path("out", name)) as image:
            image.load()
            assert (image.mode, image.size) == ("RGBA", (64, 48))
    lines = Path("out", ledger.FILE_NAME).read_text().splitlines()
    assert {json.loads(line)["output"] for line in lines} == set(results(Path("out")))
    assert not Path("out", ledger.SHARDS).exists()
    # A run without a cluster knows the results as its own.
    assert cut.run(commands.parse(["cut", "in", "--to", "out", "--dry-run"]), {}) == 0
    assert capsys.readouterr().out.count("done: ") == 48


@ray
def test_object_store_in_and_out_and_again(
    cluster: Any, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import boto3

    s3 = boto3.client("s3")
    for name, seed in (("in/a.png", 1), ("in/sub/b.png", 2), ("in/broken.png", None), ("in/notes.txt", None)):
        body = b"text" if seed is None else photos.save(photos.photograph(64, 48, seed=seed), "PNG")
        s3.put_object(Bucket="shop", Key=name, Body=body)
    s3.put_object(Bucket="shop", Key="out/a.png", Body=b"of somebody else")
    argv = (f"{store}/in", "--to", f"{store}/out")
    code = run(cluster, *argv, engine=cluster_engine.steady)
    errors = capsys.readouterr().err.splitlines()
    assert code == 1, errors
    assert errors[-1] == "1 cut out, 2 failed. Ignored: 1 .txt."
    assert any("s3://shop/out/a.png is there already" in line for line in errors)
    assert any(line.startswith("error: s3://shop/in/broken.png: ") for line in errors)
    s3.delete_object(Bucket="shop", Key="out/a.png")
    s3.delete_object(Bucket="shop", Key="in/broken.png")
    assert run(cluster, *argv, engine=cluster_engine.steady) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "1 cut out, 1 done before. Ignored: 1 .txt."
    for name in ("out/a.png", "out/sub/b.png"):
        file = tmp_path / "result.png"
        file.write_bytes(s3.get_object(Bucket="shop", Key=name)["Body"].read())
        with Image.open(file) as image:
            assert (image.mode, image.size) == ("RGBA", (64, 48))


@ray
def test_a_picture_at_which_every_worker_dies_is_named_and_costs_no_other_one(
    cluster: Any,
    store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster_run, "TRIES", 1)  # each further one starts a process
    pictures(Path("in"), 9)
    width, height = cluster_engine.DEADLY
    Path("in/deadly.png").write_bytes(photos.save(photos.photograph(width, height), "PNG"))
    assert run(cluster, "in", "--to", f"{store}/cut", engine=cluster_engine.mortal) == 1
    *_, problem, summary = capsys.readouterr().err.splitlines()
    assert problem.startswith("error: in/deadly.png: Each of the 1 workers")
    assert summary == "9 cut out, 1 failed."
    Path("in/deadly.png").unlink()
    assert cut.run(commands.parse(["cut", "in", "--to", f"{store}/cut", "--dry-run"]), {}) == 0
    assert capsys.readouterr().out.count("done: ") == 9


class OneProcess:
    """What ``cluster_run`` uses of Ray, with one worker in this process and no restarts."""

    exceptions = SimpleNamespace(RayError=RuntimeError)
    data = SimpleNamespace(ActorPoolStrategy=lambda **_: None)
    sent: ClassVar[list[bytes]] = []
    """What workers were told at their start."""

    def __init__(self) -> None:
        self.data.from_items = self._from_items

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 1}}]

    def _from_items(self, rows: list[dict[str, bytes]], **_: int) -> Any:
        def map_batches(worker: Any, *, fn_constructor_args: Any, **_: Any) -> Any:
            self.sent.append(pickle.dumps(fn_constructor_args))
            answer = worker(*fn_constructor_args)({"to_do": [row["to_do"] for row in rows]})
            answers = [
                dict(zip(answer, values, strict=True)) for values in zip(*answer.values(), strict=True)
            ]
            return SimpleNamespace(iter_rows=lambda: iter(answers))

        return SimpleNamespace(map_batches=map_batches)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUT_PIDS", str(tmp_path))
    monkeypatch.setattr(cluster_run, "connected", lambda _: nullcontext(OneProcess()))
    monkeypatch.setattr(cluster_run, "find_spec", lambda _: object())
    pictures(Path("in"), 2)


def run_here(engine: Callable[[Settings], Any], *argv: str, **environ: str) -> int:
    return cut.run(commands.parse(["cut", "in", "--to", "out", "--ray", *argv]), environ, make_engine=engine)


@pytest.mark.usefixtures("one_process")
def test_an_engine_that_cannot_be_loaded_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(cluster_engine.without_weights) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert error.endswith(": There are no weights here.")


@pytest.mark.usefixtures("one_process")
def test_workers_are_told_the_settings_of_the_command_and_no_keys() -> None:
    keys = {"INSPYRENET_API_KEYS": "hush", "INSPYRENET_MAX_PIXELS": "1234567"}
    assert run_here(cluster_engine.steady, "--precision", "fp32", **keys) == 0
    sent = OneProcess.sent.pop()
    (work,) = pickle.loads(sent)
    assert b"hush" not in sent
    assert (work.settings.max_pixels, work.settings.precision) == (1234567, "fp32")
    assert set(cut.FLAGS) < set(WORKER_SETTINGS)


@pytest.mark.usefixtures("one_process")
def test_results_of_workers_on_an_object_store_are_noted_by_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    argv = ["cut", "in", "--to", "memory://shop/out"]
    for words in ("2 cut out.", "2 done before."):
        assert cut.run(commands.parse([*argv, "--ray"]), {}, make_engine=cluster_engine.steady) == 0
        assert capsys.readouterr().err.splitlines()[-1].endswith(words)
    objects = [name for name in memory.store if ledger.SHARDS in name]
    assert len(objects) == 1  # one of records, and no claim is left
    memory.store[objects[0]].truncate(0)  # what a machine had not noted when it died
    assert cut.run(commands.parse([*argv, "--ray"]), {}, make_engine=cluster_engine.steady) == 1
    assert "is there already" in capsys.readouterr().err
    memory.store.clear()


@pytest.mark.usefixtures("one_process")
def test_a_full_disk_ends_the_run_early(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(output_folder, "write_whole", full)
    assert run_here(cluster_engine.steady) == 1
    assert "error: stopped early: No space left on device." in capsys.readouterr().err


@pytest.mark.usefixtures("one_process")
def test_a_signal_ends_the_run_at_once() -> None:
    assert run_here(cluster_engine.interrupting) == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["in", "--to", "out", "--watch", "--ray"], "--ray and --watch do not go together."),
        (["in/a.png", "--to", "a.png", "--ray"], "--ray is for many pictures."),
        (["in", "--to", "out", "--ray-workers", "2"], "--ray-workers needs --ray."),
    ],
)
def test_what_a_cluster_cannot_do_is_refused_in_words(
    argv: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cut.run(commands.parse(["cut", *argv]), {}) == 2
    assert line in capsys.readouterr().err


def test_without_ray_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster_run, "find_spec", lambda _: None)
    assert cut.run(commands.parse(["cut", "in", "--to", "out", "--ray"]), {}) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install --constraint constraints.txt '.[ray]'" in line


def nodes(*resources: dict[str, float]) -> Any:
    return SimpleNamespace(nodes=lambda: [{"Alive": True, "Resources": each} for each in resources])


@pytest.mark.parametrize(
    ("resources", "settings", "expected"),
    [
        ([{}, {"CPU": 4.0}, {"CPU": 4.0}], {}, Workers(2, 4, 0)),
        ([{"CPU": 4.0}, {"CPU": 16.0}], {}, Workers(5, 4, 0)),
        ([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0}], {}, Workers(2, 1, 1)),
        ([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0}], {"device": "cpu"}, Workers(2, 8, 0)),
        ([{"CPU": 8.0, "GPU": 2.0}], {"engine": "u2netp"}, Workers(1, 8, 0)),
    ],
)
def test_there_is_a_worker_for_each_gpu_or_else_for_each_machine(
    resources: list[dict[str, float]], settings: dict[str, str], expected: Workers
) -> None:
    assert workers_for(nodes(*resources), Settings(**settings), most=None) == expected
    assert workers_for(nodes(*resources), Settings(**settings), most=1).most == 1


@pytest.mark.parametrize(
    ("device", "words"),
    [("cuda", "the cluster has no GPU"), ("cuda:1", "Ray chooses"), ("cpu", "has no CPU")],
)
def test_a_device_that_the_cluster_has_not_is_refused(device: str, words: str) -> None:
    with pytest.raises(CannotUseCluster, match=words):
        workers_for(nodes({}), Settings(device=device), most=None)
