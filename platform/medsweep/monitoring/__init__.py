"""Monitoring: Prometheus metrics while a sweep runs and after it."""
