"""``benchmarks/fleet.py`` agrees with queueing theory, with a measured service, and with the manifests."""

from __future__ import annotations

import math
from statistics import fmean

import pytest
import yaml

from benchmarks.fleet import (
    Autoscaler,
    Fleet,
    Rules,
    Scaling,
    at_random,
    better_of_two,
    constant,
    varied,
)
from service.inference.admission import HEADROOM
from tests.support.programs import ROOT

PATIENT = Rules(queue_size=10_000, deadline=1e9)

MEASURED = [
    # replicas, clients, served a second, refused a second, median seconds
    (1, 5, 5.0, 0.0, 1.02),
    (1, 200, 4.7, 18.2, 1.02),
    (3, 15, 15.1, 3.5, 0.90),
    (3, 200, 14.4, 27.5, 1.02),
]
"""``python -m benchmarks.fleet --measure``, with pictures of 0.199 s; docs/scaling.md shows it."""


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_one_replica_makes_pictures_wait_as_long_as_theory_says(load: float) -> None:
    fleet = Fleet(seconds_a_picture=constant(1), rules=PATIENT)
    outcome = fleet.open_load(lambda _: load, 15_000, highest=load)
    wait = load / (2 * (1 - load))  # Pollaczek and Khinchine, for a constant time
    assert fmean(outcome.latencies) == pytest.approx(1 + wait, rel=0.15)
    assert outcome.utilisation == pytest.approx(load, rel=0.05)
    assert outcome.refused == 0


def test_clients_that_never_pause_keep_a_replica_busy_and_overload_loses_nothing() -> None:
    fleets = [Fleet(seconds_a_picture=constant(0.0245), rules=Rules(queue_size=4)) for _ in range(2)]
    saturated, overloaded = fleets[0].closed_load(5, 8), fleets[1].closed_load(200, 8)
    assert saturated.served == pytest.approx(8 / 0.0245, rel=0.02)
    assert saturated.latency(50) == pytest.approx(5 * 0.0245, rel=0.02)
    assert overloaded.served >= 0.9 * saturated.served


@pytest.mark.parametrize(("replicas", "clients", "served", "refused", "p50"), MEASURED)
def test_it_repeats_what_real_services_did(
    replicas: int, clients: int, served: float, refused: float, p50: float
) -> None:
    rules = Rules(queue_size=4)
    fleet = Fleet(seconds_a_picture=constant(0.199), replicas=replicas, rules=rules, route=at_random)
    outcome = fleet.closed_load(clients, 20)
    assert outcome.served / 20 == pytest.approx(served, rel=0.1)
    assert outcome.refused / 20 == pytest.approx(refused, rel=0.25)
    assert outcome.latency(50) == pytest.approx(p50, rel=0.15)


def test_a_picture_that_would_miss_its_deadline_is_refused() -> None:
    fleet = Fleet(seconds_a_picture=constant(10), rules=Rules(queue_size=16, deadline=60))
    outcome = fleet.open_load(lambda _: 1.0, 600, highest=1.0)
    assert outcome.refused > 0
    assert max(outcome.latencies) <= HEADROOM * 60


def test_choosing_the_better_of_two_replicas_beats_chance() -> None:
    outcomes = [
        Fleet(seconds_a_picture=varied(1), replicas=10, route=route).open_load(lambda _: 7, 400, highest=7)
        for route in (at_random, better_of_two)
    ]
    assert outcomes[1].latency(99) < outcomes[0].latency(99) / 2


def test_the_autoscaler_grows_at_once_and_shrinks_after_five_quiet_minutes() -> None:
    scaler, pods, sizes = Autoscaler(Scaling(least=1, most=10)), 1, []
    for step in range(60):
        scaler.sample(*((40.0, 0.0) if step < 12 else (0.0, 0.0)))
        pods = scaler.decide(15.0 * step, pods)
        sizes.append(pods)
    assert sizes[11] == 10
    assert sizes[0] == 3  # one pod, and at most two more in half a minute
    shrinks = next(step for step in range(12, 60) if sizes[step] < 10)
    assert 15 * (shrinks - 12) >= 300 - 60
    assert sizes[shrinks] >= math.floor(10 * 0.75)
    assert sizes[-1] == 1


def test_a_burst_is_served_sooner_by_pods_that_start_sooner() -> None:
    outcomes = [
        Fleet(
            seconds_a_picture=constant(1),
            scaling=Scaling(most=10),
            cold=constant(cold),
            patience=120,
        ).open_load(lambda now: 5 if now > 60 else 0.5, 600, highest=5)
        for cold in (5, 300)
    ]
    assert max(number for _, number in outcomes[0].replicas) > 5
    assert outcomes[0].gave_up < outcomes[1].gave_up / 4


def test_the_simulated_autoscaler_is_the_one_in_the_manifest() -> None:
    spec = yaml.safe_load((ROOT / "deploy/kubernetes/keda/scaledobject.yaml").read_text())["spec"]
    pictures, wait = (float(trigger["metadata"]["threshold"]) for trigger in spec["triggers"])
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    growth, two = behavior["scaleUp"]["policies"]
    [shrinkage] = behavior["scaleDown"]["policies"]
    assert Scaling() == Scaling(
        least=spec["minReplicaCount"],
        most=spec["maxReplicaCount"],
        pictures=pictures,
        wait=wait,
        growth=growth["value"] / 100,
        shrinkage=shrinkage["value"] / 100,
        patience=behavior["scaleDown"]["stabilizationWindowSeconds"],
    )
    assert (growth["periodSeconds"], two["value"], two["periodSeconds"]) == (30, 2, 30)
    assert shrinkage["periodSeconds"] == 60
