"""The Prometheus metrics of the service, with their alerts, runbooks and dashboard. Imports only prometheus_client."""

from metrics.catalogue import Metrics

__all__ = ["Metrics"]
