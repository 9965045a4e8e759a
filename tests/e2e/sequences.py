"""One fault after another, and one inside another: what Alertmanager shows must follow, and nothing may stay behind.

``test_alerts_fire`` plays the sequences; ``tests.soak.alerts`` plays a random walk. Every step says which alerts are
true from then on. While a step takes effect, alerts of the step before may still be shown for a while, and no others.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from tests.e2e.drill import of_every_picture, send_a_panorama, start_and_wait
from tests.e2e.processes import WARNING, History, Instance, Monitoring
from tests.support.waiting import wait_until

DOWN, STUCK, FAILING, NEVER, STALE = (
    "InspyrenetTargetDown",
    "InspyrenetWorkerStuck",
    "InspyrenetWarmupFailing",
    "InspyrenetWarmupNeverSucceeded",
    "InspyrenetWarmupStale",
)
REFUSED, SUPERVISOR, NOT_READY = (
    f"Inspyrenet{name}{WARNING}" for name in ("PicturesRefused", "SupervisorDown", "NotReady")
)

SETTLED_SECONDS = 20.0
"""The longest time until Alertmanager shows exactly the true alerts: minutes, without the scaling."""

WINDOWED = frozenset({"InspyrenetOutOfMemory (warning)"})
"""Alerts about a window of time: they may come and go later than a step."""


@dataclass
class Step:
    """Something that is done to the service, and the alerts that are true afterwards."""

    what: str
    do: Callable[[], object]
    true: Collection[str]
    hold: float = 4.0
    """Seconds for which nothing else may be shown."""
    restart: bool = False
    """Whether Prometheus or Alertmanager is restarted. Then what is *sent* must be true. The page of Alertmanager may
    be empty until Prometheus sends all alerts again. And Prometheus starts the ``for`` of every alert anew, so an alert
    may be shown for one evaluation before the one that explains it."""


@dataclass
class Played:
    """How one step went; times are seconds."""

    what: str
    true: set[str]
    appeared: dict[str, float] = field(default_factory=dict)
    """From the step to the moment when an alert was shown that is true only since this step."""
    vanished: dict[str, float] = field(default_factory=dict)
    """From the step to the last moment when an alert was shown that is not true any more."""
    wrong: set[str] = field(default_factory=set)
    """Alerts that were shown although they were true neither before nor after the step."""
    interrupted: set[str] = field(default_factory=set)
    """Alerts that are true before and after the step, and were not shown at some moment in between."""
    shown_in_the_end: set[str] = field(default_factory=set)

    @property
    def problems(self) -> list[str]:
        """What is wrong with it, in words."""
        found = []
        if self.wrong:
            found.append(f"shown and never true: {sorted(self.wrong)}")
        if self.interrupted:
            found.append(f"ended and came back: {sorted(self.interrupted)}")
        if self.shown_in_the_end != self.true:
            found.append(f"shown in the end: {sorted(self.shown_in_the_end)}, true: {sorted(self.true)}")
        return [f"{self.what}: {problem}" for problem in found]


def play(
    service: Instance, steps: Collection[Step], history: History, *, before: Collection[str] = ()
) -> list[Played]:
    """Do the steps one after the other, and say how each went; ``before`` is what is true before the first one."""
    before = set(before)
    played = []
    for step in steps:
        began = time.monotonic()
        step.do()
        done = time.monotonic()
        true = set(step.true)

        def shows_the_truth(true: set[str] = true) -> bool:
            return history.now(service.job) - WINDOWED == true - WINDOWED

        try:
            wait_until(shows_the_truth, seconds=SETTLED_SECONDS, what=step.what)
            time.sleep(step.hold)
        except TimeoutError:
            pass
        played.append(_judge(step, before, history, service, began, done))
        before = true
    return played


def _judge(
    step: Step, before: set[str], history: History, service: Instance, began: float, done: float
) -> Played:
    true = set(step.true)
    shown = history.shown(service.job, since=began, until=time.monotonic())
    everything = set().union(*(alerts for _, alerts in shown))
    played = Played(step.what, true - WINDOWED)
    notifications = [n for n in history.monitoring.webhook.of_job(service.job) if n.at > began]
    if step.restart:
        everything = {n.name for n in notifications if n.status == "firing"}
    played.wrong = everything - before - true - WINDOWED
    lasting = (before & true) - WINDOWED
    if not step.restart:
        played.interrupted = {alert for alert in lasting if any(alert not in alerts for _, alerts in shown)}
    played.interrupted |= lasting & {n.name for n in notifications if n.status == "resolved"}
    for alert in true - before - WINDOWED:
        played.appeared[alert] = min((at - done for at, alerts in shown if alert in alerts), default=-1.0)
    for alert in before - true - WINDOWED:
        played.vanished[alert] = max((at - done for at, alerts in shown if alert in alerts), default=0.0)
    played.shown_in_the_end = (shown[-1][1] if shown else set()) - WINDOWED
    return played


def create_sequences(services: Mapping[str, Instance]) -> dict[str, tuple[Instance, list[Step]]]:
    """Sequences by name: the service and the steps. The services are those of the drill, without a fault."""
    back, hung, frozen, inside, other = (
        services[name]
        for name in ("bad-output", "photographs-oom", "panorama-oom", "photographs-zeros", "codec-hung")
    )
    one, two = services["supervisor-killed"], services["its-peer"]
    raising, hanging = of_every_picture("raise"), of_every_picture("hang")

    def start_without_load() -> None:
        back.set_faults(load="raise")
        back.start()
        back.until(lambda: back.status("/livez") == 200)

    def refuse_panoramas() -> None:
        frozen.set_faults(panorama="oom")
        send_a_panorama(frozen)

    def start_mended(service: Instance) -> None:
        service.set_faults()
        start_and_wait(service)

    return {
        "killed, then back without being able to load": (
            back,
            [
                Step("it is killed", lambda: back.end(signal.SIGKILL), {DOWN}),
                Step("it is back and cannot load", start_without_load, {NEVER}),
                Step("it is mended", back.set_faults, set()),
            ],
        ),
        "hung, then killed": (
            hung,
            [
                Step("the GPU thread hangs", lambda: hung.set_faults(**hanging), {STUCK}),
                Step("it is killed", lambda: hung.end(signal.SIGKILL), {DOWN}),
                Step("it is started again", lambda: start_mended(hung), set()),
            ],
        ),
        "frozen while it refuses pictures": (
            frozen,
            [
                Step("a size fails", refuse_panoramas, {REFUSED}),
                Step("it is frozen for 84 s", lambda: frozen.freeze(1.4), {REFUSED}),
                Step("it is frozen for 206 s", lambda: frozen.freeze(3.4), {REFUSED}),
                Step("it is mended", frozen.set_faults, set()),
            ],
        ),
        "the supervisor dies while probes fail": (
            inside,
            [
                Step("probes fail", lambda: inside.set_faults(**raising), {FAILING}),
                Step(
                    "the supervisor dies",
                    lambda: inside.set_faults(**raising, supervisor="kill for good"),
                    {FAILING, SUPERVISOR},
                ),
                Step("both are mended", inside.set_faults, set()),
            ],
        ),
        "one fault after another": (
            other,
            [
                Step("the GPU thread hangs", lambda: other.set_faults(**hanging), {STUCK}),
                Step("it is mended", other.set_faults, set(), hold=0),
                Step("photographs fail", lambda: other.set_faults(photograph="zeros"), {FAILING}),
                Step("it is mended", other.set_faults, set(), hold=0),
                Step(
                    "the supervisor dies",
                    lambda: other.set_faults(supervisor="kill for good"),
                    {SUPERVISOR},
                    0,
                ),
                Step("it is mended", other.set_faults, set()),
            ],
        ),
        "one of two instances fails, then the other one dies": (
            one,
            [
                Step("one fails", lambda: one.set_faults(**raising), {NOT_READY}, hold=1),
                Step("the other one is killed", lambda: two.end(signal.SIGKILL), {FAILING, DOWN}, hold=1),
                Step("the other one is back", lambda: start_mended(two), {NOT_READY}, hold=1),
                Step("the first one is mended", one.set_faults, set()),
            ],
        ),
    }


def create_restarts(service: Instance, monitoring: Monitoring) -> list[Step]:
    """Restarts of Prometheus and Alertmanager while a fault lasts, and one during which it is mended."""

    def restart_prometheus() -> None:
        monitoring.prometheus.end()
        monitoring.start_prometheus()
        wait_until(
            lambda: FAILING in monitoring.firing(service.job),
            seconds=SETTLED_SECONDS,
            what="the alert fires again",
        )

    def restart_alertmanager() -> None:
        monitoring.alertmanager.end()
        monitoring.start_alertmanager()

    def mend_without_alertmanager() -> None:
        monitoring.alertmanager.end()
        service.set_faults()
        service.until_ready()
        time.sleep(1.0)
        monitoring.start_alertmanager()

    return [
        Step("probes fail", lambda: service.set_faults(**of_every_picture("raise")), {FAILING}, hold=1),
        Step("Prometheus is restarted", restart_prometheus, {FAILING}, restart=True),
        Step("Alertmanager is restarted", restart_alertmanager, {FAILING}, restart=True),
        Step("it is mended while Alertmanager is down", mend_without_alertmanager, set()),
    ]
