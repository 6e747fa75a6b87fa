"""Sends questions to a served model at a set concurrency or rate and notes when the text came."""
