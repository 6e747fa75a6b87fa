"""Copies of results in experiment trackers: MLflow, and Weights & Biases offline."""
