"""Flows as Metaflow FlowSpecs: any DAG, every way Metaflow runs it."""
