"""The hardware: accelerators, the nine hardware profiles, and what this machine is."""
