"""Prediction from datasheets: a lower bound on the time that a model takes on a machine."""
