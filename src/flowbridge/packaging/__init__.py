"""Carry code: which project modules a flow's functions reach, put into one deterministic bundle, and opened again elsewhere."""
