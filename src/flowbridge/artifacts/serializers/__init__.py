"""The formats values are written in, one file per kind of value."""
