"""Prediction from datasheets: what a model on a machine cannot be faster than."""
