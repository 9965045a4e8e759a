"""The Prometheus metrics of the service, with their alerts, runbooks and dashboard.

``service`` and ``supervisor`` record into them. This package may import only ``prometheus_client``.
"""

from metrics.catalogue import Metrics

__all__ = ["Metrics"]
