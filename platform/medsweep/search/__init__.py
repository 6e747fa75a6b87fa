"""Search over recipes: the grid of the paper's Table 1, what matters in it, and what to take."""
