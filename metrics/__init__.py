"""Prometheus metric definitions; imports only prometheus_client."""

from metrics.catalogue import Metrics

__all__ = ["Metrics"]
