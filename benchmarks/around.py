"""Measures everything around the network in one request on one core, beside the code before it was made faster.

``python -m benchmarks.around`` decodes photographs, enlarges ready masks, composes and encodes, with the code of this
tree and with that of the commit ``BEFORE``, in turn, each in a process of its own on the same core. Then each serves
pictures over HTTP with an engine that answers at once. It fails if a file does not hold the pixels that were written,
or if pixels that can be seen differ by more than ``MOST_LEVELS``. If the history of the repository is not there, only
this side is measured, and the table says so.

The bars are held against the time of the processor, because the machine may be shared: on one core and without any
waiting, it is the time that a request takes on a machine of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks import _harness, _load, _sides
from benchmarks.scenes import photograph
from service.host.allocator import MEMORY_VARIABLES

BEFORE = "c87646e"
SIDE = Path(__file__).with_name("_around_side.py")
SIZES = {"1 MP": (1152, 864), "12 MP": (4000, 3000)}
NAMES = ("astronaut", "coffee", "chelsea")
MASK_SIDE = 1280
"""The short side of the network's input for a large photograph."""
MOST_LEVELS = 1
"""Of 255, between the visible pixels of both sides."""
CLIENTS = 6


class Kind(NamedTuple):
    """One kind of answer, and its bars in milliseconds (or as a share of the time before) by size."""

    name: str
    output: str
    format: str
    bars: dict[str, float]
    relative: bool = False


KINDS = (
    Kind("RGBA PNG", "rgba", "png", {"1 MP": 25, "12 MP": 300}),
    Kind("white JPEG", "white", "jpeg", {"1 MP": 15, "12 MP": 180}),
    Kind("mask PNG", "mask", "png", {"1 MP": 10, "12 MP": 100}),
    Kind("RGBA WebP", "rgba", "webp", {"1 MP": 0.5, "12 MP": 0.5}, relative=True),
)


class Side:
    """A process that does the work around the network with the code of one tree, on one core."""

    def __init__(self, tree: Path) -> None:
        env = {**os.environ, **MEMORY_VARIABLES, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(SIDE), str(tree)],
            cwd=tree,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def ask(self, **order: object) -> dict[str, Any]:
        """Send one order, and return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process of one side has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


def main() -> None:
    given = _harness.options(__doc__, rounds=7, add=add_options)
    chosen = [kind for kind in KINDS if (given.more.only or "") in kind.name]
    report = _harness.Report("around", given)
    with _sides.scratch() as folder, ExitStack() as stack:
        before = older_tree(folder)
        trees = {"ours": _harness.ROOT} | ({"before": before} if before is not None else {})
        report.extra["before"] = (
            BEFORE if before is not None else "not measured: the repository has no history"
        )
        sides = {name: stack.enter_context(Side(tree)) for name, tree in trees.items()}
        sizes = {"0.1 MP": (384, 288)} if given.quick else SIZES
        held = []
        for size, (width, height) in sizes.items():
            pictures = list(make_pictures(folder, width, height))
            for kind in chosen:
                held += measure(report, sides, kind, size, pictures)
        if given.more.only is None:
            held += throughput(report, trees, folder, pictures_of_1_mp(folder, quick=given.quick))
    report.extra["held"] = held
    report.finish()
    for bar in held:
        print(f"  {'held' if bar['held'] else 'MISSED'}: {bar['bar']} ({bar['figure']:.3g})")
    shown = [row for row in report.rows if row.unit in ("ms", "pictures/s and core")]
    _harness.bars(report, "The work around the network, processor time on one core", shown)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that only this benchmark has."""
    parser.add_argument(
        "--only", help="measure the kinds of answers with this in their name, and no throughput"
    )


def older_tree(folder: Path) -> Path | None:
    """The tree of the commit ``BEFORE``; None if the repository does not have it."""
    packed = subprocess.run(
        ["git", "archive", BEFORE, "service", "supervisor", "metrics"],
        cwd=_harness.ROOT,
        capture_output=True,
        check=False,
    )
    if packed.returncode:
        return None
    tree = folder / "before"
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(tree, filter="data")
    return tree


def make_pictures(folder: Path, width: int, height: int) -> Iterator[tuple[Path, Path]]:
    """Write photographs as JPEG with the masks that ``u2netp`` makes of them at the size of a network's input."""
    from service.engines.u2netp.engine import U2netpEngine

    engine = U2netpEngine()
    engine.prepare(ignore)
    engine.load(ignore)
    scale = min(1.0, MASK_SIDE / min(width, height))
    small = (round(width * scale / 32) * 32, round(height * scale / 32) * 32)
    for name in NAMES:
        picture = detailed(photograph(name, width, height), name)
        mask = engine.infer(np.asarray(Image.fromarray(picture).resize(small, Image.Resampling.BILINEAR)))
        paths = folder / f"{name}-{width}.jpg", folder / f"{name}-{width}.npy"
        Image.fromarray(picture).save(paths[0], quality=92)
        np.save(paths[1], mask.alpha)
        yield paths


def ignore(*_: object) -> None:
    """Report nothing."""


def detailed(picture: npt.NDArray[np.uint8], name: str) -> npt.NDArray[np.uint8]:
    """An enlarged photograph with the fine detail and the noise that one of that size has."""
    height, width = picture.shape[:2]
    if width < 1200:
        return picture
    original = photograph(name, 512, 384).astype(np.float32)
    fine = original - cv2.GaussianBlur(original, (0, 0), 2)
    tiles = np.tile(fine, (-(-height // 384), -(-width // 512), 1))[:height, :width]
    noise = np.random.default_rng(0).normal(0, 1.5, picture.shape).astype(np.float32)
    return np.clip(picture + 0.5 * tiles + noise, 0, 255).astype(np.uint8)


def measure(
    report: _harness.Report,
    sides: dict[str, Side],
    kind: Kind,
    size: str,
    pictures: list[tuple[Path, Path]],
) -> list[dict[str, Any]]:
    """Add the rows of one kind of answer at one size, and return its bars."""
    found: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in sides}

    def ask(name: str, **more: object) -> list[dict[str, Any]]:
        orders = ({"picture": str(picture), "mask": str(mask)} for picture, mask in pictures)
        return [sides[name].ask(**order, output=kind.output, format=kind.format, **more) for order in orders]

    def once(name: str) -> Callable[[], float]:
        def run() -> float:
            found[name].append(ask(name))
            return statistics.fmean(answer["cpu"] for answer in found[name][-1])

        return run

    note = check(sides, kind, pictures)
    # A process that has served a picture of that size has the memory for the next one, as in the service.
    samples = _harness.alternate({name: once(name) for name in sides}, report.given.rounds, quiet=True)
    peaks = {name: [ask(name, memory=True) for _ in range(3)] for name in sides}
    what = f"{kind.name}, {size}"
    report.add(
        _harness.Row(
            what,
            "ms",
            samples["ours"],
            samples.get("before"),
            other="before",
            our_name="now",
            aim="half of before" if kind.relative else f"{kind.bars.get(size, 0):g} ms",
            note=note,
        )
    )
    figures = {}
    for quantity, unit, digits in (
        ("wall", "ms of the clock", 1),
        ("memory", "bytes a pixel", 1),
        ("bytes", "kB", 1e-3),
    ):
        values = {
            name: [
                max(digits * statistics.fmean(answer[quantity] for answer in done), 0.1) for done in rounds
            ]
            for name, rounds in (peaks if quantity == "memory" else found).items()
        }
        figures[quantity] = values
        report.add(
            _harness.Row(
                f"{what}: {quantity}",
                unit,
                values["ours"],
                values.get("before"),
                other="before",
                our_name="now",
            )
        )
    report.extra.setdefault("stages", {})[what] = {
        name: {
            stage: statistics.median(answer["stages"][stage] for done in rounds for answer in done)
            for stage in rounds[0][0]["stages"]
        }
        for name, rounds in found.items()
    }
    return list(bars_of(kind, size, what, samples, figures))


def bars_of(
    kind: Kind,
    size: str,
    what: str,
    samples: dict[str, list[float]],
    figures: dict[str, dict[str, list[float]]],
) -> Iterator[dict[str, Any]]:
    """Whether each bar is held."""
    now = statistics.median(samples["ours"])
    if size in kind.bars and not kind.relative:
        yield {
            "bar": f"{what}: at most {kind.bars[size]:g} ms",
            "figure": now,
            "held": now <= kind.bars[size],
        }
    if "before" not in samples:
        return
    share = now / statistics.median(samples["before"])
    if kind.relative:
        yield {"bar": f"{what}: at most half of before", "figure": share, "held": share <= 0.5}
    for quantity, most in (("bytes", 1.005), ("memory", 1.05)):  # a level here and there, and pages of memory
        values = figures[quantity]
        share = statistics.median(values["ours"]) / statistics.median(values["before"])
        yield {"bar": f"{what}: no more {quantity} than before", "figure": share, "held": share <= most}


def check(sides: dict[str, Side], kind: Kind, pictures: list[tuple[Path, Path]]) -> str:
    """Read the files back, and compare the visible pixels of both sides.

    Raises:
        RuntimeError: a PNG does not hold the pixels that were written, or a visible pixel differs.
    """
    largest, differ, total = 0, 0, 0
    for picture, mask in pictures:
        shown = {}
        for name, side in sides.items():
            out = picture.with_name(f"check-{name}.npy")
            order = {"picture": str(picture), "mask": str(mask), "output": kind.output, "format": kind.format}
            answer = side.ask(**order, check=str(out))
            if kind.format == "png" and not answer["exact"]:
                raise RuntimeError(f"{name}: a PNG does not hold the pixels that were written")
            shown[name] = np.load(out)
        if "before" in shown:
            difference = cv2.absdiff(shown["ours"], shown["before"])
            largest = max(largest, int(difference.max()))
            differ, total = differ + int(np.count_nonzero(difference)), total + difference.size
    if largest > MOST_LEVELS:
        raise RuntimeError(f"{kind.name}: visible pixels differ by {largest} levels of 255")
    return f"visible samples differ by at most {largest} level: {differ / max(total, 1):.2%}"


def pictures_of_1_mp(folder: Path, *, quick: bool) -> tuple[bytes, Path]:
    """The JPEG and the mask in its own size that the services get."""
    width, height = (384, 288) if quick else SIZES["1 MP"]
    path, mask = folder / f"{NAMES[0]}-{width}.jpg", folder / "full.npy"
    np.save(mask, cv2.resize(np.load(folder / f"{NAMES[0]}-{width}.npy"), (width, height)))
    return path.read_bytes(), mask


def throughput(
    report: _harness.Report, trees: dict[str, Path], folder: Path, given: tuple[bytes, Path]
) -> list[dict[str, Any]]:
    """Pictures that a saturated service serves in a second of its processor's time."""
    picture, mask = given
    with ExitStack() as stack:
        services = {
            name: stack.enter_context(serving(tree, folder, name, mask)) for name, tree in trees.items()
        }
        count = 6 if report.given.quick else 60

        def rate(service: _sides.Service) -> Callable[[], float]:
            def run() -> float:
                before = processor_seconds(service.process.pid)
                _load.post_all(service.port, [picture] * count, CLIENTS)
                return count / (processor_seconds(service.process.pid) - before)

            return run

        sides = {name: rate(service) for name, service in services.items()}
        _harness.alternate(sides, 1, quiet=True)
        samples = _harness.alternate(sides, report.given.rounds, quiet=True)
        growth = {name: service.memory() / 1e6 for name, service in services.items()}
    report.add(
        _harness.Row(
            "saturated service, 1 MP RGBA PNG, an engine that answers at once",
            "pictures/s and core",
            samples["ours"],
            samples.get("before"),
            other="before",
            our_name="now",
            aim="3 times before",
            note=", ".join(f"{name} {megabytes:.0f} MB resident" for name, megabytes in growth.items()),
            rate=True,
        )
    )
    if "before" not in samples:
        return []
    times = statistics.median(samples["ours"]) / statistics.median(samples["before"])
    return [{"bar": "saturated service: at least 3 times before", "figure": times, "held": times >= 3}]


@contextmanager
def serving(tree: Path, folder: Path, name: str, mask: Path) -> Iterator[_sides.Service]:
    """The service of a tree."""
    home = folder / f"home-{name}"
    home.mkdir()
    command = (str(SIDE), str(tree), "serve", str(mask))
    with _sides.Service(home, command=command, QUEUE_SIZE=2 * CLIENTS) as service:
        service.wait("/warmup")
        yield service


def processor_seconds(pid: int) -> float:
    """The seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"  {time.perf_counter() - start:.0f} s")
