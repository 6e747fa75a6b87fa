"""Question-answer datasets: read, cleaned, sampled and split."""
