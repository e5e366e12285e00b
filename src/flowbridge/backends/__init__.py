"""Translate the intermediate representation into something another system runs. Backends never see user code."""
