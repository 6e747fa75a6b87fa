"""Ray clusters with one node per hardware profile: a local one, and the one that a job runs in."""
