"""The background-removal HTTP service."""
