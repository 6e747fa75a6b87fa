"""Comparison of two sets of results, or of the cells of one: what differs beyond noise."""
