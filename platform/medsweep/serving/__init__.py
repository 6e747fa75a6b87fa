"""Serving: OpenAI's API on Ray Serve in front of an engine."""
