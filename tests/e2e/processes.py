"""What the end-to-end tests run beside the service: Prometheus, Alertmanager and the receiver of the alerts."""

from __future__ import annotations

import json
import signal
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import yaml

from tests.support.http_server import QuietServer
from tests.support.ports import free_port
from tests.support.programs import ROOT, Program
from tests.support.service_process import Live
from tests.support.waiting import wait_until


def request(url: str, *, data: bytes | None = None, timeout: float = 2.0) -> tuple[int, bytes]:
    """Send a GET, or a POST if there is a body. Return status and body, or (0, b"") if no answer arrives in time."""
    sent = urllib.request.Request(url, data=data, headers={"Content-Type": "application/octet-stream"})
    try:
        with urllib.request.urlopen(sent, timeout=timeout) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError:
        return 0, b""


class Instance(Live):
    """A service that Prometheus scrapes.

    Args:
        name: of its files, and of its scrape job.
        folder: for its files.
        arguments: for ``python -m service``. None starts the service with switchable faults.
        job: the scrape job, if it has other instances too.
        settings: as in ``Settings``.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        arguments: Sequence[str] | None = None,
        job: str | None = None,
        **settings: Any,
    ) -> None:
        self.name = name
        self.job = f"inspyrenet-{job or name}"
        self._folder, self._settings = folder, settings
        command = None if arguments is None else ["-m", "service", *arguments]
        super().__init__(folder, name=name, command=command, env={"HEARTBEAT": "0.1"}, **settings)

    def replacement(self) -> Instance:
        """Return another process for the same instance, with switchable faults. It is not started yet."""
        return Instance(self.name, self._folder, **self._settings)

    @property
    def address(self) -> str:
        """The label ``instance`` of its alerts."""
        return f"127.0.0.1:{self.port}"

    def freeze(self, seconds: float) -> None:
        """Stop the process for a while."""
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)


WARNING = " (warning)"


def alert_name(labels: Mapping[str, str]) -> str:
    """The name of an alert as the table of faults writes it: a warning has a mark."""
    return labels["alertname"] + (WARNING if labels["severity"] == "warning" else "")


@dataclass(frozen=True)
class Notification:
    """One alert that the webhook received."""

    at: float
    receiver: str
    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def name(self) -> str:
        return alert_name(self.labels)


@dataclass
class Webhook:
    """The receiver: it records what Alertmanager posts."""

    received: list[Notification] = field(default_factory=list)

    def __post_init__(self) -> None:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.received += [
                    Notification(
                        time.monotonic(), self.path.strip("/"), a["status"], a["labels"], a["annotations"]
                    )
                    for a in body["alerts"]
                ]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = QuietServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def of_job(self, job: str) -> list[Notification]:
        return [notification for notification in list(self.received) if notification.labels.get("job") == job]

    def firing(self, job: str) -> set[str]:
        """Return the alerts of a job whose last notification said that they fire."""
        last: dict[str, str] = {}
        for notification in self.of_job(job):
            last[notification.name] = notification.status
        return {name for name, status in last.items() if status == "firing"}

    def first(self, job: str, alert: str, *, after: float) -> float | None:
        """Return when the alert was first reported as firing, later than ``after``; None if it was not."""
        times = [n.at for n in self.of_job(job) if n.name == alert and n.status == "firing" and n.at > after]
        return min(times, default=None)


class Monitoring:
    """The real Prometheus and the real Alertmanager, with the configuration of the repository but shorter durations.

    Args:
        folder: for configurations, data and logs.
        services: are scraped.
        prometheus: the path of the program.
        alertmanager: the path of the program.
        scale: shortens the durations in a parsed configuration.
        flags: further flags of Prometheus.
    """

    def __init__(
        self,
        folder: Path,
        services: Sequence[Instance],
        *,
        prometheus: str,
        alertmanager: str,
        scale: Callable[[Any], Any],
        flags: Sequence[str] = (),
    ) -> None:
        metrics = ROOT / "metrics"
        self._folder = folder
        self.webhook = Webhook()
        manager_port, self._port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._port}"

        rules = scale(yaml.safe_load((metrics / "alerts.yml").read_text()))
        (folder / "alerts.yml").write_text(yaml.safe_dump(rules))

        config = yaml.safe_load((metrics / "prometheus.yml").read_text())
        # The slowest pace that the rules are made for. A scrape has to be answered within this time.
        config["global"]["scrape_interval"] = "30s"
        config = scale(config)
        config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{manager_port}"]
        [job] = [job for job in config["scrape_configs"] if job["job_name"] == "inspyrenet"]
        del job["static_configs"]
        files: dict[str, list[str]] = {}
        for service in services:
            files.setdefault(service.job, []).append(str(self._target_file(service)))
        config["scrape_configs"] = [
            job | {"job_name": name, "file_sd_configs": [{"files": of_job}]} for name, of_job in files.items()
        ]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        for service in services:
            self.set_target(service)

        manager = scale(yaml.safe_load((metrics / "alertmanager.yml").read_text()))
        for receiver in manager["receivers"]:
            for hook in receiver["webhook_configs"]:
                hook["url"] = hook["url"].replace("localhost:9099", f"127.0.0.1:{self.webhook.port}")
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(manager))

        self.alertmanager_url = f"http://127.0.0.1:{manager_port}"
        self.alertmanager = Program(
            [
                alertmanager,
                f"--config.file={folder / 'alertmanager.yml'}",
                f"--storage.path={folder / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{manager_port}",
                "--cluster.listen-address=",
                "--data.maintenance-interval=1s",  # as deploy/monitor.py sets it, divided by 60
                "--log.level=warn",
            ],
            folder / "alertmanager.log",
        )
        self.prometheus = Program(
            [
                prometheus,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                f"--web.external-url={self.url}",
                f"--web.user-assets={metrics / 'runbooks'}",
                "--query.lookback-delta=5s",  # the default, 5m, divided by 60
                # The default, 1m, divided by 60, and then three times that: Alertmanager ends an alert that it did not
                # get for four times this delay, and the second that a start of Prometheus takes is not divided by 60.
                "--rules.alert.resend-delay=3s",
                "--rules.alert.for-grace-period=1s",  # as deploy/monitor.py sets it, divided by 60
                "--log.level=warn",
                *flags,
            ],
            folder / "prometheus.log",
        )

    def _target_file(self, service: Instance) -> Path:
        return self._folder / f"{service.name}.targets.json"

    def set_target(self, service: Instance, *, instance: str = "") -> None:
        """From now on, scrape this process; ``instance`` replaces its address as the label."""
        target = {"targets": [service.address], "labels": {"instance": instance or service.address}}
        new = self._folder / f"{service.name}.targets.new"
        new.write_text(json.dumps([target]))
        new.replace(self._target_file(service))

    def scrapes(self, service: Instance) -> bool:
        """Return whether Prometheus now scrapes this process, and not another process of the same instance."""
        _, body = request(self.url + "/api/v1/targets?state=active", timeout=10)
        return any(t["scrapeUrl"].startswith(service.url) for t in json.loads(body)["data"]["activeTargets"])

    def start(self) -> None:
        self.webhook.start()
        self.start_alertmanager()
        self.start_prometheus()

    def start_alertmanager(self) -> None:
        self.alertmanager.start()
        wait_until(
            lambda: request(self.alertmanager_url + "/-/ready")[0] == 200,
            seconds=20,
            what="Alertmanager is ready",
        )

    def start_prometheus(self) -> None:
        self.prometheus.start()
        wait_until(lambda: request(self.url + "/-/ready")[0] == 200, seconds=20, what="Prometheus is ready")

    def end(self) -> None:
        self.prometheus.end()
        self.alertmanager.end()
        self.webhook.end()

    def active(self) -> frozenset[tuple[str, str]] | None:
        """Job and name of the alerts that Alertmanager's page shows now; None if it does not answer."""
        status, body = request(self.alertmanager_url + "/api/v2/alerts")
        if status != 200:
            return None
        labels = [alert["labels"] for alert in json.loads(body)]
        return frozenset((each.get("job", ""), alert_name(each)) for each in labels)

    def query(self, expression: str) -> list[dict[str, Any]]:
        return self._ask("query", {"query": expression})

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        return self._ask("query_range", {"query": expression, "start": start, "end": end, "step": step})

    def _ask(self, what: str, parameters: Mapping[str, object]) -> list[dict[str, Any]]:
        status, body = request(f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}", timeout=10)
        assert status == 200, (parameters, body)
        result = json.loads(body)["data"]["result"]
        assert isinstance(result, list)
        return result

    def firing(self, job: str) -> set[str]:
        """Alerts that fire in Prometheus, whether Alertmanager lets them through or not."""
        firing = self.query(f'ALERTS{{job="{job}", alertstate="firing"}}')
        return {alert_name(alert["metric"]) for alert in firing}


class History:
    """What Alertmanager's page showed, read all the time.

    Args:
        monitoring: is asked.
    """

    PERIOD_SECONDS = 0.1

    def __init__(self, monitoring: Monitoring) -> None:
        self.monitoring = monitoring
        self._ended = threading.Event()
        self._shown: list[tuple[float, frozenset[tuple[str, str]]]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _read(self) -> None:
        while not self._ended.wait(self.PERIOD_SECONDS):
            if (active := self.monitoring.active()) is not None:
                self._shown.append((time.monotonic(), active))

    def shown(self, job: str, *, since: float, until: float) -> list[tuple[float, set[str]]]:
        """The alerts of a job at every moment of that time at which Alertmanager answered."""
        return [
            (at, {name for of, name in active if of == job})
            for at, active in list(self._shown)
            if since <= at <= until
        ]

    def now(self, job: str) -> set[str]:
        """The alerts of a job that were shown last."""
        return {name for of, name in self._shown[-1][1] if of == job} if self._shown else set()
