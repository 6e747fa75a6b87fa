"""A server whose timing is known, to measure the load generator with."""
