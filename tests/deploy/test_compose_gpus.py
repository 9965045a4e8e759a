"""``deploy/compose.gpus.yaml``: one process for each GPU, each where HAProxy looks for it."""

from __future__ import annotations

import yaml

from tests.support.programs import ROOT


def test_each_replica_has_a_gpu_a_port_and_a_line_of_haproxy() -> None:
    services = yaml.safe_load((ROOT / "deploy" / "compose.gpus.yaml").read_text())["services"]
    replicas = [service for name, service in services.items() if name.startswith("gpu-")]
    ports = [replica["environment"]["INSPYRENET_PORT"] for replica in replicas]
    devices = [
        device
        for replica in replicas
        for reserved in replica["deploy"]["resources"]["reservations"]["devices"]
        for device in reserved["device_ids"]
    ]
    assert devices == [str(index) for index in range(len(replicas))]
    proxy = (ROOT / "deploy" / "haproxy.cfg").read_text()
    assert f"server one 127.0.0.1:{ports[0]} check" in proxy
    named = services["proxy"]["environment"]
    assert named == {"REPLICA_TWO": f"127.0.0.1:{ports[1]}"}
    assert all(f'"${variable}"' in proxy for variable in named)
    assert len({volume for replica in replicas for volume in replica["volumes"]}) == len(replicas)
