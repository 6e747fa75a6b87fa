"""Sensors of the machine during a measurement, and what bound the measurement."""
