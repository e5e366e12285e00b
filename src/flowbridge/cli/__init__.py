"""The ``flowbridge`` command: one file for each of its verbs, and everything heavy imported inside of them."""
