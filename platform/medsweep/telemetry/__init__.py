"""What the machine did while it was measured, what that cost, and what bound each cell."""
