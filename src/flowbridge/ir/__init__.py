"""What is to be done, as pure data: no I/O, no backend names, no user code."""
