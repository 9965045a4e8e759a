"""A random walk over faults: what Alertmanager shows must stay true, and every page must end.

``make soak`` runs ``python -m tests.soak.alerts``. Some services go from fault to fault, all in step; now and then
Prometheus or Alertmanager is restarted meanwhile. All durations are divided by sixty, so ten minutes are ten hours. The
exit code is 1 if an alert was shown that was not true, if a true one was hidden, or if one is left open in the end.
``--seed`` repeats a walk.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e import time_scale
from tests.e2e.drill import SHORT_TIMES, of_every_picture
from tests.e2e.processes import History, Instance, Monitoring
from tests.e2e.sequences import DOWN, FAILING, NEVER, STALE, STUCK, SUPERVISOR, Played, Step, play
from tests.support.programs import program
from tests.support.waiting import wait_until

FAULTS = {
    "well": {},
    "probes fail": of_every_picture("raise"),
    "photographs fail": {"photograph": "zeros"},
    "the GPU thread hangs": of_every_picture("hang"),
    "the supervisor is dead": {"supervisor": "kill for good"},
}
AFTER_A_START = ("well", "probes fail", "photographs fail", "the GPU thread hangs")
RESTART_SHARE = 0.15
"""Of the rounds, in which Prometheus or Alertmanager is restarted."""


class Walk:
    """One service on its way from fault to fault.

    Args:
        service: is running.
        random: decides.
    """

    def __init__(self, service: Instance, random: random.Random) -> None:
        self.service = service
        self._random = random
        self._state = "well"
        self._passed = True
        """Whether a probe has passed since the process started."""
        self.true: set[str] = set()

    def next_step(self) -> Step:
        """Choose the next fault, or the end of the present one."""
        if self._state == "down":
            return self._step(self._random.choice(AFTER_A_START), start=True)
        if self._state == "the supervisor is dead":  # nothing notices another fault
            return self._step(self._random.choice(("well", "down")), start=False)
        choices = {*FAULTS, "down", "frozen"} - {self._state}
        if self._state != "well":
            choices.remove("the supervisor is dead")
        return self._step(self._random.choice(sorted(choices)), start=False)

    def to_the_end(self) -> Step:
        """Mend it."""
        return self._step("well", start=self._state == "down")

    def _step(self, state: str, *, start: bool) -> Step:
        if state == "frozen":
            return Step(f"{self._state}, frozen", lambda: self.service.freeze(1.4), set(self.true))
        do: Callable[[], object]
        if state == "down":
            do = lambda: self.service.end(signal.SIGKILL)  # noqa: E731
            self._passed = False
        elif start:
            do = lambda: self._start(FAULTS[state])  # noqa: E731
        else:
            do = lambda: self.service.set_faults(**FAULTS[state])  # noqa: E731
        self._passed = self._passed or state in {"well", "photographs fail"}
        self._state = state
        self.true = self._truth()
        return Step(state, do, set(self.true))

    def _start(self, faults: dict[str, str]) -> None:
        self.service.set_faults(**faults)
        self.service.start()
        self.service.until(lambda: self.service.status("/livez") == 200)

    def _truth(self) -> set[str]:
        match self._state:
            case "down":
                return {DOWN}
            case "probes fail":
                return {FAILING if self._passed else NEVER}
            case "photographs fail":
                return {FAILING}
            case "the GPU thread hangs":
                return {STUCK}
            case "the supervisor is dead":
                return {SUPERVISOR, STALE}
        return set()


def run(seconds: float, walkers: int, seed: int, folder: Path) -> list[str]:
    """Walk for that long, and return what was wrong."""
    chance = random.Random(seed)
    services = [Instance(f"walker-{number}", folder, **SHORT_TIMES) for number in range(walkers)]
    monitoring = Monitoring(
        folder,
        services,
        prometheus=program("prometheus"),
        alertmanager=program("alertmanager"),
        scale=time_scale.configuration,
    )
    history = History(monitoring)
    walks = [Walk(service, chance) for service in services]
    problems: list[str] = []
    try:
        for service in services:
            service.start()
        for service in services:
            service.until_ready(seconds=60)
        monitoring.start()
        wait_until(
            lambda: len(monitoring.query("up == 1")) == walkers,
            seconds=60,
            what="Prometheus scrapes every service",
        )
        history.start()
        end = time.monotonic() + seconds
        rounds = 0
        while time.monotonic() < end:
            rounds += 1
            problems += round_of(walks, monitoring, history, chance, f"round {rounds}")
        problems += round_of(walks, monitoring, history, None, "the end")
        time.sleep(2.0)
        for service in services:
            problems += [
                f"left open: {alert} of {service.name}" for alert in monitoring.webhook.firing(service.job)
            ]
        print(f"seed {seed}: {rounds} rounds of {walkers} services, {len(problems)} problems")
    finally:
        history.end()
        monitoring.end()
        for service in services:
            service.close()
    return problems


def round_of(
    walks: Sequence[Walk], monitoring: Monitoring, history: History, chance: random.Random | None, title: str
) -> list[str]:
    """One step of every walk; without ``chance``, the one that mends."""
    before = [set(walk.true) for walk in walks]
    steps = [walk.next_step() if chance else walk.to_the_end() for walk in walks]
    restart = (
        chance.choice(("prometheus", "alertmanager")) if chance and chance.random() < RESTART_SHARE else ""
    )
    for step in steps:
        step.restart = bool(restart)
    with ThreadPoolExecutor(len(walks) + 1) as pool:
        playing = [
            pool.submit(play, walk.service, [step], history, before=true)
            for walk, step, true in zip(walks, steps, before, strict=True)
        ]
        if restart:
            restarted = getattr(monitoring, restart)
            restarted.end()
            getattr(monitoring, f"start_{restart}")()
        played: list[Played] = [one for each in playing for one in each.result()]
    if restart:
        print(f"{title}: {restart} is restarted")
    for walk, true, one in zip(walks, before, played, strict=True):
        print(
            f"{title}: {walk.service.name}: {sorted(true)} -> {one.what}: {one.appeared} {one.vanished}",
            flush=True,
        )
    return [f"{title}: {problem}" for one in played for problem in one.problems]


def main(argv: Sequence[str]) -> int:
    """Walk, print the problems, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak.alerts", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--seconds", type=float, default=600, help="length of the walk")
    parser.add_argument("--services", type=int, default=3, help="services that walk at the same time")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="repeats a walk")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        problems = run(args.seconds, args.services, args.seed, Path(folder))
    print("\n".join(problems) or "every alert was true, and none is left open")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
