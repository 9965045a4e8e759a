"""The sidecar of a service that scales to zero: it pushes what it scrapes, and every instance has its own name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.e2e import time_scale
from tests.e2e.processes import Instance, Monitoring
from tests.support.ports import free_port
from tests.support.programs import ROOT, Program, program
from tests.support.waiting import wait_until

pytestmark = pytest.mark.e2e


def sidecar(prometheus: str, folder: Path, service: Instance, receiver: str) -> Program:
    """Return the agent of the repository for one instance, with shorter durations and the addresses of this test."""
    config = time_scale.configuration(yaml.safe_load((ROOT / "deploy" / "prometheus-agent.yml").read_text()))
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{service.port}"]
    config["remote_write"][0]["url"] = f"{receiver}/api/v1/write"
    path = folder / f"agent-{service.name}.yml"
    path.write_text(yaml.safe_dump(config))
    command = [
        prometheus,
        "--enable-feature=agent,expand-external-labels",
        f"--config.file={path}",
        f"--storage.agent.path={folder / f'agent-{service.name}'}",
        f"--web.listen-address=127.0.0.1:{free_port()}",
    ]
    return Program(command, folder / f"agent-{service.name}.log", env={"HOST": f"pod-{service.name}"})


def test_the_sidecar_pushes_each_instance_under_its_own_name(tmp_path: Path) -> None:
    prometheus = program("prometheus")
    services = [Instance(name, tmp_path, warmup_interval=1) for name in ("a", "b")]
    receiver = Monitoring(
        tmp_path,
        [],
        prometheus=prometheus,
        alertmanager=program("alertmanager"),
        scale=time_scale.configuration,
        flags=["--web.enable-remote-write-receiver"],
    )
    agents = [sidecar(prometheus, tmp_path, service, receiver.url) for service in services]
    programs: list[Program] = [*services, *agents]
    try:
        receiver.start()
        for running in programs:
            running.start()
        for metric in ("inspyrenet_ready", "up", "instance:inspyrenet_ready_peers:sum"):
            wait_until(
                lambda name=metric: len(receiver.query(name)) == 2,  # type: ignore[misc]
                seconds=60,
                what=f"the receiver has {metric} of both instances",
            )
            series = [sample["metric"] for sample in receiver.query(metric)]
            assert {(labels["job"], labels["instance"]) for labels in series} == {
                ("inspyrenet", "pod-a"),
                ("inspyrenet", "pod-b"),
            }
            assert all("host" not in labels for labels in series)
    finally:
        for running in reversed(programs):
            running.end()
        receiver.end()
