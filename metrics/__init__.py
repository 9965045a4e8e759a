"""Prometheus metric definitions; imports only prometheus_client."""
