"""Simulates many replicas: arrivals, places, refusals, cold starts, and KEDA's lag.

``python -m benchmarks.fleet`` prints what a fleet does with a load that nobody here can run. ``--measure`` first runs
one real service and three with an engine that takes a known time (as ``benchmarks.goodput``), simulates the same, and
prints both.

A replica is one server with places: a picture is let in if a place is free and if its wait and its own time stay within
the share of the deadline that admission allows. What a refused client is told is decided by the service's own code
(``service.inference.return_times``). Everything else is a model: a picture's time is known when it arrives, networks
take no time, and replicas neither fail nor slow each other down.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import logging
import math
import random
import subprocess
import sys
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from statistics import fmean, median, quantiles

import structlog
from yarl import URL

from service.inference.admission import HEADROOM
from service.inference.return_times import ReturnTimes
from service.settings import Settings

DEFAULTS = Settings()
SCRAPE_SECONDS = 15.0
"""Also KEDA's polling interval and the autoscaler's, one behind the other."""


@dataclass(frozen=True)
class Rules:
    """How one replica admits."""

    queue_size: int = DEFAULTS.queue_size
    deadline: float = DEFAULTS.request_timeout


@dataclass(frozen=True)
class Scaling:
    """``deploy/kubernetes/keda/scaledobject.yaml``, in numbers."""

    least: int = 1
    most: int = 10
    pictures: float = 4.0
    """Pictures that run or wait, a pod."""
    wait: float = 10.0
    """Seconds of expected wait, a pod."""
    growth: float = 1.0
    """Share of the pods that may be added in 30 s; two may be added in any case."""
    shrinkage: float = 0.25
    """Share of the pods that may go in a minute."""
    patience: float = 300.0
    """Seconds for which fewer pods must have been enough."""


class Replica:
    """One service: a server with places."""

    def __init__(
        self, rules: Rules, ready_at: float, clock: Callable[[], float], uniform: Callable[[], float]
    ) -> None:
        self.rules, self.ready_at = rules, ready_at
        self.seconds_busy = 0.0
        self._free_at = ready_at
        self._ends: deque[float] = deque()
        self._returns = ReturnTimes(places=rules.queue_size + 1, clock=clock, uniform=uniform)

    def pictures(self, now: float) -> int:
        """Those that run or wait."""
        while self._ends and self._ends[0] <= now:
            self._ends.popleft()
        return len(self._ends)

    def wait(self, now: float) -> float:
        """Seconds that a picture would wait."""
        return max(0.0, self._free_at - now)

    def admit(self, now: float, seconds: float) -> float | None:
        """When the picture will be done; None if it is refused."""
        full = self.pictures(now) > self.rules.queue_size
        if full or self.wait(now) + seconds > HEADROOM * self.rules.deadline:
            return None
        self._free_at = max(now, self._free_at) + seconds
        self.seconds_busy += seconds
        self._ends.append(self._free_at)
        self._returns.served(None)
        return self._free_at

    def retry_after(self, seconds: float) -> float:
        """Whole seconds, as in the header."""
        return math.ceil(self._returns.book(None, seconds=seconds))


class Autoscaler:
    """KEDA and the autoscaler behind it: how many pods there should be, from samples of all pods."""

    def __init__(self, scaling: Scaling) -> None:
        self._scaling = scaling
        self._samples: deque[tuple[float, float]] = deque(maxlen=4)  # a minute of scrapes
        self._wanted: deque[tuple[float, int]] = deque()
        self._pods: deque[tuple[float, int]] = deque()

    def sample(self, pictures: float, wait: float) -> None:
        """A scrape of all pods: the sums of pictures and of waits."""
        self._samples.append((pictures, wait))

    def decide(self, now: float, pods: int) -> int:
        """The number of pods from now on."""
        scaling = self._scaling
        pictures = fmean(sample[0] for sample in self._samples)
        wait = fmean(sample[1] for sample in self._samples)
        wanted = max(
            self._within_tolerance(pictures / scaling.pictures, pods),
            self._within_tolerance(wait / scaling.wait, pods),
        )
        self._wanted.append((now, min(scaling.most, max(scaling.least, wanted))))
        self._pods.append((now, pods))
        while self._wanted[0][0] < now - scaling.patience:
            self._wanted.popleft()
        while self._pods[0][0] < now - 60:
            self._pods.popleft()
        wanted = self._wanted[-1][1]
        if wanted > pods:
            before = min(number for at, number in self._pods if at >= now - 30)
            return min(wanted, max(before + 2, math.ceil(before * (1 + scaling.growth))))
        before = max(number for _, number in self._pods)
        needed = max(number for _, number in self._wanted)
        return min(pods, max(needed, math.floor(before * (1 - scaling.shrinkage))))

    @staticmethod
    def _within_tolerance(wanted: float, pods: int) -> int:
        """The autoscaler leaves a difference of a tenth alone."""
        return pods if abs(wanted / pods - 1) <= 0.1 else math.ceil(wanted)


@dataclass
class Outcome:
    """What clients saw, and what it took."""

    served: int = 0
    refused: int = 0
    """Answers with 429; a client may get several."""
    gave_up: int = 0
    """Clients that came back for as long as they had patience."""
    latencies: list[float] = field(default_factory=list)
    """Seconds from the first attempt to the picture."""
    replica_seconds: float = 0.0
    busy_seconds: float = 0.0
    replicas: list[tuple[float, int]] = field(default_factory=list)
    """Pods that exist, ready or not, at each decision."""

    def latency(self, percent: int) -> float:
        """A percentile."""
        return quantiles(self.latencies, n=100)[percent - 1] if len(self.latencies) > 1 else 0.0

    @property
    def utilisation(self) -> float:
        """Share of the paid time in which a device worked."""
        return self.busy_seconds / self.replica_seconds


Route = Callable[[Sequence[Replica], float, random.Random], Replica]


def at_random(replicas: Sequence[Replica], _: float, chance: random.Random) -> Replica:
    """As a Kubernetes Service does."""
    return chance.choice(replicas)


def better_of_two(replicas: Sequence[Replica], now: float, chance: random.Random) -> Replica:
    """As proxies that know their open requests do: HAProxy's ``balance random(2)``, Envoy's ``LEAST_REQUEST``."""
    return min((chance.choice(replicas), chance.choice(replicas)), key=lambda replica: replica.pictures(now))


class Fleet:
    """A simulation with a clock of its own.

    Args:
        seconds_a_picture: draws a picture's time.
        replicas: those that are ready at the start.
        route: chooses a replica for each attempt.
        attempts: replicas that a refused request is sent to before its client hears of it.
        patience: seconds for which a refused client comes back, as it is told to.
        scaling: None keeps the number of replicas.
        cold: draws the seconds from the decision to a ready replica.
    """

    def __init__(
        self,
        *,
        seconds_a_picture: Callable[[random.Random], float],
        replicas: int = 1,
        rules: Rules | None = None,
        route: Route = better_of_two,
        attempts: int = 1,
        patience: float = 0.0,
        scaling: Scaling | None = None,
        cold: Callable[[random.Random], float] = lambda _: 0.0,
        seed: int = 1,
    ) -> None:
        self.now = 0.0
        self.outcome = Outcome()
        self.rules = rules or Rules()
        self._seconds, self._route, self._attempts, self._patience = (
            seconds_a_picture,
            route,
            attempts,
            patience,
        )
        self._scaling, self._cold = scaling, cold
        self._chance = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._ready = [self._new(0.0) for _ in range(replicas)]
        self._starting: list[Replica] = []
        self._all = list(self._ready)
        self._counted_at = 0.0

    def open_load(self, rate: Callable[[float], float], seconds: float, *, highest: float) -> Outcome:
        """Clients that arrive independently of each other, ``rate(now)`` a second and never more than ``highest``."""

        def arrive() -> None:
            if self._chance.random() < rate(self.now) / highest:
                self._send(self.now, self._seconds(self._chance), lambda: None)
            self._after(self._chance.expovariate(highest), arrive)

        self._after(0, arrive)
        return self._run(seconds)

    def closed_load(self, clients: int, seconds: float) -> Outcome:
        """Clients that send their next picture when they have an answer, and come back for ever."""
        self._patience = math.inf

        def send() -> None:
            self._send(self.now, self._seconds(self._chance), send)

        for _ in range(clients):
            self._after(0, send)
        return self._run(seconds)

    def _run(self, seconds: float) -> Outcome:
        if self._scaling is not None:
            scaler = Autoscaler(self._scaling)
            self._after(SCRAPE_SECONDS, lambda: self._scale(scaler, self._scaling or Scaling()))
        while self._events and self._events[0][0] <= seconds:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self._count_replicas(seconds)
        self.outcome.busy_seconds = sum(replica.seconds_busy for replica in self._all)
        return self.outcome

    def _send(self, first: float, seconds: float, afterwards: Callable[[], None]) -> None:
        replica = self._route(self._ready, self.now, self._chance)
        for _ in range(self._attempts):
            if (end := replica.admit(self.now, seconds)) is not None:
                self._at(end, lambda: self._served(first, afterwards))
                return
            self.outcome.refused += 1
            refused_by, replica = replica, self._route(self._ready, self.now, self._chance)
        wait = refused_by.retry_after(seconds)
        if self.now + wait - first > self._patience:
            self.outcome.gave_up += 1
            return
        self._after(wait, lambda: self._send(first, seconds, afterwards))

    def _served(self, first: float, afterwards: Callable[[], None]) -> None:
        self.outcome.served += 1
        self.outcome.latencies.append(self.now - first)
        afterwards()

    def _scale(self, scaler: Autoscaler, scaling: Scaling) -> None:
        pods = len(self._ready) + len(self._starting)
        scaler.sample(
            sum(replica.pictures(self.now) for replica in self._ready),
            sum(replica.wait(self.now) for replica in self._ready),
        )
        wanted = scaler.decide(self.now, pods)
        self._count_replicas(self.now)
        for _ in range(wanted - pods):
            self._start(self._new(self.now + self._cold(self._chance)))
        # The ones that are not ready go first; the others finish what they have.
        del self._starting[max(0, len(self._starting) - max(0, pods - wanted)) :]
        del self._ready[max(1, wanted - len(self._starting)) :]
        self.outcome.replicas.append((self.now, len(self._ready) + len(self._starting)))
        self._after(SCRAPE_SECONDS, lambda: self._scale(scaler, scaling))

    def _start(self, replica: Replica) -> None:
        self._starting.append(replica)
        self._all.append(replica)

        def ready() -> None:
            if replica in self._starting:
                self._starting.remove(replica)
                self._ready.append(replica)

        self._at(replica.ready_at, ready)

    def _count_replicas(self, now: float) -> None:
        self.outcome.replica_seconds += (now - self._counted_at) * (len(self._ready) + len(self._starting))
        self._counted_at = now

    def _new(self, ready_at: float) -> Replica:
        return Replica(self.rules, ready_at, lambda: self.now, self._chance.random)

    def _after(self, seconds: float, event: Callable[[], None]) -> None:
        self._at(self.now + seconds, event)

    def _at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))


def constant(seconds: float) -> Callable[[random.Random], float]:
    """Every picture, or every start, takes the same time."""
    return lambda _: seconds


def varied(median: float, spread: float = 0.5) -> Callable[[random.Random], float]:
    """Times as those of photographs of many sizes: log-normal, with this median."""
    return lambda chance: chance.lognormvariate(math.log(median), spread)


# -- the command -------------------------------------------------------------------------------------------------------


def compare_with_real_services(seconds: float, rounds: int) -> Iterator[str]:
    """Measure one service and three, saturated and overloaded, simulate the same, and say the medians of both.

    A picture's time is measured by a single saturated service, which does one after another.
    """
    from benchmarks.goodput import QUEUE, load

    few = QUEUE + 1
    rows: dict[tuple[int, int, str], list[tuple[float, ...]]] = {}
    times = []
    for _ in range(rounds):
        for replicas, clients in ((1, few), (1, 200), (3, 3 * few), (3, 200)):
            with replicas_here(replicas) as addresses:  # new ones, which have sent nobody away yet
                measured = asyncio.run(load(clients, seconds, addresses))
            if (replicas, clients) == (1, few):
                times.append(seconds / measured.served)
            fleet = Fleet(
                seconds_a_picture=constant(times[-1]),
                replicas=replicas,
                rules=Rules(queue_size=QUEUE),
                route=at_random,
            )
            for name, seen in (("measured", measured), ("simulated", fleet.closed_load(clients, seconds))):
                figures = (seen.served / seconds, seen.refused / seconds, seen.latency(50), seen.latency(95))
                rows.setdefault((replicas, clients, name), []).append(figures)
    yield f"{few} places each, {rounds} rounds; a picture takes {median(times) * 1000:.1f} ms"
    yield f"{'replicas':>9} {'clients':>8} {'':>10} {'served/s':>9} {'429/s':>8} {'p50 s':>8} {'p95 s':>8}"
    for (replicas, clients, name), of_one in rows.items():
        served, refused, p50, p95 = (median(column) for column in zip(*of_one, strict=True))
        yield f"{replicas:>9} {clients:>8} {name:>10} {served:>9.1f} {refused:>8.1f} {p50:>8.3f} {p95:>8.3f}"


@contextmanager
def replicas_here(number: int) -> Iterator[list[URL]]:
    """Real services in processes of their own, all ready; their addresses for pictures."""
    from tests.support.ports import free_port

    ports = [free_port() for _ in range(number)]
    started = [
        subprocess.Popen([sys.executable, "-m", "benchmarks._replica", str(port)], stdout=subprocess.DEVNULL)
        for port in ports
    ]
    try:
        for port in ports:
            until = time.monotonic() + 120
            while time.monotonic() < until:
                with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                    break
                time.sleep(0.1)
        yield [URL(f"http://127.0.0.1:{port}/process") for port in ports]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def sizes(a_picture: float, seconds: float) -> Iterator[str]:
    """Fleets of several sizes, with 80 % of the load that they could do, and two ways to choose a replica."""
    yield f"pictures of {a_picture} s (median, varied), {seconds:.0f} s, 80 % of what the fleet can do"
    yield f"{'replicas':>9} {'route':>14} {'arrivals/s':>11} {'429':>7} {'p50 s':>7} {'p99 s':>7}"
    mean = a_picture * math.exp(0.5**2 / 2)
    for replicas in (1, 3, 10, 100, 1000):
        rate = 0.8 * replicas / mean
        for route in (at_random, better_of_two):
            fleet = Fleet(seconds_a_picture=varied(a_picture), replicas=replicas, route=route)
            outcome = fleet.open_load(lambda _, rate=rate: rate, seconds, highest=rate)
            share = outcome.refused / max(1, outcome.refused + outcome.served)
            yield (
                f"{replicas:>9} {route.__name__:>14} {rate:>11.1f} {share:>7.2%} "
                f"{outcome.latency(50):>7.2f} {outcome.latency(99):>7.2f}"
            )


def steps(a_picture: float) -> Iterator[str]:
    """The load of a quiet hour becomes ten times as much at once."""
    yield f"pictures of {a_picture} s; after 300 s the load becomes 10 times as much, for 900 s"
    yield (
        f"{'pods before':>12} {'cold start s':>13} {'served':>8} {'429 each':>9} {'gave up':>8} "
        f"{'p50 s':>6} {'p99 s':>6} {'most pods':>10} {'busy':>6}"
    )
    mean = a_picture * math.exp(0.5**2 / 2)
    for pods in (1, 10):
        before = 0.6 * pods / mean
        for cold in (5, 30, 120, 600):
            fleet = Fleet(
                seconds_a_picture=varied(a_picture),
                replicas=pods,
                scaling=Scaling(least=pods, most=20 * pods),
                cold=constant(cold),
                patience=120,
            )
            outcome = fleet.open_load(
                lambda now, before=before: before * (10 if now > 300 else 1), 1200, highest=10 * before
            )
            clients = outcome.served + outcome.gave_up
            yield (
                f"{pods:>12} {cold:>13} {outcome.served:>8} {outcome.refused / clients:>9.2f} "
                f"{outcome.gave_up / clients:>8.1%} {outcome.latency(50):>6.1f} {outcome.latency(99):>6.1f} "
                f"{max(number for _, number in outcome.replicas):>10} {outcome.utilisation:>6.0%}"
            )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--measure", action="store_true", help="run real services too, and compare")
    parser.add_argument("--seconds-a-picture", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each load")
    given = parser.parse_args()
    tables = [sizes(given.seconds_a_picture, 300), steps(given.seconds_a_picture)]
    if given.measure:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        tables.insert(0, compare_with_real_services(given.seconds, given.rounds))
    started = time.monotonic()
    for table in tables:
        for line in table:
            print(line, flush=True)
        print()
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
