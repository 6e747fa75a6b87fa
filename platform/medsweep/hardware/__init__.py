"""Hardware: accelerators, the nine hardware profiles, and observation of this machine."""
