"""Recommendations: limits, the probability that they are met, and what to take."""
