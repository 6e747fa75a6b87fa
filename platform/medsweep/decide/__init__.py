"""From figures to a decision: limits, the chance that they are met, and what to take."""
