"""Runs one task, wherever it was scheduled: a forked child here, a pod there."""
