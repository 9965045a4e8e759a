"""The example deployment in ``deploy/``: the files that it names exist, and its addresses fit together."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.support.http_server import QuietServer
from tests.support.programs import program
from tests.support.waiting import wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"
METRICS = DEPLOY.parent / "metrics"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def mounts(service: str) -> dict[str, str]:
    """Return the files of this repository that a container mounts: {path in the container: path here}."""
    volumes = (volume.split(":") for volume in SERVICES[service].get("volumes", []))
    return {inside: outside for outside, inside, *_ in volumes if outside.startswith(".")}


def published() -> set[int]:
    return {int(port.rpartition(":")[2]) for port in SERVICES["pod"]["ports"]}


@pytest.mark.parametrize("service", SERVICES)
def test_every_mounted_file_exists_and_is_read_only(service: str) -> None:
    for outside in mounts(service).values():
        assert (DEPLOY / outside).exists(), outside
    own = [volume for volume in SERVICES[service].get("volumes", []) if volume.startswith(".")]
    assert all(volume.endswith(":ro") for volume in own)


@pytest.mark.parametrize("service", sorted(set(SERVICES) - {"pod"}))
def test_all_containers_share_one_network(service: str) -> None:
    assert SERVICES[service]["network_mode"] == "service:pod"
    assert "ports" not in SERVICES[service]


@pytest.mark.parametrize("service", [name for name, service in SERVICES.items() if "image" in service])
def test_every_image_has_a_version(service: str) -> None:
    assert SERVICES[service]["image"].rpartition(":")[2] not in {"", "latest"}


def test_prometheus_finds_the_service_its_rules_its_runbooks_and_alertmanager() -> None:
    inside = mounts("prometheus")
    config = yaml.safe_load((DEPLOY / inside["/etc/prometheus/prometheus.yml"]).read_text())
    assert {f"/etc/prometheus/{name}" for name in config["rule_files"]} <= inside.keys()
    assert "--web.user-assets=/etc/prometheus/runbooks" in SERVICES["prometheus"]["command"]
    assert "/etc/prometheus/runbooks" in inside
    [manager] = config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert (manager, targets) == (
        "localhost:9093",
        {"inspyrenet": ["localhost:8080"], "prometheus": ["localhost:9090"]},
    )
    assert published() == {8080, 9090, 9093, 3000}


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    [source] = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert (source["type"], source["url"]) == ("prometheus", "http://localhost:9090")
    scrape_interval = yaml.safe_load((METRICS / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scrape_interval
    [provider] = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/inspyrenet.yaml").read_text())[
        "providers"
    ]
    inside = mounts("grafana")
    [board] = [path for path in inside if path.startswith(provider["options"]["path"])]
    assert (DEPLOY / inside[board]).resolve() == METRICS / "dashboard.json"
    assert SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == board


@pytest.fixture(scope="module")
def monitor() -> ModuleType:
    return load("monitor")


def test_the_monitoring_without_containers_has_the_flags_of_the_one_with_containers(
    monitor: ModuleType, tmp_path: Path
) -> None:
    program("prometheus"), program("alertmanager")
    commands = {part.name: part.command for part in monitor.parts(tmp_path)}
    for name, differ in {
        "prometheus": {"--config.file", "--storage.tsdb.path", "--web.user-assets", "--web.listen-address"},
        "alertmanager": {"--config.file", "--storage.path", "--web.external-url", "--web.listen-address"},
    }.items():
        here, there = (
            {flag for flag in flags if flag.startswith("--") and flag.partition("=")[0] not in differ}
            for flags in (commands[name], SERVICES[name]["command"])
        )
        assert here == there


def test_everything_that_the_monitoring_stores_is_in_its_folder(monitor: ModuleType, tmp_path: Path) -> None:
    program("prometheus"), program("alertmanager")
    stored = [
        flag.partition("=")[2]
        for part in monitor.parts(tmp_path)
        for flag in part.command
        if flag.startswith("--storage")
    ]
    assert len(stored) == 2
    assert all(Path(path).is_relative_to(tmp_path) for path in stored)


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_the_monitoring_starts_with_one_command_and_ends_with_another(tmp_path: Path) -> None:
    program("prometheus"), program("alertmanager")
    if any(in_use(port) for port in (9090, 9093, 9099)):
        pytest.skip("a port of the monitoring is in use on this machine")

    def monitor(what: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, DEPLOY / "monitor.py", what, tmp_path]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    started = monitor("start")
    try:
        assert started.returncode == 0, started.stderr
        with urllib.request.urlopen("http://localhost:9090/user/InspyrenetTargetDown.md", timeout=10) as page:
            assert page.status == 200
        assert monitor("start").stdout == started.stdout  # it is there already
        log = tmp_path / "alert-log.log"
        wait_until(lambda: "InspyrenetWatchdog" in log.read_text(), seconds=180, what="an alert arrives")
    finally:
        stopped = monitor("stop")
    assert stopped.returncode == 0, stopped.stderr
    assert not any(in_use(port) for port in (9090, 9093, 9099))


def test_what_has_not_ended_yet_is_not_forgotten(
    monitor: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(monitor, "END_SECONDS", 0.2)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, "alert-log"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (tmp_path / "alert-log.pid").write_text(str(process.pid))
        monitor.stop(tmp_path)
        assert "has not ended yet" in capsys.readouterr().out
        process.kill()
        process.wait()
        assert (tmp_path / "alert-log.pid").exists()
    monitor.stop(tmp_path)
    assert not (tmp_path / "alert-log.pid").exists()


def test_a_missing_program_is_named_with_its_package(monitor: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"no-such-program is not installed .*apt-get install prometheus"):
        monitor.find("no-such-program")


def in_use(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def load(name: str) -> ModuleType:
    """A program of the folder as a module."""
    spec = importlib.util.spec_from_file_location(name, DEPLOY / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def alert_log() -> ModuleType:
    return load("alert_log")


def test_every_receiver_posts_to_the_alert_log(alert_log: ModuleType) -> None:
    config = yaml.safe_load((METRICS / "alertmanager.yml").read_text())
    urls = {
        urlsplit(hook["url"]).netloc
        for receiver in config["receivers"]
        for hook in receiver["webhook_configs"]
    }
    assert urls == {f"localhost:{alert_log.DEFAULT_PORT}"}


@pytest.fixture
def log_url(alert_log: ModuleType) -> Iterator[str]:
    with QuietServer(("127.0.0.1", 0), alert_log.Printer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_the_alert_log_prints_a_line_for_each_alert(log_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    alert = {
        "status": "firing",
        "labels": {"alertname": "InspyrenetWarmupFailing", "instance": "a:8080"},
        "annotations": {
            "description": "3 probes failed",
            "runbook_url": "http://p/user/InspyrenetWarmupFailing.md",
        },
    }
    notification = {"alerts": [alert, alert | {"status": "resolved"}]}
    request = urllib.request.Request(log_url + "/page", data=json.dumps(notification).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 200
    words = "InspyrenetWarmupFailing a:8080: 3 probes failed http://p/user/InspyrenetWarmupFailing.md"
    assert capsys.readouterr().out.splitlines() == [f"page FIRING {words}", f"page RESOLVED {words}"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"not json", b'{"alerts": [1]}'])
def test_the_alert_log_refuses_a_body_that_is_no_notification(log_url: str, body: bytes) -> None:
    request = urllib.request.Request(log_url + "/page", data=body, method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    with refused.value:
        assert refused.value.code == 400
