"""Serving under Ray Serve: a thin HTTP ingress, and an engine behind it."""
