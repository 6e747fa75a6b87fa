"""A sweep: its specification, its plan, and the run that walks the plan."""
