"""Runs a flow on this machine, each task in a process of its own."""
