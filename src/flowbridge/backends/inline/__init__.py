"""Runs a flow in this process, for debugging."""
