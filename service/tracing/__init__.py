"""Traces of requests and probes, if the standard ``OTEL_*`` variables ask for them.

``spans`` is what the other rooms know, and it does nothing; ``otlp`` does it with OpenTelemetry. No other room may
import OpenTelemetry, and while tracing is off nothing does.
"""
